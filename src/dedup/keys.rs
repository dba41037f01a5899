//! Calls under an `Idempotency-Key`: the first is made, and whoever comes with the same key gets its answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::saved::{Teller, watched};
use super::{Digest, Saved, SavedEnding, Watch};
use crate::body::Cid;
use crate::delivery::Delivery;
use crate::lock::lock;

/// Keys remembered for each caller; the oldest goes first.
pub(super) const KEYS_MAX: usize = 10_000;
/// Answers kept for each caller, all together; the oldest goes first, with its key.
pub(super) const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The vendor knows a cid for a day (`docs/vendor.md`, V24), of which it may have spent half in the pool and a
/// little under way: a call that may have been delivered does not go again after this long.
const OPEN_MAX: Duration = Duration::from_hours(11);
/// The keys of all callers.
#[derive(Default)]
pub struct Keys(Arc<Mutex<HashMap<u16, CallerKeys>>>);

/// What a key says about the call that came with it.
pub enum Claim {
    /// It is the first, or nothing came of those before.
    First(FirstCall),
    /// The first is under way.
    Wait(Watch),
    /// The first was answered.
    Repeat(SavedEnding),
    /// The key was used for another call.
    Conflict,
}

#[derive(Default)]
struct CallerKeys {
    entries: HashMap<Digest, KeyEntry>,
    /// Keys by age.
    ages: BTreeMap<u64, Digest>,
    next_age: u64,
    answer_bytes: usize,
}

struct KeyEntry {
    call: Digest,
    age: u64,
    state: KeyState,
}

enum KeyState {
    UnderWay(Watch),
    Over(SavedEnding),
    /// It may have been delivered, and goes again with the same cid: this one, or the one in its body.
    Open(Option<Cid>, Instant),
}

/// The right and the duty to make the first call under a key. Dropped without an end, it is as if the call had not
/// been made, unless it was dispatched.
pub struct FirstCall {
    keys: Arc<Mutex<HashMap<u16, CallerKeys>>>,
    caller: u16,
    key: Digest,
    teller: Teller,
    cid: Option<Cid>,
    /// The vendor knows the call by a cid, ours or its own, so that it can be made again.
    has_cid: bool,
    /// Since when an earlier try under this key may have been delivered.
    open_since: Option<Instant>,
    stage: ClaimStage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ClaimStage {
    Waiting,
    Sent,
    Over,
}

impl Keys {
    /// Looks a caller's key up, for a call that is told by a digest of all of it.
    pub fn claim(&self, caller: u16, key: Digest, call: Digest) -> Claim {
        let mut callers = lock(&self.0);
        let known = callers.entry(caller).or_default();
        let (teller, watch) = watched();
        let first_call = |cid, open_since: Option<Instant>| {
            let keys = Arc::clone(&self.0);
            FirstCall {
                keys,
                caller,
                key,
                teller,
                cid,
                has_cid: open_since.is_some(),
                open_since,
                stage: ClaimStage::Waiting,
            }
        };
        let Some(entry) = known.entries.get_mut(&key) else {
            known.add(key, KeyEntry { call, age: 0, state: KeyState::UnderWay(watch) });
            return Claim::First(first_call(None, None));
        };
        if entry.call != call {
            return Claim::Conflict;
        }
        match &mut entry.state {
            KeyState::UnderWay(first) => Claim::Wait(first.clone()),
            KeyState::Over(ending) => Claim::Repeat(ending.clone()),
            KeyState::Open(_, since) if since.elapsed() > OPEN_MAX => Claim::Repeat(SavedEnding::Lost),
            KeyState::Open(cid, since) => {
                let (cid, since) = (cid.take(), *since);
                entry.state = KeyState::UnderWay(watch);
                Claim::First(first_call(cid, Some(since)))
            }
        }
    }
}

impl CallerKeys {
    fn add(&mut self, key: Digest, entry: KeyEntry) {
        let age = self.next_age;
        self.next_age += 1;
        self.ages.insert(age, key);
        self.entries.insert(key, KeyEntry { age, ..entry });
        self.make_room();
    }

    fn remove(&mut self, key: Digest) {
        if let Some(entry) = self.entries.remove(&key) {
            self.ages.remove(&entry.age);
            self.answer_bytes -= entry.state.bytes();
        }
    }

    fn set(&mut self, key: Digest, state: KeyState) {
        // A key that made room for others is not remembered again.
        let Some(entry) = self.entries.get_mut(&key) else { return };
        self.answer_bytes += state.bytes();
        self.answer_bytes -= entry.state.bytes();
        entry.state = state;
        self.make_room();
    }

    /// A call that is under way keeps its place: there are never more of them than requests at once.
    fn make_room(&mut self) {
        while self.entries.len() > KEYS_MAX || self.answer_bytes > ANSWER_BYTES_MAX {
            let is_over = |key: &&Digest| {
                self.entries.get(*key).is_some_and(|entry| !matches!(entry.state, KeyState::UnderWay(_)))
            };
            let Some(oldest) = self.ages.values().find(is_over).copied() else { return };
            self.remove(oldest);
        }
    }
}

impl KeyState {
    fn bytes(&self) -> usize {
        match self {
            Self::Over(SavedEnding::Answered(saved)) => saved.bytes(),
            Self::Over(SavedEnding::Lost | SavedEnding::Nothing) | Self::UnderWay(_) | Self::Open(..) => 0,
        }
    }
}

impl FirstCall {
    /// The cid an earlier try went with.
    pub fn cid(&self) -> Option<&Cid> {
        self.cid.as_ref()
    }

    /// The call carries a cid, of ours or of its own, by which the vendor knows it again.
    pub fn goes_with(&mut self, ours: Option<Cid>) {
        self.has_cid = true;
        self.cid = ours;
    }

    /// From here on the vendor may have it.
    pub fn sent(&mut self) {
        self.stage = ClaimStage::Sent;
    }

    /// The call is over; `saved` is its answer, unless that was too long to be kept.
    pub fn end(mut self, delivery: Delivery, saved: Option<Arc<Saved>>) {
        let answered = saved.map_or(SavedEnding::Lost, SavedEnding::Answered);
        // A long answer is had again from the vendor where a cid lets us ask.
        let is_kept = delivery == Delivery::Final && matches!(answered, SavedEnding::Answered(_));
        let state = match delivery {
            Delivery::None if self.open_since.is_none() => None,
            _ if self.has_cid && !is_kept => {
                Some(KeyState::Open(self.cid.take(), self.open_since.unwrap_or_else(Instant::now)))
            }
            Delivery::None | Delivery::Unknown(_) | Delivery::Final => Some(KeyState::Over(answered.clone())),
        };
        self.close(state, answered);
    }

    fn close(&mut self, state: Option<KeyState>, ending: SavedEnding) {
        self.stage = ClaimStage::Over;
        {
            let mut callers = lock(&self.keys);
            let known = callers.entry(self.caller).or_default();
            match state {
                Some(state) => known.set(self.key, state),
                None => known.remove(self.key),
            }
        }
        self.teller.tell(ending);
    }
}

impl Drop for FirstCall {
    fn drop(&mut self) {
        match self.stage {
            ClaimStage::Over => {}
            ClaimStage::Waiting if self.open_since.is_none() => self.close(None, SavedEnding::Nothing),
            ClaimStage::Waiting | ClaimStage::Sent if self.has_cid => {
                let cid = self.cid.take();
                let since = self.open_since.unwrap_or_else(Instant::now);
                self.close(Some(KeyState::Open(cid, since)), SavedEnding::Nothing);
            }
            ClaimStage::Waiting | ClaimStage::Sent => {
                self.close(Some(KeyState::Over(SavedEnding::Lost)), SavedEnding::Lost);
            }
        }
    }
}
