//! Calls with a key of their caller, claimed for all replicas.
//!
//! One awaited round trip claims a call before it is paid for. What becomes of it is told without waiting: if that does
//! not arrive, the claim ends by itself, and the call is sent again only with the cid that it had, or not at all.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Store, micros, slot_name, spawn};
use crate::stored_call::{ClaimEnd, KEY_LIFE, StoredCall};

/// The longest wait for a claim. A late answer about a budget has the own part in its place; without one about a key the
/// push could go out twice.
const CLAIM_MAX: Duration = Duration::from_secs(1);

/// The claim of this replica to make a call. Dropped before the call was sent, it is given up; after that, it ends by
/// itself.
pub struct SharedClaim {
    store: Arc<Store>,
    key: Arc<str>,
    by: String,
    /// Whether an earlier attempt may have been delivered.
    is_open: bool,
    was_sent: bool,
}

impl Store {
    /// Claims a call: `key` is the caller's, `call` identifies all of it. A claim of another replica counts for
    /// `longest`.
    pub async fn claim(
        self: &Arc<Self>,
        key: &str,
        call: &str,
        longest: Duration,
    ) -> StoredCall<SharedClaim> {
        let key: Arc<str> = format!("jpush-gateway:call:{key}").into();
        let Some(link) = self.current.link(&key) else { return StoredCall::Away };
        // A name that no other claim has.
        let by = slot_name(&self.process, self.next.fetch_add(1, Ordering::Relaxed));
        let mut invocation = self.scripts.claim.prepare_invoke();
        invocation.key(&*key).arg(call).arg(&by).arg(micros(longest)).arg(micros(KEY_LIFE) / 1000);
        let answer = self.invoke_within::<Vec<redis::Value>>(CLAIM_MAX, &link, &key, &invocation).await;
        let Some(answer) = answer else {
            return StoredCall::Away;
        };
        let claim = |is_open| SharedClaim {
            store: Arc::clone(self),
            key: Arc::clone(&key),
            by,
            is_open,
            was_sent: false,
        };
        read(answer, claim).unwrap_or(StoredCall::Away)
    }
}

fn read(
    answer: Vec<redis::Value>,
    claim: impl FnOnce(bool) -> SharedClaim,
) -> Option<StoredCall<SharedClaim>> {
    let mut parts = answer.into_iter();
    let word: String = redis::from_redis_value(parts.next()?).ok()?;
    Some(match &*word {
        "first" => StoredCall::First(claim(false)),
        "wait" => StoredCall::Wait,
        "conflict" => StoredCall::Conflict,
        "lost" => StoredCall::Lost,
        "answered" => StoredCall::Answered(redis::from_redis_value(parts.next()?).ok()?),
        "open" => {
            let cid = redis::from_redis_value(parts.next()?).ok()?;
            let micros: i64 = redis::from_redis_value(parts.next()?).ok()?;
            StoredCall::Open(claim(true), cid, Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
        }
        _ => return None,
    })
}

impl SharedClaim {
    /// The claim of a call that was made already.
    pub(super) fn made(store: &Arc<Store>, key: &Arc<str>, by: String) -> Self {
        Self { store: Arc::clone(store), key: Arc::clone(key), by, is_open: false, was_sent: true }
    }

    /// Records that the call is about to be sent, with this cid: empty for its own, `None` without one.
    pub fn sent(&mut self, cid: Option<&str>) {
        self.was_sent = true;
        if let Some(cid) = cid {
            self.tell(vec![("cid", cid.into())]);
        }
    }

    /// Records the end of the call.
    pub fn end(mut self, end: ClaimEnd) {
        self.was_sent = true;
        self.tell_end(end);
    }

    fn tell_end(&self, end: ClaimEnd) {
        match end {
            ClaimEnd::Nothing => self.tell(Vec::new()),
            ClaimEnd::Open => self.tell(vec![("state", b"open".into())]),
            ClaimEnd::Answered(answer) => {
                self.tell(vec![("state", b"answered".into()), ("answer", answer)]);
            }
            ClaimEnd::Lost => self.tell(vec![("state", b"lost".into())]),
        }
    }

    /// Sends a change in a task of its own. Two changes of one claim may change places: an end without its cid makes the
    /// call lost, and a cid behind its end changes nothing that a repeat depends on.
    fn tell(&self, change: Vec<(&'static str, Vec<u8>)>) {
        let (store, key, by) = (Arc::clone(&self.store), Arc::clone(&self.key), self.by.clone());
        spawn(async move {
            let Some(link) = store.current.link(&key) else { return };
            let mut invocation = store.scripts.note_claim.prepare_invoke();
            invocation.key(&*key).arg(by);
            for (field, value) in change {
                invocation.arg(field).arg(value);
            }
            // What does not arrive ends by itself.
            let _ = store.invoke::<i64>(&link, &key, &invocation).await;
        });
    }
}

impl Drop for SharedClaim {
    fn drop(&mut self) {
        if !self.was_sent {
            self.tell_end(if self.is_open { ClaimEnd::Open } else { ClaimEnd::Nothing });
        }
    }
}
