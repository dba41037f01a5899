//! The head of a request, read from its connection: within its time, its length, and the memory of all long ones.

use std::future::poll_fn;
use std::sync::LazyLock;
use std::task::Poll;
use std::time::Instant;

use bytes::{Buf, BytesMut};
use memchr::memmem::Finder;

use super::{CallerStream, HEAD_BYTES_FREE, Progress, READ_BYTES, ServerConnection, Service};

use crate::http1::framing::Framing;
use crate::http1::head::{BadFraming, BadHead, Head};

const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// A search for it, prepared once: preparing takes as long as searching a head.
static FIND_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(END_OF_HEAD));

/// The reason why no head could be read.
pub(super) enum HeadError {
    /// The connection broke.
    Broken,
    /// The connection ended in the middle of a head.
    Cut,
    /// The head is long, and no memory is left for another long one.
    NoRoom,
    /// The bytes are no head, or the head is over a limit.
    Bad(BadHead),
}

/// A head, and the framing of the body behind it.
type ReadHead<F> = (Head<F>, Result<Framing, BadFraming>);

impl<S: CallerStream, V: Service> ServerConnection<'_, S, V> {
    /// The head of the next request and the framing of its body; `None` if there is none to come.
    pub(super) async fn read_head(&mut self) -> Result<Option<ReadHead<V::Field>>, HeadError> {
        match self.head_arrives().await? {
            Some(length) => self.take_head(length).map(Some),
            None => Ok(None),
        }
    }

    /// The length of the next request's head once all of it is in the buffer; `None` if there is none to come.
    async fn head_arrives(&mut self) -> Result<Option<usize>, HeadError> {
        // Bytes that were searched for the end, and bytes that were looked at whether they can be a head at all. The
        // second look waits for twice as many each time, so that a slow caller costs no more than a fast one.
        let (mut searched, mut judged) = (0, 0);
        poll_fn(|cx| {
            loop {
                if searched == 0 {
                    self.skip_empty_lines();
                }
                if !self.buffer.is_empty() {
                    self.service.progress().head_begins();
                }
                if let Some(end) = FIND_END.find(&self.buffer[searched..]) {
                    let length = searched + end + END_OF_HEAD.len();
                    return Poll::Ready(Ok(Some(length)));
                }
                let length = self.buffer.len();
                if length > V::HEAD_BYTES_MAX {
                    return Poll::Ready(Err(HeadError::Bad(BadHead::TooLarge)));
                }
                if length > 2 * judged {
                    judged = length;
                    if !Head::<V::Field>::may_begin_with(&self.buffer) {
                        return Poll::Ready(Err(HeadError::Bad(BadHead::Malformed)));
                    }
                }
                if length >= HEAD_BYTES_FREE && !self.makes_room() {
                    return Poll::Ready(Err(HeadError::NoRoom));
                }
                searched = length.saturating_sub(END_OF_HEAD.len() - 1);
                match self.poll_fill(READ_BYTES, cx) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Ok(0)) if length == 0 => return Poll::Ready(Ok(None)),
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(HeadError::Cut)),
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(HeadError::Broken)),
                    Poll::Pending if length == 0 && self.service.progress().finishes() => {
                        return Poll::Ready(Ok(None));
                    }
                    Poll::Pending => {
                        self.forget_what_arrived();
                        return Poll::Pending;
                    }
                }
            }
        })
        .await
    }

    /// An idle connection keeps no answer longer than its loss would be told.
    fn forget_what_arrived(&mut self) {
        if !self.unconfirmed.is_empty() && self.service.progress().ask_for_reminder() {
            self.unconfirmed.forget_old(Instant::now());
        }
    }

    fn take_head(&mut self, length: usize) -> Result<ReadHead<V::Field>, HeadError> {
        if length > V::HEAD_BYTES_MAX {
            return Err(HeadError::Bad(BadHead::TooLarge));
        }
        let read = Head::<V::Field>::parse(&self.buffer[..length]).map_err(HeadError::Bad)?;
        if self.head_room.is_some() {
            // What was counted is the head's own copy from here on.
            (self.buffer, self.has_grown) = (BytesMut::from(&self.buffer[length..]), true);
        } else {
            self.buffer.advance(length);
        }
        Ok(read)
    }

    /// Whether a head that is longer than most may go on: it is moved to where it has room that is counted.
    fn makes_room(&mut self) -> bool {
        let length = self.buffer.len();
        if self.head_room.is_some() && self.buffer.capacity() - length >= READ_BYTES / 2 {
            return true;
        }
        let bytes = (2 * length).min(V::HEAD_BYTES_MAX + READ_BYTES);
        let Some(room) = self.service.room(bytes) else { return false };
        let mut longer = BytesMut::with_capacity(bytes);
        longer.extend_from_slice(&self.buffer);
        (self.buffer, self.head_room) = (longer, Some(room));
        true
    }
}
