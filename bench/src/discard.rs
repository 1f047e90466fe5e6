//! What `produce` is compared with: a process that reads the same frames from a socket and drops
//! them. Nothing that stores records can take less.

#![expect(clippy::print_stdout, reason = "its parent reads its address there")]

use std::process::Stdio;

use anyhow::{Context, Result};
use tarn_runtime::Runtime;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::usage::{self, Usage};

/// Bytes that are asked of the socket at once.
const READ_BYTES: usize = 256 << 10;

/// Says where it listens; reads each connection to its end and then answers one byte.
pub(crate) async fn serve() -> Result<()> {
    let runtime = Runtime::real();
    let scope = runtime.root_scope("discard");
    let listener = runtime.net().listen("127.0.0.1:0").await?;
    println!("{}", listener.local_address()?);
    loop {
        let (mut stream, _) = listener.accept().await?;
        drop(scope.spawn("discard", async move {
            let mut buffer = vec![0; READ_BYTES];
            while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
            // The sender waits for it, and is gone if this fails.
            let _ = stream.write_all(&[0]).await;
        }));
    }
}

/// The process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Discard {
    _child: Child,
    pid: u32,
    pub(crate) address: String,
}

impl Discard {
    pub(crate) async fn start() -> Result<Discard> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("discard")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut address = String::new();
        let stdout = child.stdout.take().context("its output is piped")?;
        BufReader::new(stdout).read_line(&mut address).await?;
        Ok(Discard {
            pid: child.id().context("it ended")?,
            address: address.trim().to_owned(),
            _child: child,
        })
    }

    pub(crate) fn usage(&self) -> Result<Usage> {
        usage::of(self.pid)
    }
}
