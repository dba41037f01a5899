//! Answers that are kept for whoever asks again, and the wait for one that is not there yet.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use tokio::sync::watch;

use crate::fields::Fields;
use crate::response::Response;

/// An answer that was given once, without what belongs to one request alone.
pub struct Saved {
    status: StatusCode,
    fields: Fields,
    body: Bytes,
}

impl Saved {
    /// Keeps an answer.
    pub fn new(status: StatusCode, fields: Fields, body: &[u8]) -> Arc<Self> {
        // A body can be a small part of a large buffer.
        Arc::new(Self { status, fields, body: Bytes::copy_from_slice(body) })
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.body.len() + self.fields.bytes()
    }

    /// The answer once more.
    pub fn answer(&self) -> Response<Bytes> {
        Response::new(self.status, self.fields.clone(), self.body.clone())
    }
}

/// How a first call ended, for those that came again.
#[derive(Clone)]
pub enum SavedEnding {
    /// With this answer.
    Answered(Arc<Saved>),
    /// With one that was not kept: it may have been delivered.
    Lost,
    /// Without any effect: it may be made again.
    Nothing,
}

/// A first call that others wait for.
#[derive(Clone)]
pub struct Watch(watch::Receiver<Option<SavedEnding>>);

/// Whoever tells them how it ended. Dropped before that, it tells that nobody knows.
pub(super) struct Teller(watch::Sender<Option<SavedEnding>>);

pub(super) fn watched() -> (Teller, Watch) {
    let (teller, watch) = watch::channel(None);
    (Teller(teller), Watch(watch))
}

impl Teller {
    pub(super) fn tell(&self, ending: SavedEnding) {
        self.0.send_replace(Some(ending));
    }
}

impl Watch {
    /// How it ended, if it did.
    pub fn ending(&self) -> Option<SavedEnding> {
        self.0.borrow().clone()
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> SavedEnding {
        let ended = self.0.wait_for(Option::is_some).await;
        ended.ok().and_then(|ending| ending.clone()).unwrap_or(SavedEnding::Lost)
    }
}
