//! Writing a request, while its answer may come already.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::http1::message::Message;

/// A message on its way.
pub(super) struct Writing<'m> {
    message: &'m Message,
    done: usize,
    pub(super) state: WritingState,
    /// Why the server takes no more, where the system said so.
    pub(super) failure: Option<io::Error>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WritingState {
    Writes,
    Flushes,
    Done,
    /// The server takes no more; an answer may still come.
    Failed,
}

impl<'m> Writing<'m> {
    pub(super) fn of(message: &'m Message) -> Self {
        Self { message, done: 0, state: WritingState::Writes, failure: None }
    }

    /// Ready once, when the last byte is written; pending before, after, and when it cannot be.
    pub(super) fn poll<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<()> {
        while self.state == WritingState::Writes {
            let [first, second] = self.message.parts();
            let written = match self.done.checked_sub(first.len()) {
                Some(past) => Pin::new(&mut *stream).poll_write(cx, &second[past..]),
                None if second.is_empty() => Pin::new(&mut *stream).poll_write(cx, &first[self.done..]),
                None => {
                    let parts = [io::IoSlice::new(&first[self.done..]), io::IoSlice::new(second)];
                    Pin::new(&mut *stream).poll_write_vectored(cx, &parts)
                }
            };
            match ready!(written) {
                Ok(bytes @ 1..) => self.done += bytes,
                failed => (self.state, self.failure) = (WritingState::Failed, failed.err()),
            }
            if self.done == self.message.len() {
                self.state = WritingState::Flushes;
            }
        }
        if self.state == WritingState::Flushes {
            match ready!(Pin::new(&mut *stream).poll_flush(cx)) {
                Ok(()) => {
                    self.state = WritingState::Done;
                    return Poll::Ready(());
                }
                Err(error) => (self.state, self.failure) = (WritingState::Failed, Some(error)),
            }
        }
        Poll::Pending
    }
}
