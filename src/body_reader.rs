//! Reading of request bodies into memory, under a total limit.
//!
//! A body is read from the connection directly to its final place. Large bodies use reused buffers: fresh allocations
//! of 10 MB cost 2.5 times the CPU of the whole upload in page faults.

use std::future::poll_fn;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;

use crate::http1::body::{BodyCut, BodySource, Gone};
use crate::lock::lock;
use crate::refusal::Refusal;

/// Bodies announced with up to this length get a buffer of their own.
const SMALL_BYTES: usize = 64 * 1024;
/// Bytes read before the body checks look at them, while they are still in the CPU cache.
const PIECE_BYTES: usize = 64 * 1024;
/// Buffers that each worker keeps for later uploads.
const SPARE_BUFFERS: usize = 4;

/// A shared count of bytes with a limit.
pub struct MemoryLimit {
    used: AtomicUsize,
    limit: AtomicUsize,
}

impl MemoryLimit {
    /// Creates a count of zero.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit: AtomicUsize::new(limit_bytes) })
    }

    /// Changes the limit. Bytes in use stay counted.
    pub fn resize(&self, limit_bytes: usize) {
        self.limit.store(limit_bytes, Ordering::Relaxed);
    }

    /// Bytes that are counted now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts `bytes`, if the limit allows it.
    pub fn count(this: &Arc<Self>, bytes: usize) -> Option<Counted> {
        this.reserve(bytes).then(|| Counted { memory: Arc::clone(this), bytes })
    }

    fn reserve(&self, bytes: usize) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let within = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }
}

/// Bytes that stay counted until this is dropped.
pub struct Counted {
    memory: Arc<MemoryLimit>,
    bytes: usize,
}

impl Counted {
    /// Number of bytes counted.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The memory of one body, counted in the total of the gateway and in that of its caller.
pub struct BodyReservation {
    whole: Arc<MemoryLimit>,
    caller: Arc<MemoryLimit>,
    bytes: usize,
}

impl BodyReservation {
    /// Creates an empty reservation.
    pub fn new(whole: &Arc<MemoryLimit>, caller: &Arc<MemoryLimit>) -> Self {
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

impl Drop for BodyReservation {
    fn drop(&mut self) {
        self.whole.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.caller.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A whole body and its memory reservation.
pub struct RequestBody {
    bytes: Bytes,
    hold: Option<BodyReservation>,
}

impl RequestBody {
    /// A body without bytes or reservation.
    pub fn empty() -> Self {
        Self { bytes: Bytes::new(), hold: None }
    }

    /// Replaces the bytes by others of about the same length and keeps the reservation.
    #[must_use]
    pub fn rewritten(self, bytes: Bytes) -> Self {
        Self { bytes, ..self }
    }

    /// The bytes, and the reservation that counts them until it is dropped.
    pub fn into_parts(self) -> (Bytes, Option<BodyReservation>) {
        (self.bytes, self.hold)
    }
}

impl Deref for RequestBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The limits for one body.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// The greatest length in bytes.
    pub limit_bytes: usize,
    /// Time for the whole body.
    pub timeout: Duration,
}

/// Whether the caller of a request still waits for the answer, as far as the request's processing has to know.
#[derive(Default)]
pub struct Presence {
    is_doubted: AtomicBool,
}

impl Presence {
    /// Whether the caller may be gone.
    pub fn is_doubted(&self) -> bool {
        self.is_doubted.load(Ordering::Relaxed)
    }

    /// Completes once the caller may be gone. It registers no waker: [`unless_gone`] polls the whole future again when
    /// that changes.
    pub async fn doubted(&self) {
        poll_fn(|_| if self.is_doubted() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// Runs `story` until it is done, or until the caller is certainly gone. The future is passed pinned, because moving it
/// would copy all of its states.
pub async fn unless_gone<T>(
    source: &mut dyn BodySource,
    presence: &Presence,
    mut story: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(end) = story.as_mut().poll(cx) {
                return Poll::Ready(Some(end));
            }
            match ready!(source.poll_gone(cx)) {
                Gone::Certainly => return Poll::Ready(None),
                Gone::Perhaps if presence.is_doubted.swap(true, Ordering::Relaxed) => return Poll::Pending,
                Gone::Perhaps => {}
            }
        }
    })
    .await
}

/// Reads a body to its end. Refuses it as soon as it exceeds a limit, and before any of it is read if its announced
/// length does.
///
/// `look` is called with the beginning of a large body each time bytes were added, while they are still in the CPU
/// cache.
pub async fn read(
    source: &mut dyn BodySource,
    allowance: Allowance,
    mut hold: BodyReservation,
    spare: &Arc<SpareBuffers>,
    look: impl FnMut(&[u8]),
) -> Result<RequestBody, Refusal> {
    let declared = match source.declared() {
        Some(0) => return Ok(RequestBody::empty()),
        Some(bytes) => Some(check_length(usize::try_from(bytes).unwrap_or(usize::MAX), allowance)?),
        None => None,
    };
    hold.grow_to(declared.unwrap_or(0))?;
    let mut reading = BodyReading { source, allowance, hold, look };
    let timeout = allowance.timeout;
    let whole = if let Some(bytes) = declared.filter(|bytes| *bytes <= SMALL_BYTES) {
        Bytes::from(within(timeout, reading.small(bytes)).await?)
    } else {
        let mut buffer = spare.take(declared.unwrap_or(0));
        within(timeout, reading.large(&mut buffer.bytes)).await?;
        Bytes::from_owner(buffer)
    };
    Ok(RequestBody { bytes: whole, hold: Some(reading.hold) })
}

/// Applies the timeout. Most bodies arrive together with their heads, so the timer starts only with the first wait.
async fn within<T>(
    timeout: Duration,
    reading: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let mut reading = pin!(reading);
    if let Some(read) = reading.as_mut().now_or_never() {
        return read;
    }
    // Boxed, so that bodies without a wait do not reserve room for the timer.
    let read = Box::pin(tokio::time::timeout(timeout, reading)).await;
    read.unwrap_or(Err(Refusal::BodyTimeout { limit: timeout }))
}

/// A body that is being read.
struct BodyReading<'s, L> {
    source: &'s mut dyn BodySource,
    allowance: Allowance,
    hold: BodyReservation,
    look: L,
}

impl<L: FnMut(&[u8])> BodyReading<'_, L> {
    async fn small(&mut self, declared: usize) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::with_capacity(declared);
        while self.append(&mut bytes).await? {}
        Ok(bytes)
    }

    async fn large(&mut self, bytes: &mut Vec<u8>) -> Result<(), Refusal> {
        while self.append(bytes).await? {
            check_length(bytes.len(), self.allowance)?;
            self.hold.grow_to(bytes.len())?;
            (self.look)(bytes);
        }
        Ok(())
    }

    async fn append(&mut self, bytes: &mut Vec<u8>) -> Result<bool, Refusal> {
        poll_fn(|cx| self.source.poll_append(cx, bytes, PIECE_BYTES))
            .await
            .map_err(|BodyCut| Refusal::BadRequest("the body ended early or is not framed as it says".into()))
    }
}

fn check_length(bytes: usize, allowance: Allowance) -> Result<usize, Refusal> {
    let limit_bytes = allowance.limit_bytes;
    if bytes > limit_bytes { Err(Refusal::BodyTooLarge { limit_bytes }) } else { Ok(bytes) }
}

/// Large buffers of one worker, kept for later uploads.
#[derive(Default)]
pub struct SpareBuffers(Mutex<Vec<Vec<u8>>>);

impl SpareBuffers {
    fn take(self: &Arc<Self>, bytes: usize) -> Buffer {
        let mut spare = lock(&self.0);
        let fitting = spare.iter().position(|buffer| buffer.capacity() >= bytes);
        let mut buffer =
            fitting.or(spare.len().checked_sub(1)).map(|at| spare.swap_remove(at)).unwrap_or_default();
        buffer.reserve(bytes);
        Buffer { bytes: buffer, pool: Arc::clone(self) }
    }

    /// Drops one spare buffer. Called regularly, this releases the memory of buffers that are no longer used.
    pub fn trim(&self) {
        lock(&self.0).pop();
    }
}

/// A buffer that returns to the spare ones when its last reader drops it.
struct Buffer {
    bytes: Vec<u8>,
    pool: Arc<SpareBuffers>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut spare = lock(&self.pool.0);
        if spare.len() < SPARE_BUFFERS {
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.clear();
            spare.push(bytes);
        }
    }
}
