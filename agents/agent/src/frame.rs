//! An answer on its way to the socket: the pieces of a frame, and the permit for its bytes; or why there
//! is none.

use bytes::Bytes;
use tarn_kafka::{ApiKey, ResponseBody};
use tarn_runtime::Permit;

/// A whole response frame, in pieces, so that records are written from where they were read.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) pieces: Vec<Bytes>,
    /// Of the records in it; given back when it is written.
    pub(crate) permit: Option<Permit>,
}

impl Frame {
    pub(crate) fn bytes(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }
}

impl From<Bytes> for Frame {
    fn from(whole: Bytes) -> Frame {
        Frame {
            pieces: vec![whole],
            permit: None,
        }
    }
}

/// What a handler has to say.
#[derive(Debug)]
pub(crate) enum Answer {
    Body(Box<ResponseBody>),
    /// Encoded by the handler itself.
    Frame(Frame),
    /// The client expects none.
    Nothing,
    /// The only answer the protocol leaves is to hang up: why, in a few words, and what exactly.
    Close(&'static str, String),
}

/// Why we hang up on a client, for the log.
#[derive(Debug, Default)]
pub(crate) struct Hangup {
    /// In a few words, of which there are few: a metric's label.
    pub(crate) reason: &'static str,
    /// What exactly; may be empty.
    pub(crate) detail: String,
    /// The request that it is about: API and version, as far as its bytes could be read.
    pub(crate) request: Option<String>,
}

impl Hangup {
    pub(crate) fn because(reason: &'static str, detail: impl ToString) -> Hangup {
        Hangup {
            reason,
            detail: detail.to_string(),
            request: None,
        }
    }

    pub(crate) fn of(mut self, api: ApiKey, version: i16) -> Hangup {
        self.request = Some(format!("{api} v{version}"));
        self
    }
}

impl From<&'static str> for Hangup {
    fn from(reason: &'static str) -> Hangup {
        Hangup {
            reason,
            ..Hangup::default()
        }
    }
}

impl<B: Into<ResponseBody>> From<B> for Answer {
    fn from(body: B) -> Answer {
        Answer::Body(Box::new(body.into()))
    }
}
