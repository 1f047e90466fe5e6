//! From a frame to its answer: header, body, handler, encoding.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use tarn_kafka::frame::{HeaderError, RequestHeader};
use tarn_kafka::{ApiKey, decode_request, encode_response, request};
use tarn_runtime::{Permit, gauge};
use tokio::time::Instant;
use tracing::{Instrument, debug, debug_span, error};

use crate::agent::Agent;
use crate::api::{self, Lane};
use crate::context::{Context, Peer, Principal, Turn, Turns};
use crate::frame::{Answer, Frame, Hangup};
use crate::metrics::ApiLabel;

/// An answer larger than this takes a permit before it is queued.
const LARGE_ANSWER: usize = 256 << 10;

/// What is left to do for a request: an answer with the turn that ends when it is written, or the
/// reason to hang up.
pub(crate) type Work = Pin<Box<dyn Future<Output = Result<(Option<Frame>, Turn), Hangup>> + Send>>;

/// The order of one connection's requests.
#[derive(Debug, Default)]
pub(crate) struct Order {
    answers: Turns,
    produces: Turns,
}

/// Begins the work on a request. An error means that there is no answer to it but to hang up.
pub(crate) fn begin(
    agent: &Arc<Agent>,
    peer: &Arc<Peer>,
    mut frame: Bytes,
    permit: Permit,
    order: &mut Order,
) -> Result<Work, Hangup> {
    let header = match RequestHeader::parse(&mut frame) {
        Ok(header) => header,
        Err(HeaderError::UnsupportedVersion {
            api: ApiKey::ApiVersions,
            version,
            correlation_id,
        }) => {
            debug!(peer = %peer.address, version, "answering an unknown version of ApiVersions with version 0");
            let answer = request::unsupported_api_versions(correlation_id)
                .map_err(|error| Hangup::because("unencodable answer", error))?;
            let turn = order.answers.next();
            return Ok(Box::pin(
                async move { Ok((Some(Frame::from(answer)), turn)) },
            ));
        }
        Err(error) => {
            peer.set_client_id(RequestHeader::claimed_client_id(&frame));
            return Err(Hangup::because("malformed request", error));
        }
    };
    let RequestHeader {
        api,
        version,
        correlation_id,
        client_id,
    } = header;
    peer.set_client_id(client_id.as_deref());
    let body = decode_request(api, version, frame)
        .map_err(|error| Hangup::because("malformed request", error).of(api, version))?;
    let received = Instant::now();
    let lane = api::lane(api);
    let mut turn = order.answers.next();
    let mut context = Context {
        principal: Principal::Anonymous,
        api,
        version,
        correlation_id,
        client_id,
        peer: Arc::clone(peer),
        received,
        deadline: received + agent.settings.request_deadline,
        permit: Some(permit),
        submission: (lane == Lane::Produce).then(|| order.produces.next()),
        told: AtomicBool::new(false),
    };
    if !context.principal.may(api::access(context.api)) {
        return Err(Hangup::from("not authorized").of(api, version));
    }
    let agent = Arc::clone(agent);
    let span = debug_span!("request", %api, version, correlation_id, peer = %peer.address);
    let work = async move {
        if lane == Lane::Serial {
            turn.come().await;
        }
        let answer = api::handle(&agent, &mut context, body).await;
        let answer = match answer {
            Answer::Body(body) => {
                let frame = encode_response(correlation_id, version, &body).map_err(|error| {
                    // Only a defect of ours gets here: the answer does not fit its version.
                    error!(%api, version, %error, "an answer could not be encoded");
                    Hangup::because("unencodable answer", error).of(api, version)
                })?;
                Some(permitted(&agent, lane, Frame::from(frame)).await)
            }
            Answer::Frame(frame) => Some(permitted(&agent, lane, frame).await),
            Answer::Nothing => None,
            Answer::Close(reason, detail) => {
                return Err(Hangup::because(reason, detail).of(api, version));
            }
        };
        let held = agent.intake.held();
        agent.metrics.request_bytes.set(gauge(held));
        let seconds = context.received.elapsed().as_secs_f64();
        agent
            .metrics
            .request_seconds
            .get_or_create(&ApiLabel::of(api))
            .observe(seconds);
        Ok((answer, turn))
    };
    Ok(Box::pin(work.instrument(span)))
}

/// A large answer takes a permit, if it has none yet.
///
/// SUBTLE: only in the serial lane, where nothing earlier can wait for the permit that this answer would
/// hold while it waits its turn.
async fn permitted(agent: &Agent, lane: Lane, mut frame: Frame) -> Frame {
    let bytes = frame.bytes();
    if lane == Lane::Serial && bytes > LARGE_ANSWER && frame.permit.is_none() {
        let bytes = (bytes as u64).min(agent.responses.total().0);
        frame.permit = agent.responses.acquire(bytes).await.ok();
    }
    frame
}
