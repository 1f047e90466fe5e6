//! One connection: frames in, answers out.
//!
//! ```text
//! read_requests ─▶ answer_requests ─▶ write_answers
//!  permit, body     all at once, but     pieces, then the
//!                   answers in order     permit goes back
//! ```
//!
//! Holds: a body is read only after its bytes were taken from the budget; answers leave in the order
//! of their requests; at most `pipeline_max` requests are worked on and at most one large answer
//! waits, so that who reads slowly slows only themselves; a client that stalls in the middle of
//! something, or lets it trickle, is cut off: others wait for the bytes that it holds. Everything of a
//! connection lives in one task and ends with it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use tarn_kafka::frame::{LENGTH_BYTES, body_length};
use tarn_runtime::listen::{Guarded, Late, Pace, why_not_written};
use tarn_runtime::{Permit, Stream, gauge};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use crate::agent::Agent;
use crate::context::{Peer, Turn};
use crate::dispatch::{self, Order, Work};
use crate::frame::{Frame, Hangup};

/// What a frame begins with: its API key.
const KEY_BYTES: usize = 2;
/// Pieces of an answer that one system call writes.
const PIECES_PER_WRITE: usize = 64;

/// How reading ended.
#[derive(Debug)]
enum Ended {
    /// The client hung up.
    ByPeer,
    /// We hang up, when what was asked before is answered.
    ByUs(Hangup),
    /// The other half of the connection ended before, and knows why.
    NobodyAnswers,
}

impl Ended {
    fn by_us(reason: &'static str) -> Ended {
        Ended::ByUs(reason.into())
    }
}

/// Serves a connection until either side has enough of it, and says why if it was ours.
pub(crate) async fn serve(
    agent: Arc<Agent>,
    stream: Stream,
    address: SocketAddr,
) -> Option<&'static str> {
    let peer = Peer::new(address);
    let (read, write) = tokio::io::split(Guarded::new(stream, pace(&agent)));
    // Both queues only hand over: what bounds the work is `pipeline_max` and the turns.
    let (work, works) = mpsc::channel(1);
    let (answer, answers) = mpsc::channel(1);
    let in_flight = AtomicUsize::new(0);

    let reading = read_requests(&agent, &peer, read, work, &in_flight);
    let mut rest = pin!(answer_and_write(
        &agent, works, answer, &in_flight, write, answers
    ));
    let mut finished = None;
    let ended = tokio::select! {
        ended = reading => ended,
        result = &mut rest => {
            finished = Some(result);
            Ended::NobodyAnswers
        }
    };
    if finished.is_none() {
        // What was asked before still gets its answer, as long as anybody may be there to read it.
        finished = timeout(agent.settings.drain, rest).await.ok();
    }
    let hangup = match (ended, finished) {
        (Ended::ByUs(hangup), _) | (Ended::NobodyAnswers, Some(Err(hangup))) => hangup,
        (Ended::NobodyAnswers, _) => "nothing left to do".into(),
        (Ended::ByPeer, _) => {
            debug!(peer = %address, "the client hung up");
            return None;
        }
    };
    let Hangup {
        reason,
        detail,
        request,
    } = hangup;
    let client_id = peer.client_id();
    info!(peer = %address, client_id, request, reason, detail, "closed a connection");
    Some(reason)
}

fn pace(agent: &Agent) -> Pace {
    Pace {
        stall: agent.settings.connection_stall,
    }
}

/// Answers until there is nothing left to do, or nobody there. Who has to hang up over one request
/// writes the answers to the earlier ones first.
async fn answer_and_write(
    agent: &Agent,
    works: mpsc::Receiver<Work>,
    answer: mpsc::Sender<(Frame, Turn)>,
    in_flight: &AtomicUsize,
    write: WriteHalf<Guarded<Stream>>,
    answers: mpsc::Receiver<(Frame, Turn)>,
) -> Result<(), Hangup> {
    let pipeline_max = agent.settings.pipeline_max;
    let answering = answer_requests(works, answer, pipeline_max, in_flight);
    let mut writing = pin!(write_answers(agent, write, answers));
    tokio::select! {
        // Only a broken connection ends it before the answers end.
        written = &mut writing => written,
        answered = answering => writing.await.and(answered),
    }
}

async fn read_requests(
    agent: &Arc<Agent>,
    peer: &Arc<Peer>,
    mut read: ReadHalf<Guarded<Stream>>,
    work: mpsc::Sender<Work>,
    in_flight: &AtomicUsize,
) -> Ended {
    let mut order = Order::default();
    let mut stopped = pin!(agent.connections.stopped());
    loop {
        // A place in the pipeline first: until there is one, nothing more is read.
        let Ok(place) = work.reserve().await else {
            return Ended::NobodyAnswers;
        };
        let next = tokio::select! {
            () = &mut stopped => return Ended::by_us("stopping"),
            next = read_request(agent, &mut read, in_flight) => next,
        };
        let (body, permit) = match next {
            Ok(next) => next,
            Err(ended) => return ended,
        };
        match dispatch::begin(agent, peer, body, permit, &mut order) {
            Ok(work) => {
                in_flight.fetch_add(1, Ordering::Relaxed);
                place.send(work);
            }
            Err(hangup) => return Ended::ByUs(hangup),
        }
    }
}

/// Reads one frame, without its length.
async fn read_request(
    agent: &Agent,
    read: &mut ReadHalf<Guarded<Stream>>,
    in_flight: &AtomicUsize,
) -> Result<(Bytes, Permit), Ended> {
    let mut prefix = [0; LENGTH_BYTES];
    {
        let mut reading = pin!(read.read_exact(&mut prefix));
        loop {
            tokio::select! {
                done = &mut reading => match done {
                    Ok(_) => break,
                    Err(_) => return Err(Ended::ByPeer),
                },
                () = sleep(agent.settings.connection_idle) => {
                    // Somebody who waits for an answer is not idle.
                    if in_flight.load(Ordering::Relaxed) == 0 {
                        return Err(Ended::by_us("idle"));
                    }
                }
            }
        }
    }
    let length = body_length(prefix, agent.settings.request_bytes_max.as_usize())
        .map_err(|error| Ended::ByUs(Hangup::because("request too large", error)))?;
    let mut rest = read.take(length as u64);
    let mut key = [0; KEY_BYTES];
    match timeout(agent.settings.connection_stall, rest.read_exact(&mut key)).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) if length < KEY_BYTES => return Err(Ended::by_us("malformed request")),
        Ok(Err(_)) => return Err(Ended::ByPeer),
        Err(_) => return Err(Ended::by_us("stalled within a request")),
    }
    let unheard = || agent.coordinators.members_unheard();
    let permit = agent
        .intake
        .enter(i16::from_be_bytes(key), length as u64, unheard)
        .await
        .map_err(|error| Ended::ByUs(Hangup::because("request too large", error)))?;
    let mut body = BytesMut::with_capacity(length);
    body.extend_from_slice(&key);
    let filled = pace(agent).fill(&mut rest, &mut body, length).await;
    filled.map_err(|late| match late {
        Late::Gone => Ended::ByPeer,
        Late::Stalled => Ended::by_us("stalled within a request"),
        Late::TooSlow => Ended::by_us("too slow within a request"),
    })?;
    Ok((body.freeze(), permit))
}

async fn answer_requests(
    mut works: mpsc::Receiver<Work>,
    answers: mpsc::Sender<(Frame, Turn)>,
    pipeline_max: usize,
    in_flight: &AtomicUsize,
) -> Result<(), Hangup> {
    let mut pending = FuturesOrdered::new();
    let mut open = true;
    loop {
        tokio::select! {
            Some(done) = pending.next(), if !pending.is_empty() => {
                let (frame, turn): (Option<Frame>, Turn) = done?;
                in_flight.fetch_sub(1, Ordering::Relaxed);
                if let Some(frame) = frame
                    && answers.send((frame, turn)).await.is_err()
                {
                    return Err("nobody writes any more".into());
                }
            }
            next = works.recv(), if open && pending.len() < pipeline_max => match next {
                Some(work) => pending.push_back(work),
                None => open = false,
            },
            else => return Ok(()),
        }
    }
}

async fn write_answers(
    agent: &Agent,
    mut write: WriteHalf<Guarded<Stream>>,
    mut answers: mpsc::Receiver<(Frame, Turn)>,
) -> Result<(), Hangup> {
    while let Some((frame, turn)) = answers.recv().await {
        let bytes = gauge(frame.bytes());
        agent.metrics.response_bytes.inc_by(bytes);
        let written = write_frame(&mut write, frame).await;
        agent.metrics.response_bytes.dec_by(bytes);
        written?;
        drop(turn);
    }
    // The peer may be gone already.
    let _ = write.shutdown().await;
    Ok(())
}

async fn write_frame(
    write: &mut WriteHalf<Guarded<Stream>>,
    frame: Frame,
) -> Result<(), &'static str> {
    let gone = |error: io::Error| why_not_written(&error).unwrap_or("the client is gone");
    let Frame { pieces, permit } = frame;
    let mut pieces: VecDeque<Bytes> = pieces
        .into_iter()
        .filter(|piece| !piece.is_empty())
        .collect();
    while !pieces.is_empty() {
        let slices: Vec<IoSlice<'_>> = pieces
            .iter()
            .take(PIECES_PER_WRITE)
            .map(|piece| IoSlice::new(piece))
            .collect();
        let mut written = match write.write_vectored(&slices).await.map_err(gone)? {
            0 => return Err("the client is gone"),
            written => written,
        };
        while let Some(front) = pieces.front_mut()
            && written > 0
        {
            let step = written.min(front.len());
            front.advance(step);
            written -= step;
            if front.is_empty() {
                pieces.pop_front();
            }
        }
    }
    write.flush().await.map_err(gone)?;
    drop(permit);
    Ok(())
}
