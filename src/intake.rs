//! Request bodies, held whole under one limit of memory.
//!
//! Small bodies are taken as they come. Large ones are copied once into buffers that are used again: fresh
//! allocations of 10 MB cost 2.5 times the CPU of the whole upload in page faults.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::refusal::Refusal;

/// Bodies up to this length are kept in the chunks they came in, or in one small buffer.
const SMALL_BYTES: usize = 64 * 1024;
/// So much is copied before it is looked at: what was copied is still in the nearest cache.
const PIECE_BYTES: usize = 16 * 1024;
/// Buffers kept for the next upload, a worker.
const SPARE_BUFFERS: usize = 4;

/// A count of bytes, shared, with a limit.
pub struct Memory {
    used: AtomicUsize,
    limit: AtomicUsize,
}

impl Memory {
    /// Nothing used yet.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit: AtomicUsize::new(limit_bytes) })
    }

    /// Has another limit from now on. What is in use stays.
    pub fn resize(&self, limit_bytes: usize) {
        self.limit.store(limit_bytes, Ordering::Relaxed);
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts so many bytes, if they are within the limit.
    pub fn count(this: &Arc<Self>, bytes: usize) -> Option<Counted> {
        this.reserve(bytes).then(|| Counted { memory: Arc::clone(this), bytes })
    }

    fn reserve(&self, bytes: usize) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let within = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }
}

/// Bytes counted until this is dropped.
pub struct Counted {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Memory held by one body: in the whole gateway's count and in its caller's.
pub struct Hold {
    whole: Arc<Memory>,
    caller: Arc<Memory>,
    bytes: usize,
}

impl Hold {
    /// Holds nothing yet.
    pub fn new(whole: &Arc<Memory>, caller: &Arc<Memory>) -> Self {
        Self { whole: Arc::clone(whole), caller: Arc::clone(caller), bytes: 0 }
    }

    fn grow_to(&mut self, bytes: usize) -> Result<(), Refusal> {
        let more = bytes.saturating_sub(self.bytes);
        let overloaded = Refusal::Overloaded { what: "memory for request bodies" };
        if !self.caller.reserve(more) {
            return Err(overloaded);
        }
        if !self.whole.reserve(more) {
            self.caller.used.fetch_sub(more, Ordering::Relaxed);
            return Err(overloaded);
        }
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.whole.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.caller.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A whole body and the memory it counts for.
pub struct Buffered {
    bytes: Bytes,
    hold: Option<Hold>,
}

impl Buffered {
    /// No body.
    pub fn empty() -> Self {
        Self { bytes: Bytes::new(), hold: None }
    }

    /// Other bytes of about the same length, counted as these were.
    #[must_use]
    pub fn rewritten(self, bytes: Bytes) -> Self {
        Self { bytes, ..self }
    }

    /// The bytes, and the memory they count for as long as it is kept.
    pub fn into_parts(self) -> (Bytes, Option<Hold>) {
        (self.bytes, self.hold)
    }
}

impl Deref for Buffered {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What a body may cost.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Length.
    pub limit_bytes: usize,
    /// Time for all of it.
    pub timeout: Duration,
}

/// Refuses a body that announces itself as too long, before any of it is read.
pub fn check_declared(body: &impl Body, allowance: Allowance) -> Result<(), Refusal> {
    let declared = body.size_hint().exact();
    if declared.is_some_and(|bytes| bytes > allowance.limit_bytes as u64) {
        return Err(Refusal::BodyTooLarge { limit_bytes: allowance.limit_bytes });
    }
    Ok(())
}

/// Reads a body to its end, refusing it as soon as it passes a limit.
///
/// `look` is shown a large body from its beginning, each time some was added and is still in the cache.
pub async fn read(
    body: Incoming,
    allowance: Allowance,
    hold: Hold,
    spare: &Arc<SpareBuffers>,
    look: impl FnMut(&[u8]),
) -> Result<Buffered, Refusal> {
    check_declared(&body, allowance)?;
    if body.is_end_stream() {
        return Ok(Buffered::empty());
    }
    let timeout = allowance.timeout;
    tokio::time::timeout(timeout, collect(body, allowance, hold, spare, look))
        .await
        .unwrap_or(Err(Refusal::BodyTimeout { limit: timeout }))
}

async fn collect(
    mut body: Incoming,
    allowance: Allowance,
    mut hold: Hold,
    spare: &Arc<SpareBuffers>,
    mut look: impl FnMut(&[u8]),
) -> Result<Buffered, Refusal> {
    let declared = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    hold.grow_to(declared.unwrap_or(0))?;
    let Some(first) = next_chunk(&mut body).await? else { return Ok(Buffered::empty()) };
    if body.is_end_stream() && first.len() <= SMALL_BYTES {
        check_length(first.len(), allowance)?;
        hold.grow_to(first.len())?;
        return Ok(Buffered { bytes: first, hold: Some(hold) });
    }
    let mut buffer = match declared {
        Some(bytes) if bytes <= SMALL_BYTES => Buffer::small(bytes),
        _ => spare.take(declared.unwrap_or(0).min(allowance.limit_bytes)),
    };
    let mut chunk = Some(first);
    while let Some(bytes) = chunk {
        let length = buffer.bytes.len() + bytes.len();
        check_length(length, allowance)?;
        hold.grow_to(length)?;
        for piece in bytes.chunks(PIECE_BYTES) {
            buffer.bytes.extend_from_slice(piece);
            look(&buffer.bytes);
        }
        drop(bytes);
        chunk = next_chunk(&mut body).await?;
    }
    Ok(Buffered { bytes: Bytes::from_owner(buffer), hold: Some(hold) })
}

async fn next_chunk(body: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            // Trailers are not forwarded.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Ok(Some(bytes)),
                Err(_trailers) => {}
            },
            Some(Err(_)) => {
                return Err(Refusal::BadRequest("the body ended early or is not framed as it says".into()));
            }
        }
    }
}

fn check_length(bytes: usize, allowance: Allowance) -> Result<(), Refusal> {
    let limit_bytes = allowance.limit_bytes;
    if bytes > limit_bytes { Err(Refusal::BodyTooLarge { limit_bytes }) } else { Ok(()) }
}

/// Large buffers of one worker, kept for the next upload.
#[derive(Default)]
pub struct SpareBuffers(Mutex<Vec<Vec<u8>>>);

impl SpareBuffers {
    fn take(self: &Arc<Self>, bytes: usize) -> Buffer {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = spare.iter().position(|buffer| buffer.capacity() >= bytes);
        let mut buffer =
            fitting.or(spare.len().checked_sub(1)).map(|at| spare.swap_remove(at)).unwrap_or_default();
        buffer.reserve(bytes);
        Buffer { bytes: buffer, home: Some(Arc::clone(self)) }
    }

    /// Gives the memory of buffers back that nobody used since the last call.
    pub fn trim(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
    }
}

/// A buffer that goes home when nobody reads it any more.
struct Buffer {
    bytes: Vec<u8>,
    home: Option<Arc<SpareBuffers>>,
}

impl Buffer {
    fn small(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), home: None }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(home) = self.home.take() else { return };
        let mut spare = home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_BUFFERS {
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.clear();
            spare.push(bytes);
        }
    }
}
