//! An answer on its way to the socket: the pieces of a frame, and the permit for its bytes.

use bytes::Bytes;
use tarn_kafka::ResponseBody;
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

/// What a handler has to say.
#[derive(Debug)]
pub(crate) enum Answer {
    Body(Box<ResponseBody>),
    /// Encoded by the handler itself.
    Frame(Frame),
    /// The client expects none.
    Nothing,
    /// The only answer the protocol leaves is to hang up.
    Close(&'static str),
}

impl<B: Into<ResponseBody>> From<B> for Answer {
    fn from(body: B) -> Answer {
        Answer::Body(Box::new(body.into()))
    }
}
