//! Answers over HTTP/2 until their callers have received them.
//!
//! A caller opens the window of each stream when it likes, and h2 keeps the answer until then. So the resources of an
//! answer are held by its bytes, wherever they are: in the stream that waits for a window, in the buffer behind it, or
//! in the body.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};

use crate::admission::InFlightGuard;
use crate::answer::Reply;
use crate::body_reader::{Counted, MemoryLimit};
use crate::server::timeouts::{ConnectionTimer, PendingAnswer, ServingRequest};
use crate::upstream::AnswerCut;

/// Memory of a stream with its answer, beside the answer's body: measured 4.3 KiB.
const STREAM_BYTES: usize = 5 * 1024;
/// Answers of one connection that may wait without being counted, so that a caller that reads its answers always gets
/// them.
const ANSWERS_FREE: usize = 4;

/// The resources that an answer holds while it waits.
struct HeldAnswer {
    delivery: PendingAnswer,
    _places: Option<[InFlightGuard; 2]>,
    _room: Option<Counted>,
}

/// The body of an answer that holds its resources.
pub(super) struct DeliveredBody {
    body: Reply,
    waiting: Arc<HeldAnswer>,
    /// Set while the vendor's next bytes are awaited.
    serving: Option<ServingRequest>,
}

impl DeliveredBody {
    /// Wraps an answer that starts to wait; `None` if there is no memory left for an answer that no call was made for.
    pub(super) fn of(
        body: Reply,
        places: Option<[InFlightGuard; 2]>,
        timer: &Arc<ConnectionTimer>,
        memory: &Arc<MemoryLimit>,
    ) -> Option<Self> {
        let is_free = places.is_some() || timer.answers_waiting() < ANSWERS_FREE;
        let bytes =
            STREAM_BYTES + body.size_hint().exact().map_or(0, |bytes| usize::try_from(bytes).unwrap_or(0));
        let room = if is_free { None } else { Some(MemoryLimit::count(memory, bytes)?) };
        let waiting = HeldAnswer { delivery: timer.answer_waits(), _places: places, _room: room };
        Some(Self { body, waiting: Arc::new(waiting), serving: None })
    }
}

impl Body for DeliveredBody {
    type Data = Portion;
    type Error = AnswerCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Portion>, AnswerCut>>> {
        let Self { body, waiting, serving } = &mut *self;
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            serving.get_or_insert_with(|| waiting.delivery.serving());
            return Poll::Pending;
        };
        *serving = None;
        waiting.delivery.progressed();
        let portion = |bytes| Portion { bytes, waiting: Arc::clone(waiting) };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(portion))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of an answer.
pub(super) struct Portion {
    bytes: Bytes,
    waiting: Arc<HeldAnswer>,
}

impl Buf for Portion {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.waiting.delivery.progressed();
    }
}
