//! A request body on its way to the vendor: the checked bytes, and the moment the last of them was taken.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Bodies up to this length are handed over at once, so that their last byte counts as written with the first.
const WHOLE_BYTES: usize = 64 * 1024;
/// Longer ones go in pieces, so that the last one is taken when the others are written.
const PIECE_BYTES: usize = 256 * 1024;

/// A body that is sent byte for byte.
#[derive(Debug)]
pub struct Sending {
    bytes: Bytes,
    last_byte: LastByte,
}

/// When the last byte of a request was taken for writing.
#[derive(Clone, Debug)]
pub struct LastByte(Option<Arc<OnceLock<Instant>>>);

impl LastByte {
    /// The moment, for a request that was dispatched at `start`; `None` while it is still being sent.
    pub fn at(&self, start: Instant) -> Option<Instant> {
        match &self.0 {
            None => Some(start),
            Some(taken) => taken.get().copied(),
        }
    }
}

impl Sending {
    /// Sends these bytes.
    pub fn new(bytes: Bytes) -> Self {
        let last_byte = LastByte((bytes.len() > WHOLE_BYTES).then(Arc::default));
        Self { bytes, last_byte }
    }

    /// Tells when its last byte is taken.
    pub fn last_byte(&self) -> LastByte {
        self.last_byte.clone()
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        let piece = match &self.last_byte.0 {
            Some(_) => self.bytes.len().min(PIECE_BYTES),
            None => self.bytes.len(),
        };
        let piece = self.bytes.split_to(piece);
        if let (Some(taken), true) = (&self.last_byte.0, self.bytes.is_empty()) {
            let _ = taken.set(Instant::now());
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}
