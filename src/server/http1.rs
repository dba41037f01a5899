//! HTTP/1.1 with a caller: the codec runs the connection, this module adds timeouts and the orders to close.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;

use super::requests::{NoRequest, Requests, next_order};
use super::timeouts::{CloseOrder, ConnectionTimer, ServingRequest};

use crate::admission::InFlightGuard;
use crate::answer::Reply;
use crate::body_reader::{Counted, MemoryLimit};
use crate::gateway::Handled;
use crate::http1::body::BodySource;
use crate::http1::response::Response;
use crate::http1::server::{Answer, ConnectionEnding, NotARequest, Progress, ServerConnection, Service};
use crate::http1::stream::CallerStream;
use crate::request::{Field, RequestHead};
use crate::strict::HEADER_BYTES_MAX;

/// Serves a connection until it is done, late, or told to stop.
pub(super) async fn serve<S>(stream: S, requests: Requests)
where
    S: CallerStream,
{
    let timer = &requests.timer;
    let mut connection = ServerConnection::new(stream, &requests);
    let ended = {
        let mut story = pin!(connection.serve());
        let mut finishing = false;
        poll_fn(|cx| {
            loop {
                // A request that has arrived already is read before the order to finish, so that it gets its answer.
                if let Poll::Ready(ended) = story.as_mut().poll(cx) {
                    return Poll::Ready(ended);
                }
                match next_order(timer, cx, &mut finishing) {
                    CloseOrder::Serve => return Poll::Pending,
                    CloseOrder::Finish => {}
                    CloseOrder::Close => {
                        if timer.is_in_head() {
                            requests.none(NoRequest::Late);
                        }
                        return Poll::Ready(ConnectionEnding::Over);
                    }
                }
            }
        })
        .await
    };
    connection.close(ended).await;
}

impl Service for Requests {
    type Field = Field;
    type Progress = Arc<ConnectionTimer>;
    type Answer = Handled;
    type Room = Counted;

    /// The header section and some room for the request line; a longer head gets a bare 431.
    const HEAD_BYTES_MAX: usize = HEADER_BYTES_MAX + 16 * 1024;

    fn progress(&self) -> &Arc<ConnectionTimer> {
        &self.timer
    }

    async fn answer(&self, head: &RequestHead, body: &mut dyn BodySource) -> Option<Handled> {
        self.handle(head, body).await
    }

    fn not_a_request(&self, what: NotARequest<'_>) {
        self.none(match what {
            NotARequest::Malformed(bytes) => NoRequest::of(bytes),
            NotARequest::TooLarge => NoRequest::TooLarge,
            NotARequest::NoRoom => NoRequest::NoRoom,
            NotARequest::Cut => NoRequest::Cut,
        });
    }

    fn room(&self, bytes: usize) -> Option<Counted> {
        MemoryLimit::count(&self.heads(), bytes)
    }
}

impl Progress for Arc<ConnectionTimer> {
    type Serving = ServingRequest;

    fn head_begins(&self) {
        ConnectionTimer::head_begins(self);
    }

    fn sent(&self) {
        ConnectionTimer::sent(self);
    }

    fn serving(&self) -> ServingRequest {
        ConnectionTimer::serving(self)
    }

    fn finishes(&self) -> bool {
        ConnectionTimer::finishes(self)
    }

    fn ask_for_reminder(&self) -> bool {
        ConnectionTimer::ask_for_reminder(self)
    }
}

impl Answer for Handled {
    type Body = Reply;
    type Held = Option<[InFlightGuard; 2]>;

    fn response(&self) -> &Response<Reply> {
        &self.answer
    }

    fn whole_body(&self) -> Option<&Bytes> {
        match &self.answer.body {
            Reply::Whole(body) => Some(body),
            Reply::Stream(_) => None,
        }
    }

    fn take_body(&mut self) -> Reply {
        std::mem::replace(&mut self.answer.body, Reply::Whole(Bytes::new()))
    }

    fn take_held(&mut self) -> Option<[InFlightGuard; 2]> {
        self.in_flight.take()
    }

    fn matters_if_lost(&self) -> bool {
        Self::matters_if_lost(self)
    }

    fn matters_at(&self, now: Instant) -> bool {
        Self::matters_at(self, now)
    }

    fn may_be_lost(&self) {
        Self::may_be_lost(self);
    }

    fn lost(self) {
        Self::lost(self);
    }
}
