//! The body of a request as whoever answers it reads it, whichever version of HTTP brought it. Pure.

use std::task::Context;
use std::task::Poll;

/// A request's body that is being received, and the caller that sends it.
pub trait BodySource: Send {
    /// The announced length, if there is one.
    fn declared(&self) -> Option<u64>;

    /// Appends the next bytes, `most` at most; `false` at the end of the body.
    fn poll_append(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        most: usize,
    ) -> Poll<Result<bool, BodyCut>>;

    /// Ready once the caller may no longer wait for the answer. Called only after the end of the body.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone>;
}

/// The certainty that a caller no longer waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The caller ended its side of the connection, or its connection cannot be watched behind further bytes it sent.
    /// It may be gone or still read.
    Perhaps,
    /// The connection broke: nobody can receive the answer.
    Certainly,
}

/// A body ended early, or violates its framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyCut;
