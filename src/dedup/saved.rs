//! Answers kept for repeated calls, and the wait for an answer that is not there yet.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::sync::watch;

use crate::http1::answer_head::HeadReader;
use crate::http1::fields::Fields;
use crate::http1::response::Response;

/// An answer without the fields that belong to one request alone.
pub struct Saved {
    status: StatusCode,
    fields: Fields,
    body: Bytes,
}

impl Saved {
    /// Keeps an answer with a copy of its body.
    pub fn new(status: StatusCode, fields: Fields, body: &[u8]) -> Arc<Self> {
        // Copied, because the body can be a small part of a large buffer.
        Arc::new(Self { status, fields, body: Bytes::copy_from_slice(body) })
    }

    /// Approximate memory use in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.body.len() + self.fields.bytes()
    }

    /// The answer as bytes: a head as HTTP has it, and the body.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {} Kept\r\n", self.status.as_u16()).into_bytes();
        self.fields.write(&mut bytes);
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Reads an answer back; `None` if the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Arc<Self>> {
        let mut buffer = BytesMut::from(bytes);
        let (head, _) = HeadReader::default().read(&mut buffer).ok()??;
        Some(Self::new(head.status, head.fields, &buffer))
    }

    /// The answer for another request.
    pub fn answer(&self) -> Response<Bytes> {
        Response::new(self.status, self.fields.clone(), self.body.clone())
    }
}

/// The end of a first call, for its repeats.
#[derive(Clone)]
pub enum SavedEnding {
    /// It got this answer.
    Answered(Arc<Saved>),
    /// Its answer was not kept: it may have been delivered.
    Lost,
    /// It had no effect: it may be made again.
    Nothing,
}

/// Waits for the end of a first call.
#[derive(Clone)]
pub struct Watch(watch::Receiver<Option<SavedEnding>>);

/// Reports the end of a first call. Dropping it before that reports [`SavedEnding::Lost`].
pub(super) struct EndingSender(watch::Sender<Option<SavedEnding>>);

pub(super) fn watched() -> (EndingSender, Watch) {
    let (sender, watch) = watch::channel(None);
    (EndingSender(sender), Watch(watch))
}

impl EndingSender {
    pub(super) fn watch(&self) -> Watch {
        Watch(self.0.subscribe())
    }

    pub(super) fn send(&self, ending: SavedEnding) {
        self.0.send_replace(Some(ending));
    }
}

impl Watch {
    /// The end of the call, if it has ended.
    pub fn ending(&self) -> Option<SavedEnding> {
        self.0.borrow().clone()
    }

    /// Waits for the end of the call.
    pub async fn ended(&mut self) -> SavedEnding {
        let ended = self.0.wait_for(Option::is_some).await;
        ended.ok().and_then(|ending| ending.clone()).unwrap_or(SavedEnding::Lost)
    }
}
