//! TCP, real or simulated.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the door that the lint points to"
)]

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Where connections come from and go to.
#[derive(Debug, Clone)]
pub struct Net(Kind);

#[derive(Debug, Clone, Copy)]
enum Kind {
    Real,
    Simulated,
}

/// Accepts connections.
pub struct Listener(ListenerKind);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener")
            .field(&self.local_address().ok())
            .finish()
    }
}

enum ListenerKind {
    Real(tokio::net::TcpListener),
    Simulated(turmoil::net::TcpListener),
}

/// One TCP connection.
#[derive(Debug)]
pub struct Stream(StreamKind);

#[derive(Debug)]
enum StreamKind {
    Real(tokio::net::TcpStream),
    Simulated(turmoil::net::TcpStream),
}

impl Net {
    pub(crate) fn real() -> Net {
        Net(Kind::Real)
    }

    pub(crate) fn simulated() -> Net {
        Net(Kind::Simulated)
    }

    /// `host:port`; port 0 takes a free one on a real machine. A simulated host listens on all of
    /// its own addresses.
    pub async fn listen(&self, address: &str) -> io::Result<Listener> {
        match self.0 {
            Kind::Real => Ok(Listener(ListenerKind::Real(
                tokio::net::TcpListener::bind(address).await?,
            ))),
            Kind::Simulated => {
                let port = address
                    .rsplit_once(':')
                    .and_then(|(_, port)| port.parse::<u16>().ok())
                    .ok_or_else(|| {
                        io::Error::new(io::ErrorKind::InvalidInput, "expected host:port")
                    })?;
                let listener = turmoil::net::TcpListener::bind(("0.0.0.0", port)).await?;
                Ok(Listener(ListenerKind::Simulated(listener)))
            }
        }
    }

    /// The name of this machine, if it is one that can be looked up and that others may mean it by.
    pub async fn machine_name(&self) -> Option<String> {
        match self.0 {
            Kind::Real => {
                // Linux; elsewhere it is for the user to say.
                let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
                let name = name.trim();
                if name.is_empty() || name.split('.').next() == Some("localhost") {
                    return None;
                }
                let mut found = tokio::net::lookup_host((name, 0)).await.ok()?;
                found.next().map(|_| name.to_owned())
            }
            Kind::Simulated => None,
        }
    }

    /// `host:port`.
    pub async fn connect(&self, address: &str) -> io::Result<Stream> {
        match self.0 {
            Kind::Real => {
                let stream = tokio::net::TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Stream(StreamKind::Real(stream)))
            }
            Kind::Simulated => Ok(Stream(StreamKind::Simulated(
                turmoil::net::TcpStream::connect(address).await?,
            ))),
        }
    }
}

impl Listener {
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            ListenerKind::Real(listener) => listener.local_addr(),
            ListenerKind::Simulated(listener) => listener.local_addr(),
        }
    }

    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match &self.0 {
            ListenerKind::Real(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream(StreamKind::Real(stream)), peer))
            }
            ListenerKind::Simulated(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream(StreamKind::Simulated(stream)), peer))
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            StreamKind::Real(stream) => Pin::new(stream).poll_read(cx, buf),
            StreamKind::Simulated(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            StreamKind::Real(stream) => Pin::new(stream).poll_write(cx, buf),
            StreamKind::Simulated(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            StreamKind::Real(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            StreamKind::Simulated(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self.0, StreamKind::Real(_))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            StreamKind::Real(stream) => Pin::new(stream).poll_flush(cx),
            StreamKind::Simulated(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            StreamKind::Real(stream) => Pin::new(stream).poll_shutdown(cx),
            StreamKind::Simulated(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
