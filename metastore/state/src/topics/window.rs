//! The newest batches of a producer, oldest first, in a place of fixed size.
//!
//! A commit copies what the view shares of each producer that it touches: a copy of this one takes no
//! memory of its own. In the bytes of a snapshot it is a list.

use std::ops::Deref;

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use tarn_model::caps::PRODUCER_WINDOW;

use super::producers::RememberedBatch;

#[derive(Clone)]
pub struct Window {
    /// The first `len` of them count; the others are copies of one that did.
    batches: [RememberedBatch; PRODUCER_WINDOW],
    len: usize,
}

impl Window {
    pub fn of(batch: RememberedBatch) -> Window {
        Window {
            batches: [batch; PRODUCER_WINDOW],
            len: 1,
        }
    }

    /// Adds the newest; the oldest goes if there is no room.
    pub(crate) fn push(&mut self, batch: RememberedBatch) {
        if self.len == PRODUCER_WINDOW {
            self.batches.rotate_left(1);
            self.len -= 1;
        }
        if let Some(place) = self.batches.get_mut(self.len) {
            *place = batch;
            self.len += 1;
        }
    }
}

impl Deref for Window {
    type Target = [RememberedBatch];

    fn deref(&self) -> &[RememberedBatch] {
        self.batches.split_at(self.len).0
    }
}

impl PartialEq for Window {
    fn eq(&self, other: &Window) -> bool {
        **self == **other
    }
}

impl Eq for Window {}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<C> Encode<C> for Window {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        encoder.array(self.len as u64)?;
        for batch in self.iter() {
            batch.encode(encoder, ctx)?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Window {
    fn decode(decoder: &mut Decoder<'b>, ctx: &mut C) -> Result<Window, DecodeError> {
        let mut window: Option<Window> = None;
        let at = decoder.position();
        let batches: Vec<RememberedBatch> = Vec::decode(decoder, ctx)?;
        if batches.len() > PRODUCER_WINDOW {
            return Err(DecodeError::message("a producer has too many batches").at(at));
        }
        for batch in batches {
            match &mut window {
                Some(window) => window.push(batch),
                None => window = Some(Window::of(batch)),
            }
        }
        window.ok_or_else(|| DecodeError::message("a producer has no batches").at(at))
    }
}

#[cfg(test)]
mod tests {
    use tarn_model::{Offset, Timestamp, decode, encode};

    use super::*;

    fn batch(n: i32) -> RememberedBatch {
        RememberedBatch {
            first_sequence: n,
            last_sequence: n,
            base: Offset(n.unsigned_abs().into()),
            max_timestamp: Timestamp(0),
        }
    }

    #[test]
    fn the_newest_stay_in_order_and_their_bytes_are_a_list() {
        let mut window = Window::of(batch(1));
        for n in 2..9 {
            window.push(batch(n));
            let first = (n - 4).max(1);
            let expected: Vec<_> = (first..=n).map(batch).collect();
            assert_eq!(*window, *expected);
            assert_eq!(encode(&window), encode(&expected));
            assert_eq!(decode::<Window>(&encode(&expected)).unwrap(), window);
        }
        for bad in [Vec::new(), (0..6).map(batch).collect()] {
            assert!(decode::<Window>(&encode(&bad)).is_err());
        }
    }
}
