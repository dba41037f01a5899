//! Never twice: what a push is asked before it is paid for, the cid it gets, and what is kept of its answer.
//!
//! The decisions are in [`crate::dedup`]; here they meet the request.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::timeout_at;

use super::attempts::{Attempts, Exchanged, Witness, time_for_another};
use super::replies::fresh_request_id;
use super::{Admitted, Worker, add_fields};

use crate::answer::Reply;
use crate::body::Cid;
use crate::config::CidPolicy;
use crate::dedup::{
    Claim, Delivery, Digest, Fetch, Fingerprint, FirstCall, Recall, Saved, SavedEnding, Watch,
};
use crate::outbound::{self, Inbound, VendorRequest};
use crate::payload::Payload;
use crate::refusal::Refusal;
use crate::request::{Field, RequestHead};
use crate::response::Response;
use crate::target::Target;
use crate::telemetry::metrics::{Labels, Metrics, NONE, ReplayedBy};
use crate::telemetry::{Record, VendorNote};
use crate::tenant::{CredentialKind, Grant};
use crate::upstream::Deadlines;
use crate::waiting;

/// What it means to have no cid.
const WITHOUT_CID: &str = "pushes go without, and are not sent again";
/// How long a push that has its slot waits for a cid, at most; longer if its caller waits longer for a budget.
const CID_WAIT_MAX: Duration = Duration::from_secs(2);
/// Longest key of a caller's, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// Whether a call was made before.
pub(super) enum Seen {
    /// It was not.
    First(DedupKey),
    /// It was, and this was its answer.
    Repeat(Response<Bytes>),
}

/// How a call that may come again will be known.
pub(super) enum DedupKey {
    /// By nothing: it sends no push, or the vendor knows its cid.
    None,
    /// By its caller's key.
    Key(FirstCall),
    /// By its body, as its caller sent it, if the connection breaks.
    Body(Fingerprint),
}

impl DedupKey {
    fn first_call(&mut self) -> Option<&mut FirstCall> {
        match self {
            Self::Key(first_call) => Some(first_call),
            Self::None | Self::Body(_) => None,
        }
    }

    /// Whether its caller gave it a key, and expects that it can be sent again.
    pub(super) fn is_key(&self) -> bool {
        matches!(self, Self::Key(_))
    }

    /// The call is about to be dispatched.
    pub(super) fn sent(&mut self) {
        if let Some(first_call) = self.first_call() {
            first_call.sent();
        }
    }

    /// The call is over.
    pub(super) fn end(self, delivery: Delivery, answer: &Response<Reply>) {
        if let Self::Key(first_call) = self {
            first_call.end(delivery, saved(answer));
        }
    }
}

impl Worker {
    /// Finds out whether a call was made before, waiting for its answer if it is under way.
    pub(super) async fn before(
        &self,
        admitted: &Admitted<'_>,
        head: &RequestHead,
        payload: &Payload,
        deadlines: &mut Deadlines,
    ) -> Result<Seen, Refusal> {
        let grant = &admitted.grant;
        let operation = grant.operation();
        if !operation.sends() {
            return Ok(Seen::First(DedupKey::None));
        }
        if let Some(key) = idempotency_key(head)? {
            // Boxed, like all that few calls need.
            return Box::pin(self.under_key(key, admitted, payload, deadlines)).await;
        }
        let known_by_cid = operation.knows_cid() && payload.facts().has_cid;
        if known_by_cid || grant.tenant().repeats.resend_guard.is_zero() {
            return Ok(Seen::First(DedupKey::None));
        }
        let guard = &self.active.recall.guard;
        let call = guard.fingerprint(&parts_of(grant, payload));
        if !guard.is_empty()
            && let Some(first) = guard.find(grant.caller().number, &call, Instant::now())
        {
            if let Some(answer) = Box::pin(self.resent(admitted, call, first, deadlines)).await? {
                return Ok(Seen::Repeat(answer));
            }
            if !time_for_another(deadlines) {
                return Err(Refusal::Overloaded { what: "time to wait for the same call before this one" });
            }
        }
        Ok(Seen::First(DedupKey::Body(call)))
    }

    async fn under_key(
        &self,
        key: Digest,
        admitted: &Admitted<'_>,
        payload: &Payload,
        deadlines: &mut Deadlines,
    ) -> Result<Seen, Refusal> {
        let Admitted { grant, presence, .. } = admitted;
        let call = Digest::of(&parts_of(grant, payload));
        loop {
            let ending = match self.active.recall.keys.claim(grant.caller().number, key, call) {
                // The tenant has another application since: its vendor would not know the first push by that cid.
                Claim::First(first_call)
                    if first_call.cid().is_some_and(|cid| !cid.is_of(grant.app_key())) =>
                {
                    return Err(Refusal::VendorInterrupted);
                }
                // Who waited and may be gone is not served later.
                Claim::First(first_call) if time_for_another(deadlines) && !presence.is_doubted() => {
                    return Ok(Seen::First(DedupKey::Key(first_call)));
                }
                Claim::First(_) => {
                    return Err(Refusal::Overloaded {
                        what: "time to wait for the call before with this key",
                    });
                }
                Claim::Conflict => return Err(Refusal::IdempotencyConflict),
                Claim::Repeat(ending) => ending,
                Claim::Wait(mut first) => {
                    let ended = timeout_at(deadlines.call.into(), first.ended()).await;
                    deadlines.start = Instant::now();
                    ended.map_err(|_| Refusal::VendorTimeout)?
                }
            };
            if let Some(answer) = self.replay(grant, ending, ReplayedBy::IdempotencyKey)? {
                return Ok(Seen::Repeat(answer));
            }
        }
    }

    /// The answer of a call whose connection broke a moment ago, if this is the same one again.
    async fn resent(
        &self,
        admitted: &Admitted<'_>,
        call: Fingerprint,
        mut first: Watch,
        deadlines: &mut Deadlines,
    ) -> Result<Option<Response<Bytes>>, Refusal> {
        let Admitted { grant, presence, .. } = admitted;
        let caller = grant.caller().number;
        let window = grant.tenant().repeats.resend_guard;
        let mut waits = WaitsAgain { recall: &self.active.recall, caller, call, window, is_over: false };
        let mut ended = pin!(timeout_at(deadlines.call.into(), first.ended()));
        let ended = tokio::select! {
            biased;
            ended = &mut ended => ended,
            () = presence.doubted() => {
                waits.broke_again();
                ended.await
            }
        };
        (waits.is_over, deadlines.start) = (true, Instant::now());
        let ending = ended.map_err(|_| Refusal::VendorTimeout)?;
        let answer = self.replay(grant, ending, ReplayedBy::ResendGuard)?;
        if answer.is_none() && presence.is_doubted() {
            // Another one may wait as this did, and that one is surely waited for.
            return Err(Refusal::Overloaded { what: "connections that stay open while a call waits" });
        }
        Ok(answer)
    }

    fn replay(
        &self,
        grant: &Grant,
        ending: SavedEnding,
        by: ReplayedBy,
    ) -> Result<Option<Response<Bytes>>, Refusal> {
        if !matches!(ending, SavedEnding::Nothing) {
            self.telemetry.metrics.replay(grant.operation(), by);
        }
        match ending {
            SavedEnding::Answered(saved) => Ok(Some(saved.answer())),
            SavedEnding::Lost => Err(Refusal::VendorInterrupted),
            SavedEnding::Nothing => Ok(None),
        }
    }

    /// Gives the first answer again.
    pub(super) fn repeat(
        &self,
        answer: Response<Bytes>,
        grant: &Grant,
        mut record: Box<Record>,
    ) -> Response<Reply> {
        let mut answer = answer.map(Reply::Whole);
        let budget = grant.credential().budget(grant.operation().budget);
        let budget_status = budget.map(|budget| budget.status(self.clock.now()));
        add_fields(&mut answer.fields, budget_status, &record);
        let bytes = if let Reply::Whole(body) = &answer.body { body.len() } else { 0 };
        record.answered(answer.status.as_u16(), bytes);
        answer
    }

    /// Writes a cid into a push that is to have one. None to be had: it goes without, and never again.
    pub(super) async fn with_cid(
        self: &Arc<Self>,
        grant: &Grant,
        payload: Payload,
        mark: &mut DedupKey,
        deadlines: &mut Deadlines,
    ) -> Payload {
        let (facts, repeats) = (*payload.facts(), &grant.tenant().repeats);
        let wanted = mark.first_call().is_some() || (repeats.cid == CidPolicy::Inject && !facts.encrypted);
        if !grant.operation().knows_cid() || !wanted {
            return payload;
        }
        if let Some(first_call) = mark.first_call().filter(|_| facts.has_cid) {
            first_call.goes_with(None);
        }
        if facts.names_cid {
            return payload;
        }
        let cid = match mark.first_call().and_then(|first_call| first_call.cid().cloned()) {
            _ if facts.encrypted => None,
            Some(cid) => Some(cid),
            None => Box::pin(self.take_cid(grant, deadlines)).await,
        };
        let Some(cid) = cid else {
            self.telemetry.metrics.push_without_cid(grant.tenant().name.as_str());
            return payload;
        };
        let payload = payload.with_cid(&cid);
        if let Some(first_call) = mark.first_call() {
            first_call.goes_with(Some(cid));
        }
        payload
    }

    async fn take_cid(self: &Arc<Self>, grant: &Grant, deadlines: &mut Deadlines) -> Option<Cid> {
        let key = &grant.tenant().credential(CredentialKind::App)?.key;
        let (pool, batch) = (self.active.recall.pools.of(key), grant.tenant().repeats.cid_batch);
        // Waiting leaves the time that a dispatch needs.
        let until = waiting::until(CID_WAIT_MAX.max(grant.caller().wait), deadlines);
        loop {
            let taken = pool.take(Instant::now(), batch);
            if let Some(fetch) = taken.fetch {
                // On its own: it is paid for, and serves more pushes than this one.
                tokio::spawn(Arc::clone(self).fetch_cids(grant.clone(), fetch));
            }
            if taken.cid.is_some() {
                return taken.cid;
            }
            let waited = timeout_at(until.into(), taken.wait?.ended()).await;
            deadlines.start = Instant::now();
            if waited.is_err() {
                return None;
            }
        }
    }

    /// Fetches cids as any call is made: paid for, in time, and counted.
    async fn fetch_cids(self: Arc<Self>, grant: Grant, fetch: Fetch) {
        let Some(grant) = grant.for_cids() else { return };
        let deadlines = self.active.deadlines(Instant::now());
        let tenant = grant.tenant().name.as_str();
        let Ok(payment) = self.pay_first(&grant, &deadlines).await else {
            return tracing::warn!(tenant, "no budget for fetching cids: {WITHOUT_CID}");
        };
        let target = format!("{}?count={}&type=push", grant.operation().path, fetch.count);
        let id = fresh_request_id();
        let target = Target::parse(&target);
        let path = target.judge().expect("a path of the table, a number and a word");
        let inbound = Inbound { head: None, target: &target, path: &path, request_id: &id };
        let host = self.active.host(&grant);
        let request = VendorRequest::build(&grant, &inbound, host, self.active.trace, Payload::none());
        let (facts, origin) = (*request.facts(), grant.origin());
        let attempts = Attempts { grant: &grant, facts, origin, deadlines };
        let mut witness = CidFetch { id: &id, grant: &grant, metrics: &self.telemetry.metrics };
        let cids = match self.exchange(attempts, request.message(), payment, &mut witness).await {
            Ok(Exchanged { answer, .. }) => {
                answer.body.whole().map_or_else(Vec::new, |body| Cid::read_list(body, grant.app_key()))
            }
            Err(_) => Vec::new(),
        };
        if cids.is_empty() {
            tracing::warn!(tenant, "no cids were to be had: {WITHOUT_CID}");
        }
        fetch.bring(cids, Instant::now());
    }
}

/// A fetch of cids, which has no request of a caller's.
struct CidFetch<'f> {
    id: &'f HeaderValue,
    grant: &'f Grant,
    metrics: &'f Metrics,
}

impl Witness for CidFetch<'_> {
    fn request_id(&self) -> &HeaderValue {
        self.id
    }

    fn attempt(&mut self) {}

    fn answered(&mut self, note: VendorNote) {
        let tenant = self.grant.tenant().name.as_str();
        let labels = Labels { operation: Some(self.grant.operation()), tenant, caller: NONE };
        self.metrics.vendor_answer(None, labels, note.status, note.code, note.took);
    }
}

/// One that came again and waits. Dropped before the end, its connection broke as well.
struct WaitsAgain<'w> {
    recall: &'w Recall,
    caller: u16,
    call: Fingerprint,
    window: Duration,
    is_over: bool,
}

impl WaitsAgain<'_> {
    fn broke_again(&self) {
        self.recall.guard.broke_again(self.caller, &self.call, Instant::now(), self.window);
    }
}

impl Drop for WaitsAgain<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.broke_again();
        }
    }
}

/// What an outcome without an answer of the vendor's says about the call.
pub(super) fn delivery_of(refusal: &Refusal) -> Delivery {
    match refusal {
        Refusal::VendorTimeout
        | Refusal::VendorInterrupted
        | Refusal::VendorErrorPage { .. }
        | Refusal::Internal => Delivery::Unknown,
        _ => Delivery::None,
    }
}

pub(super) fn saved(answer: &Response<Reply>) -> Option<Arc<Saved>> {
    let Reply::Whole(body) = &answer.body else { return None };
    Some(Saved::new(answer.status, outbound::lasting_fields(&answer.fields), body))
}

/// What tells one call of a caller's from another.
fn parts_of<'c>(grant: &'c Grant, payload: &'c Payload) -> [&'c [u8]; 3] {
    [grant.operation().name.as_bytes(), grant.tenant().name.as_bytes(), payload.body()]
}

/// The digest of a caller's key: 1 to 255 visible ASCII characters, sent once.
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
