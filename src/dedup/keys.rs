//! Calls with an `Idempotency-Key`: the first one is made, and later ones with the same key get its answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::saved::{EndingSender, watched};
use super::{Digest, Saved, SavedEnding, Watch};
use crate::body::Cid;
use crate::budget::CallerNumber;
use crate::delivery::Delivery;
use crate::lock::lock;

/// Keys remembered for each caller; beyond it the oldest is dropped.
pub(super) const KEYS_MAX: usize = 10_000;
/// Bytes of answers kept for each caller; beyond them the oldest answer is dropped together with its key.
pub(super) const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The time for which a call that may have been delivered can be repeated. The vendor remembers a cid for a day
/// (`docs/vendor.md`, V24), of which the pool may have used half, and the call itself a little.
pub const OPEN_MAX: Duration = Duration::from_hours(11);

/// The keys of all callers.
#[derive(Default)]
pub struct Keys(Arc<Mutex<HashMap<CallerNumber, CallerKeys>>>);

/// The result of looking up the key of a call.
pub enum Claim {
    /// The call is to be made: it is the first one, the calls before it had no effect, or its cid makes a repeat safe.
    First(FirstCall),
    /// The first call is under way; its answer can be waited for.
    Wait(Watch),
    /// The first call is over; this is its answer.
    Repeat(SavedEnding),
    /// The key was used for a different call.
    Conflict,
}

#[derive(Default)]
struct CallerKeys {
    entries: HashMap<Digest, KeyEntry>,
    /// Keys by age, oldest first.
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
    /// The call may have been delivered, at this time at the earliest. It can be made again with the same cid: with this
    /// one, or with the one in its own body.
    Open(Option<Cid>, Instant),
}

/// The claim to make the first call under a key. If it is dropped without [`Self::end`], the key is forgotten, unless
/// the call or an earlier attempt under the key was dispatched.
pub struct FirstCall {
    keys: Arc<Mutex<HashMap<CallerNumber, CallerKeys>>>,
    caller: CallerNumber,
    key: Digest,
    sender: EndingSender,
    cid: Option<Cid>,
    /// Whether the vendor recognizes the call by a cid, added by the gateway or its own, so that it can be repeated.
    has_cid: bool,
    /// The time since which an earlier attempt under this key may have been delivered.
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
    /// Looks up a caller's key for a call, which is identified by a digest of all of it.
    pub fn claim(&self, caller: CallerNumber, key: Digest, call: Digest) -> Claim {
        let mut callers = lock(&self.0);
        let known = callers.entry(caller).or_default();
        let (sender, watch) = watched();
        let first_call = |cid, open_since: Option<Instant>| {
            let keys = Arc::clone(&self.0);
            FirstCall {
                keys,
                caller,
                key,
                sender,
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
            // After this time the vendor may have forgotten the cid, and a repeat could be a second push.
            KeyState::Open(_, since) if since.elapsed() > OPEN_MAX => Claim::Repeat(SavedEnding::Lost),
            KeyState::Open(cid, since) => {
                let (cid, since) = (cid.take(), *since);
                // Only one call at a time may repeat it; others with the same key wait for this one.
                entry.state = KeyState::UnderWay(watch);
                Claim::First(first_call(cid, Some(since)))
            }
        }
    }
}

impl Keys {
    /// The callers of which a key is remembered.
    pub fn callers(&self) -> Vec<CallerNumber> {
        let mut callers = lock(&self.0);
        callers.retain(|_, known| !known.entries.is_empty());
        callers.keys().copied().collect()
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
        // A key that was dropped to make room is not added again.
        let Some(entry) = self.entries.get_mut(&key) else { return };
        self.answer_bytes += state.bytes();
        self.answer_bytes -= entry.state.bytes();
        entry.state = state;
        self.make_room();
    }

    /// A call that is under way keeps its key. There are never more of them than requests at once.
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

/// What is remembered of a call that ended.
pub enum Kept {
    /// Nothing: it had no effect.
    Nothing,
    /// It can be sent again with its cid.
    Open,
    /// Its answer.
    Answered(Arc<Saved>),
    /// That its answer is lost.
    Lost,
}

impl FirstCall {
    /// The cid with which the call goes: empty for its own, `None` if the vendor would not recognize a repeat.
    pub fn known_by(&self) -> Option<&str> {
        self.has_cid.then(|| self.cid.as_ref().map_or("", Cid::as_str))
    }

    /// Takes over a call that another process may have sent, at this time, with this cid, or with its own.
    pub fn take_over(&mut self, cid: Option<Cid>, since: Instant) {
        (self.cid, self.has_cid, self.open_since) = (cid, true, Some(since));
    }

    /// The cid of an earlier attempt.
    pub fn cid(&self) -> Option<&Cid> {
        self.cid.as_ref()
    }

    /// Records that the call carries a cid: `ours` if the gateway added it, `None` if it is the caller's own.
    pub fn goes_with(&mut self, ours: Option<Cid>) {
        self.has_cid = true;
        self.cid = ours;
    }

    /// Records that the call was dispatched: from here on the vendor may have it.
    pub fn sent(&mut self) {
        self.stage = ClaimStage::Sent;
    }

    /// Ends the call; `saved` is its answer, unless that was too long to be kept.
    pub fn end(mut self, delivery: Delivery, saved: Option<Arc<Saved>>) -> Kept {
        let answered = saved.map_or(SavedEnding::Lost, SavedEnding::Answered);
        // A long answer is not kept; with a cid the call can be repeated and the vendor answers again.
        let is_kept = delivery == Delivery::Final && matches!(answered, SavedEnding::Answered(_));
        let state = match delivery {
            // No attempt under this key had an effect: the key is free again.
            Delivery::None if self.open_since.is_none() => None,
            // The vendor recognizes the call by its cid, so a repeat is safe and finds out what became of it. The time
            // of the first attempt counts: the vendor forgets a cid after a day.
            _ if self.has_cid && !is_kept => {
                Some(KeyState::Open(self.cid.take(), self.open_since.unwrap_or_else(Instant::now)))
            }
            Delivery::None | Delivery::Unknown(_) | Delivery::Final => Some(KeyState::Over(answered.clone())),
        };
        let kept = match &state {
            None => Kept::Nothing,
            Some(KeyState::Open(..) | KeyState::UnderWay(_)) => Kept::Open,
            Some(KeyState::Over(SavedEnding::Answered(saved))) => Kept::Answered(Arc::clone(saved)),
            Some(KeyState::Over(SavedEnding::Lost | SavedEnding::Nothing)) => Kept::Lost,
        };
        self.close(state, answered);
        kept
    }

    /// Ends the call as another process ended it.
    pub fn ended_elsewhere(mut self, ending: SavedEnding) {
        self.close(Some(KeyState::Over(ending.clone())), ending);
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
        self.sender.send(ending);
    }
}

impl Drop for FirstCall {
    fn drop(&mut self) {
        match self.stage {
            ClaimStage::Over => {}
            // Nothing was ever sent: the key is free again.
            ClaimStage::Waiting if self.open_since.is_none() => self.close(None, SavedEnding::Nothing),
            // It may have been delivered, and its cid makes a repeat safe.
            ClaimStage::Waiting | ClaimStage::Sent if self.has_cid => {
                let cid = self.cid.take();
                let since = self.open_since.unwrap_or_else(Instant::now);
                self.close(Some(KeyState::Open(cid, since)), SavedEnding::Nothing);
            }
            // It may have been delivered and must not be repeated: later calls are told that its answer is lost.
            ClaimStage::Waiting | ClaimStage::Sent => {
                self.close(Some(KeyState::Over(SavedEnding::Lost)), SavedEnding::Lost);
            }
        }
    }
}
