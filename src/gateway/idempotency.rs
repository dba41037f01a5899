//! Keeps pushes from being sent twice: recognizes repeats before they are paid for, and saves answers for them.
//!
//! The decisions are in [`crate::dedup`]; this module applies them to requests.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use tokio::time::{sleep, timeout_at};

use super::trace::waited;
use super::{Ask, Stop, Worker};

use crate::answer::Reply;
use crate::body::Cid;
use crate::dedup::{Claim, Digest, Fingerprint, FirstCall, Kept, OPEN_MAX, Saved, SavedEnding, Watch};
use crate::delivery::Delivery;
use crate::http1::response::Response;
use crate::ledger::FileClaim;
use crate::outbound;
use crate::payload::Payload;
use crate::payment::Payment;
use crate::refusal::Refusal;
use crate::request::{Field, RequestHead};
use crate::store::{BreakableCall, BrokenCall, SharedClaim, Store};
use crate::stored_call::{ClaimEnd, StoredCall};
use crate::telemetry::metrics::ReplayedBy;
use crate::telemetry::spans::WaitFor;
use crate::tenant::Grant;

/// The longest `Idempotency-Key`, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// How much longer than a call can last its claim counts at other replicas.
const CLAIM_GRACE: Duration = Duration::from_secs(10);
/// The first and the longest pause between two looks whether another replica's call has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(400);

/// The means by which a repeat of a call is recognized.
pub(super) enum DedupKey {
    /// None is needed: the call sends no push, or the vendor recognizes it by its cid.
    None,
    /// The `Idempotency-Key` of its caller, and the claim where the key outlives this process.
    Key(FirstCall, Option<LastingClaim>),
    /// The body as its caller sent it, once the connection breaks; the same for other replicas, if they share a store.
    Body(Fingerprint, Option<Arc<BreakableCall>>),
}

/// The claim of a call where its key outlives this process.
pub(super) enum LastingClaim {
    /// The store, for all replicas.
    Store(SharedClaim),
    /// The file beside the state file, for the next process.
    File(FileClaim),
}

impl LastingClaim {
    fn sent(&mut self, cid: Option<&str>) {
        match self {
            Self::Store(claim) => claim.sent(cid),
            Self::File(claim) => claim.sent(cid),
        }
    }

    fn end(self, end: ClaimEnd) {
        match self {
            Self::Store(claim) => claim.end(end),
            Self::File(claim) => claim.end(end),
        }
    }
}

impl DedupKey {
    pub(super) fn first_call(&mut self) -> Option<&mut FirstCall> {
        match self {
            Self::Key(first_call, _) => Some(first_call),
            Self::None | Self::Body(..) => None,
        }
    }

    /// The call as other replicas know it, should its connection break.
    pub(super) fn at_others(&self) -> Option<&Arc<BreakableCall>> {
        match self {
            Self::Body(_, call) => call.as_ref(),
            Self::None | Self::Key(..) => None,
        }
    }

    /// Whether the caller sent a key, and so expects that the call can be repeated.
    pub(super) fn is_key(&self) -> bool {
        matches!(self, Self::Key(..))
    }

    /// Whether its caller sent a key that this process alone knows of.
    pub(super) fn is_of_this_replica(&self) -> bool {
        matches!(self, Self::Key(_, None))
    }

    /// Records that the call is about to be dispatched.
    pub(super) fn sent(&mut self) {
        if let Self::Key(first_call, claim) = self {
            first_call.sent();
            if let Some(claim) = claim {
                claim.sent(first_call.known_by());
            }
        }
    }

    /// Records the end of the call.
    pub(super) fn end(self, delivery: Delivery, answer: &Response<Reply>) {
        let Self::Key(first_call, claim) = self else { return };
        let kept = first_call.end(delivery, saved(answer));
        if let Some(claim) = claim {
            claim.end(match kept {
                Kept::Nothing => ClaimEnd::Nothing,
                Kept::Open => ClaimEnd::Open,
                Kept::Answered(saved) => ClaimEnd::answered(saved.to_bytes()),
                Kept::Lost => ClaimEnd::Lost,
            });
        }
    }
}

impl Worker {
    /// Stops with the saved answer if a call was made before, after waiting for it if that call is under way. Otherwise
    /// returns the means by which a repeat will be recognized.
    pub(super) async fn seen_before(&self, ask: &Ask<'_>, head: &RequestHead) -> Result<DedupKey, Stop> {
        let Ask { grant, payload, .. } = ask;
        let operation = grant.operation();
        if !operation.sends() {
            return Ok(DedupKey::None);
        }
        if let Some(key) = idempotency_key(head)? {
            // Boxed, because few calls need it.
            return Box::pin(self.under_key(key, ask)).await;
        }
        let known_by_cid = operation.knows_cid() && payload.facts().has_cid;
        if known_by_cid || grant.tenant().repeats.resend_guard.is_zero() {
            return Ok(DedupKey::None);
        }
        let guard = &self.active.repeat_protection.guard;
        let call = guard.fingerprint(&parts_of(grant, payload));
        if !guard.is_empty()
            && let Some(first) = guard.find(grant.caller().number, &call, Instant::now())
        {
            Box::pin(self.resent_here(ask, call, first)).await?;
        }
        Ok(DedupKey::Body(call, self.shared.store.as_ref().map(|store| breakable(store, ask))))
    }

    async fn under_key(&self, key: Digest, ask: &Ask<'_>) -> Result<DedupKey, Stop> {
        let Ask { grant, payload, presence, deadlines, span } = ask;
        let call = Digest::of(&parts_of(grant, payload));
        loop {
            let ending = match self.active.repeat_protection.keys.claim(grant.caller().number, key, call) {
                // The tenant has another application by now, where the vendor would not recognize the cid.
                Claim::First(first_call)
                    if first_call.cid().is_some_and(|cid| !cid.is_of(grant.app_key())) =>
                {
                    return Err(Refusal::VendorInterrupted.into());
                }
                // A caller that waited and may be gone is not served later.
                Claim::First(first_call) if deadlines.leave_time_for_dispatch() && !presence.is_doubted() => {
                    match self.claimed_for_all(first_call, (key, call), ask).await? {
                        Ok(claimed) => return Ok(claimed),
                        Err(ending) => ending,
                    }
                }
                Claim::First(_) => {
                    let what = "time to wait for the call before with this key";
                    return Err(Refusal::Overloaded { what }.into());
                }
                Claim::Conflict => return Err(Refusal::IdempotencyConflict.into()),
                Claim::Repeat(ending) => ending,
                Claim::Wait(mut first) => {
                    let span = span.and_then(|span| span.wait(WaitFor::FirstCall));
                    let ended = timeout_at(deadlines.call.into(), first.ended()).await;
                    waited(span, ended.map_err(|_| Refusal::VendorTimeout), Refusal::reason)?
                }
            };
            self.replay(grant, ending, ReplayedBy::IdempotencyKey)?;
        }
    }

    /// Claims a call where its key outlives this process, after waiting for another replica that makes it; `Err` if the
    /// call has ended. Without such a place, the key counts in this process alone.
    async fn claimed_for_all(
        &self,
        mut first_call: FirstCall,
        (key, call): (Digest, Digest),
        ask: &Ask<'_>,
    ) -> Result<Result<DedupKey, SavedEnding>, Stop> {
        let Ask { grant, deadlines, .. } = ask;
        let (store, ledger) = (&self.shared.store, &self.shared.ledger);
        if let (None, Some(ledger)) = (store, ledger)
            && !ledger.is_owned()
        {
            self.wait_for_ledger(ledger, ask).await?;
        }
        let key = Digest::of(&[grant.caller().name.as_bytes(), key.hex().as_bytes()]).hex();
        let (call, longest) = (call.hex(), deadlines.whole + CLAIM_GRACE);
        let mut pause = LOOK_AGAIN;
        let ending = loop {
            let known = match (store, ledger) {
                (Some(store), _) => store.claim(&key, &call, longest).await.map(LastingClaim::Store),
                (None, Some(ledger)) => ledger.keys().claim(&key, &call).map(LastingClaim::File),
                (None, None) => StoredCall::Away,
            };
            match known {
                // Dropped, the claim is given up, so that the next who asks can make the call.
                StoredCall::First(_) | StoredCall::Open(..) if !deadlines.leave_time_for_dispatch() => {
                    let what = "time to wait for the call before with this key";
                    return Err(Refusal::Overloaded { what }.into());
                }
                StoredCall::First(claim) => return Ok(Ok(DedupKey::Key(first_call, Some(claim)))),
                StoredCall::Away => return Ok(Ok(DedupKey::Key(first_call, None))),
                StoredCall::Conflict => return Err(Refusal::IdempotencyConflict.into()),
                StoredCall::Open(claim, _, ago) if ago > OPEN_MAX => {
                    claim.end(ClaimEnd::Lost);
                    break SavedEnding::Lost;
                }
                StoredCall::Open(claim, cid, ago) => {
                    let since = Instant::now().checked_sub(ago).unwrap_or_else(Instant::now);
                    match Cid::parse(&cid, grant.app_key()) {
                        None if !cid.is_empty() => {
                            claim.end(ClaimEnd::Lost);
                            break SavedEnding::Lost;
                        }
                        ours => first_call.take_over(ours, since),
                    }
                    return Ok(Ok(DedupKey::Key(first_call, Some(claim))));
                }
                StoredCall::Answered(bytes) => {
                    break Saved::from_bytes(&bytes).map_or(SavedEnding::Lost, SavedEnding::Answered);
                }
                StoredCall::Lost => break SavedEnding::Lost,
                StoredCall::Wait if Instant::now() + pause < deadlines.call => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LOOK_AGAIN_MAX);
                }
                StoredCall::Wait => return Err(Refusal::VendorTimeout.into()),
            }
        };
        first_call.ended_elsewhere(ending.clone());
        Ok(Err(ending))
    }

    /// Waits for the answer of a call at this replica whose connection broke a moment ago.
    async fn resent_here(&self, ask: &Ask<'_>, call: Fingerprint, mut first: Watch) -> Result<(), Stop> {
        let (caller, window) = (ask.grant.caller().number, ask.grant.tenant().repeats.resend_guard);
        let guard = &self.active.repeat_protection.guard;
        self.resent(ask, first.ended(), || guard.broke_again(caller, &call, Instant::now(), window)).await
    }

    /// Pays for a call, unless it repeats one at another replica whose connection broke a moment ago.
    pub(super) async fn pay_unless_resent(
        &self,
        ask: &Ask<'_>,
        wait: Duration,
        call: &Arc<BreakableCall>,
    ) -> Result<Payment, Stop> {
        // Whether it can be paid does not matter if it is a repeat: what it repeats may have been delivered.
        let found = match select(pin!(call.find()), pin!(self.pay_in_time(ask, wait))).await {
            Either::Left((None, paid)) => return Ok(paid.await?),
            Either::Left((Some(found), _)) => found,
            Either::Right((paid, find)) => match find.await {
                None => return Ok(paid?),
                Some(found) => found,
            },
        };
        self.resent(ask, end_elsewhere(call, found), || call.broke_again()).await?;
        Ok(self.pay_in_time(ask, wait).await?)
    }

    /// Waits for the end of a call whose connection broke a moment ago, of which this is a repetition. `broke_again` is
    /// called if the connection of this one breaks as well.
    async fn resent(
        &self,
        ask: &Ask<'_>,
        ended: impl Future<Output = SavedEnding>,
        broke_again: impl Fn(),
    ) -> Result<(), Stop> {
        let Ask { grant, presence, deadlines, span, .. } = ask;
        let mut waits = WaitsAgain { broke_again, is_over: false };
        let span = span.and_then(|span| span.wait(WaitFor::FirstCall));
        let mut ended = pin!(timeout_at(deadlines.call.into(), ended));
        let ended = tokio::select! {
            biased;
            ended = &mut ended => ended,
            () = presence.doubted() => {
                (waits.broke_again)();
                ended.await
            }
        };
        waits.is_over = true;
        let ending = waited(span, ended.map_err(|_| Refusal::VendorTimeout), Refusal::reason)?;
        self.replay(grant, ending, ReplayedBy::ResendGuard)?;
        // The first call failed, so this one may be made, if its caller still waits and time is left.
        let lacks = if presence.is_doubted() {
            // Another repeat may be waiting too, and its caller is surely there.
            "connections that stay open while a call waits"
        } else if !deadlines.leave_time_for_dispatch() {
            "time to wait for the same call before this one"
        } else {
            return Ok(());
        };
        Err(Refusal::Overloaded { what: lacks }.into())
    }

    /// Stops with the answer of the call that this one repeats, if there is one.
    fn replay(&self, grant: &Grant, ending: SavedEnding, by: ReplayedBy) -> Result<(), Stop> {
        let stop = match ending {
            SavedEnding::Nothing => return Ok(()),
            SavedEnding::Answered(saved) => Stop::Repeat(saved.answer()),
            SavedEnding::Lost => Refusal::VendorInterrupted.into(),
        };
        self.telemetry.metrics.replay(grant.operation(), by);
        Err(stop)
    }
}

/// A repeated call that waits for the first. If it is dropped before its end, its connection broke as well.
struct WaitsAgain<F: Fn()> {
    broke_again: F,
    is_over: bool,
}

impl<F: Fn()> Drop for WaitsAgain<F> {
    fn drop(&mut self) {
        if !self.is_over {
            (self.broke_again)();
        }
    }
}

/// The call as other replicas know it, should its connection break.
fn breakable(store: &Arc<Store>, Ask { grant, payload, deadlines, .. }: &Ask<'_>) -> Arc<BreakableCall> {
    let [operation, tenant, body] = parts_of(grant, payload);
    let digest = Digest::of(&[grant.caller().name.as_bytes(), operation, tenant, body]).hex();
    let window = grant.tenant().repeats.resend_guard;
    Arc::new(BreakableCall::new(store, &digest, window, deadlines.whole + CLAIM_GRACE))
}

/// Waits for the end of a call at another replica.
async fn end_elsewhere(call: &BreakableCall, mut found: BrokenCall) -> SavedEnding {
    let mut pause = LOOK_AGAIN;
    loop {
        match found {
            BrokenCall::Answered(bytes) => {
                return Saved::from_bytes(&bytes).map_or(SavedEnding::Lost, SavedEnding::Answered);
            }
            BrokenCall::Lost => return SavedEnding::Lost,
            BrokenCall::UnderWay => {
                sleep(pause).await;
                pause = (pause * 2).min(LOOK_AGAIN_MAX);
                let Some(again) = call.look_again().await else { return SavedEnding::Nothing };
                found = again;
            }
        }
    }
}

pub(super) fn saved(answer: &Response<Reply>) -> Option<Arc<Saved>> {
    let Reply::Whole(body) = &answer.body else { return None };
    Some(Saved::new(answer.status, outbound::lasting_fields(&answer.fields), body))
}

/// The parts that distinguish the calls of one caller.
fn parts_of<'c>(grant: &'c Grant, payload: &'c Payload) -> [&'c [u8]; 3] {
    [grant.operation().name.as_bytes(), grant.tenant().name.as_bytes(), payload.body()]
}

/// The digest of the `Idempotency-Key`, which must be 1 to 255 visible ASCII characters, sent once.
fn idempotency_key(head: &RequestHead) -> Result<Option<Digest>, Refusal> {
    let fits = |key: &[u8]| matches!(key.len(), 1..=KEY_BYTES_MAX) && key.iter().all(u8::is_ascii_graphic);
    match head.one(Field::IdempotencyKey) {
        Ok(None) => Ok(None),
        Ok(Some(key)) if fits(&key) => Ok(Some(Digest::of(&[&key]))),
        _ => {
            let what = "the header Idempotency-Key must be sent once, with 1 to 255 visible ASCII characters";
            Err(Refusal::BadRequest(what.into()))
        }
    }
}
