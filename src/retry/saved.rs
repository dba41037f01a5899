//! Answers that are kept for whoever asks again, and the wait for one that is not there yet.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use tokio::sync::watch;

/// An answer that was given once, without what belongs to one request alone.
pub struct Saved {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Saved {
    /// Keeps an answer.
    pub fn new(status: StatusCode, headers: HeaderMap, body: &[u8]) -> Arc<Self> {
        // A body can be a small part of a large buffer.
        Arc::new(Self { status, headers, body: Bytes::copy_from_slice(body) })
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        const FIELD_BYTES: usize = 96;
        let text = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        size_of::<Self>() + self.body.len() + text.map(|length| length + FIELD_BYTES).sum::<usize>()
    }

    /// The answer once more.
    pub fn answer(&self) -> Response<Bytes> {
        let mut answer = Response::new(self.body.clone());
        *answer.status_mut() = self.status;
        *answer.headers_mut() = self.headers.clone();
        answer
    }
}

/// How a first call ended, for those that came again.
#[derive(Clone)]
pub enum Ending {
    /// With this answer.
    Answered(Arc<Saved>),
    /// With one that was not kept: it may have been delivered.
    Lost,
    /// Without any effect: it may be made again.
    Nothing,
}

/// A first call that others wait for.
#[derive(Clone)]
pub struct Watch(watch::Receiver<Option<Ending>>);

/// Whoever tells them how it ended. Dropped before that, it tells that nobody knows.
pub(super) struct Teller(watch::Sender<Option<Ending>>);

pub(super) fn watched() -> (Teller, Watch) {
    let (teller, watch) = watch::channel(None);
    (Teller(teller), Watch(watch))
}

impl Teller {
    pub(super) fn tell(&self, ending: Ending) {
        self.0.send_replace(Some(ending));
    }
}

impl Watch {
    /// How it ended, if it did.
    pub fn ending(&self) -> Option<Ending> {
        self.0.borrow().clone()
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> Ending {
        let ended = self.0.wait_for(Option::is_some).await;
        ended.ok().and_then(|ending| ending.clone()).unwrap_or(Ending::Lost)
    }
}
