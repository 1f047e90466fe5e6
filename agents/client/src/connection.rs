//! One connection to one server: requests go out in the order they were started, answers come back
//! by correlation id.
//!
//! Two tasks own the socket, one per direction. A request holds one of a fixed number of permits
//! until it is answered, so the queue before the writer and the table of waiting answers are
//! bounded by the same number.
//!
//! Holds: when the connection fails, every request that waits learns it, and whether any of its
//! bytes may have left. A request that is not answered in time closes the connection.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{Request, StrBytes};
use tarn_kafka::{ApiKey, ErrorCode, decode_response, encode_request, frame};
use tarn_runtime::{Runtime, Scope, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use crate::versions::ServerVersions;
use crate::{ClientSettings, RequestError};

/// Frames up to this size are joined before they go to the socket.
const WRITE_BUFFER_BYTES: usize = 64 << 10;
/// A response grows by at most this much before its bytes have arrived.
const READ_STEP_BYTES: usize = 1 << 20;
/// How long to wait for a closing connection's last bytes to leave.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection. Clones share it; it closes when the last clone and all answers are gone.
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Outgoing>,
    versions: Arc<ServerVersions>,
}

struct Shared {
    address: String,
    client_id: StrBytes,
    next_correlation_id: AtomicI32,
    in_flight: Arc<Semaphore>,
    waiting: Mutex<BTreeMap<i32, Waiting>>,
    closed: watch::Sender<bool>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A request on its way to the socket.
struct Outgoing {
    correlation_id: i32,
    frame: Bytes,
    waiting: Waiting,
    expects_answer: bool,
}

/// What waits for an answer.
struct Waiting {
    reply: oneshot::Sender<Bytes>,
    /// Set before the first byte goes to the socket.
    sent: Arc<AtomicBool>,
    _permit: OwnedSemaphorePermit,
}

/// The answer to a request that was started, to come.
#[derive(Debug)]
pub struct Answer<R> {
    api: ApiKey,
    version: i16,
    reply: oneshot::Receiver<Bytes>,
    sent: Arc<AtomicBool>,
    deadline: Instant,
    shared: Arc<Shared>,
    /// Keeps the connection open while somebody waits.
    _outgoing: mpsc::Sender<Outgoing>,
    request: PhantomData<fn() -> R>,
}

impl Shared {
    fn close(&self) {
        self.closed.send_replace(true);
        let waiting =
            std::mem::take(&mut *self.waiting.lock().expect("nobody panics while holding it"));
        // Their senders go, so everybody who waits learns it.
        drop(waiting);
    }

    fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    fn lost(&self, sent: bool) -> RequestError {
        RequestError::Lost {
            address: self.address.clone(),
            sent,
        }
    }
}

impl Connection {
    /// Connects and asks for the server's versions.
    pub async fn open(
        runtime: &Runtime,
        scope: &Scope,
        settings: &ClientSettings,
        address: &str,
    ) -> Result<Connection, RequestError> {
        let deadline = Instant::now() + settings.connect_timeout;
        let failed = |detail: String| RequestError::Connect {
            address: address.to_owned(),
            detail,
        };
        let stream = timeout_at(deadline, runtime.net().connect(address))
            .await
            .map_err(|_| failed("it does not accept the connection in time".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        let (read_half, write_half) = tokio::io::split(stream);
        let in_flight_max = settings.requests_in_flight_max.max(1);
        // As many requests as there are permits, so sending into the channel never waits for long.
        let (outgoing, queue) = mpsc::channel(in_flight_max);
        let shared = Arc::new(Shared {
            address: address.to_owned(),
            client_id: StrBytes::from_string(settings.client_id.clone()),
            next_correlation_id: AtomicI32::new(0),
            in_flight: Arc::new(Semaphore::new(in_flight_max)),
            waiting: Mutex::default(),
            closed: watch::Sender::new(false),
        });
        drop(scope.spawn(
            "client.write",
            write(Arc::clone(&shared), queue, write_half, scope.clone()),
        ));
        let cap = settings.response_bytes_max.as_usize();
        drop(scope.spawn("client.read", read(Arc::clone(&shared), read_half, cap)));

        let mut connection = Connection {
            shared,
            outgoing,
            versions: Arc::default(),
        };
        connection.versions = Arc::new(connection.ask_versions(settings).await?);
        Ok(connection)
    }

    async fn ask_versions(
        &self,
        settings: &ClientSettings,
    ) -> Result<ServerVersions, RequestError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("tarn"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let deadline = Instant::now() + settings.connect_timeout;
        let mut answer = self.start_version(&request, 3, deadline).await?;
        let (address, version) = (self.address().to_owned(), answer.version);
        let frame = answer.frame().await?;
        // A server that does not know version 3 answers with version 0 and says so.
        let response = decode_response::<ApiVersionsRequest>(version, frame.clone())
            .or_else(|_| decode_response::<ApiVersionsRequest>(0, frame))
            .map_err(|error| RequestError::Decode {
                address: address.clone(),
                detail: error.to_string(),
            })?;
        let response = if response.error_code == ErrorCode::UnsupportedVersion.code() {
            let oldest = self
                .start_version(&ApiVersionsRequest::default(), 0, deadline)
                .await?;
            oldest.wait().await?
        } else {
            response
        };
        versions_of(&response).ok_or(RequestError::Unsupported {
            address,
            api: ApiKey::ApiVersions.name(),
        })
    }

    /// The server's `host:port`.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Closes the connection; whoever waits on it gets [`RequestError::Lost`].
    pub fn close(&self) {
        self.shared.close();
    }

    /// The version in which requests of this type go to this server.
    pub fn version_of<R: Request>(&self) -> Result<i16, RequestError> {
        let api = ApiKey::from_key(R::KEY);
        api.and_then(|api| self.versions.choose(api))
            .ok_or_else(|| RequestError::Unsupported {
                address: self.address().to_owned(),
                api: api.map_or("an API", ApiKey::name),
            })
    }

    /// Sends a request and waits for the answer.
    pub async fn ask<R: Request>(
        &self,
        body: &R,
        deadline: Instant,
    ) -> Result<R::Response, RequestError> {
        self.start(body, deadline).await?.wait().await
    }

    /// Puts a request on its way. Requests leave in the order in which this returns.
    pub async fn start<R: Request>(
        &self,
        body: &R,
        deadline: Instant,
    ) -> Result<Answer<R>, RequestError> {
        self.start_version(body, self.version_of::<R>()?, deadline)
            .await
    }

    /// Sends a request that the server does not answer: Produce with acks=0.
    pub async fn tell<R: Request>(&self, body: &R, deadline: Instant) -> Result<(), RequestError> {
        let version = self.version_of::<R>()?;
        let mut answer = self.enqueue(body, version, deadline, false).await?;
        answer.frame().await.map(|_| ())
    }

    /// Like [`Connection::start`], in a version of the caller's choice.
    pub async fn start_version<R: Request>(
        &self,
        body: &R,
        version: i16,
        deadline: Instant,
    ) -> Result<Answer<R>, RequestError> {
        self.enqueue(body, version, deadline, true).await
    }

    async fn enqueue<R: Request>(
        &self,
        body: &R,
        version: i16,
        deadline: Instant,
        expects_answer: bool,
    ) -> Result<Answer<R>, RequestError> {
        let shared = &self.shared;
        let api = ApiKey::from_key(R::KEY)
            .ok_or_else(|| RequestError::Encode(format!("the API key {} is unknown", R::KEY)))?;
        let timed_out = || RequestError::Timeout {
            address: shared.address.clone(),
            api: api.name(),
            sent: false,
        };
        let permit = timeout_at(deadline, Arc::clone(&shared.in_flight).acquire_owned())
            .await
            .map_err(|_| timed_out())?
            .expect("the semaphore is never closed");
        if shared.is_closed() {
            return Err(shared.lost(false));
        }
        let correlation_id = shared.next_correlation_id.fetch_add(1, Ordering::Relaxed);
        let frame = encode_request(correlation_id, Some(&shared.client_id), version, body)
            .map_err(|error| RequestError::Encode(error.to_string()))?;
        let (reply, answer) = oneshot::channel();
        let sent = Arc::new(AtomicBool::new(false));
        let waiting = Waiting {
            reply,
            sent: Arc::clone(&sent),
            _permit: permit,
        };
        let outgoing = Outgoing {
            correlation_id,
            frame,
            waiting,
            expects_answer,
        };
        timeout_at(deadline, self.outgoing.send(outgoing))
            .await
            .map_err(|_| timed_out())?
            .map_err(|_| shared.lost(false))?;
        Ok(Answer {
            api,
            version,
            reply: answer,
            sent,
            deadline,
            shared: Arc::clone(shared),
            _outgoing: self.outgoing.clone(),
            request: PhantomData,
        })
    }
}

impl<R: Request> Answer<R> {
    /// The version in which the request was sent.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// The server that was asked.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Waits for the answer, at most until the deadline given at the start.
    pub async fn wait(mut self) -> Result<R::Response, RequestError> {
        self.wait_mut().await
    }

    /// Like [`Answer::wait`], but the wait can be given up and taken up again. Not after it ended.
    pub async fn wait_mut(&mut self) -> Result<R::Response, RequestError> {
        let frame = self.frame().await?;
        decode_response::<R>(self.version, frame).map_err(|error| RequestError::Decode {
            address: self.shared.address.clone(),
            detail: error.to_string(),
        })
    }

    async fn frame(&mut self) -> Result<Bytes, RequestError> {
        match timeout_at(self.deadline, &mut self.reply).await {
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(_)) => Err(self.shared.lost(self.sent.load(Ordering::Acquire))),
            Err(_) => {
                // What follows on this connection would wait behind the missing answer.
                self.shared.close();
                Err(RequestError::Timeout {
                    address: self.shared.address.clone(),
                    api: self.api.name(),
                    sent: self.sent.load(Ordering::Acquire),
                })
            }
        }
    }
}

fn versions_of(response: &ApiVersionsResponse) -> Option<ServerVersions> {
    if response.error_code != ErrorCode::None.code() {
        return None;
    }
    let advertised = response
        .api_keys
        .iter()
        .map(|api| (api.api_key, api.min_version..=api.max_version));
    Some(ServerVersions::new(advertised))
}

/// Writes what is queued until the connection closes, its last handle goes, or the scope stops.
async fn write(
    shared: Arc<Shared>,
    mut queue: mpsc::Receiver<Outgoing>,
    write_half: WriteHalf<Stream>,
    scope: Scope,
) {
    let mut socket = BufWriter::with_capacity(WRITE_BUFFER_BYTES, write_half);
    let mut closed = shared.closed.subscribe();
    let writing = async {
        while let Some(next) = queue.recv().await {
            let mut next = Some(next);
            while let Some(outgoing) = next {
                let Outgoing {
                    correlation_id,
                    frame,
                    waiting,
                    expects_answer,
                } = outgoing;
                waiting.sent.store(true, Ordering::Release);
                if expects_answer {
                    shared
                        .waiting
                        .lock()
                        .expect("nobody panics while holding it")
                        .insert(correlation_id, waiting);
                    socket.write_all(&frame).await?;
                } else {
                    socket.write_all(&frame).await?;
                    // The answer to a request without one is that it was written.
                    let _ = waiting.reply.send(Bytes::new());
                }
                next = queue.try_recv().ok();
            }
            socket.flush().await?;
        }
        std::io::Result::Ok(())
    };
    tokio::select! {
        biased;
        _ = closed.wait_for(|closed| *closed) => {}
        written = writing => {
            if let Err(error) = written {
                debug!(address = %shared.address, %error, "writing failed");
            }
        }
        // Give answers in flight their time: the owner of the scope drains the users of this
        // connection, which are younger, before.
        () = scope.stopped() => {}
    }
    shared.close();
    // A peer that reads nothing must not hold up whoever drains the scope.
    let _ = timeout(SHUTDOWN_TIMEOUT, socket.shutdown()).await;
}

/// Reads answers and hands each to whoever waits for it.
async fn read(shared: Arc<Shared>, mut socket: ReadHalf<Stream>, cap: usize) {
    let mut closed = shared.closed.subscribe();
    let reading = async {
        loop {
            let mut prefix = [0; frame::LENGTH_BYTES];
            socket
                .read_exact(&mut prefix)
                .await
                .map_err(|error| error.to_string())?;
            let length = frame::body_length(prefix, cap).map_err(|error| error.to_string())?;
            let body = read_body(&mut socket, length)
                .await
                .map_err(|error| error.to_string())?;
            let correlation_id =
                frame::response_correlation_id(&body).map_err(|error| error.to_string())?;
            let waiting = shared
                .waiting
                .lock()
                .expect("nobody panics while holding it")
                .remove(&correlation_id);
            let Some(waiting) = waiting else {
                return Err::<(), String>(format!(
                    "an answer to the unknown request {correlation_id}"
                ));
            };
            // Whoever gave up waiting does not need it.
            let _ = waiting.reply.send(body);
        }
    };
    tokio::select! {
        biased;
        _ = closed.wait_for(|closed| *closed) => {}
        ended = reading => {
            if let Err(error) = ended {
                debug!(address = %shared.address, error, "reading ended");
            }
        }
    }
    shared.close();
}

async fn read_body(socket: &mut ReadHalf<Stream>, length: usize) -> std::io::Result<Bytes> {
    let mut body = BytesMut::new();
    let limit = u64::try_from(length).unwrap_or(u64::MAX);
    let mut limited = socket.take(limit);
    while body.len() < length {
        body.reserve((length - body.len()).min(READ_STEP_BYTES));
        if limited.read_buf(&mut body).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests;
