//! Cids of the vendor's, by which it knows a push that comes twice: written into pushes, and fetched in batches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::Worker;
use super::attempts::{Attempts, Exchanged, Witness};
use super::idempotency::DedupKey;
use super::replies::fresh_request_id;
use super::trace::waited;

use crate::body::Cid;
use crate::config::CidPolicy;
use crate::dedup::Fetch;
use crate::http1::target::Target;
use crate::outbound::{Inbound, VendorRequest};
use crate::payload::Payload;
use crate::request::{RequestId, judge};
use crate::telemetry::VendorNote;
use crate::telemetry::metrics::{Labels, Metrics, NONE};
use crate::telemetry::spans::{RequestSpan, WaitFor};
use crate::tenant::{CredentialKind, Grant};
use crate::upstream::Deadlines;

/// The consequence of having no cid, for log lines.
const WITHOUT_CID: &str = "pushes go without, and are not sent again";
/// The longest that a push with a slot waits for a cid; longer if its caller waits longer for a budget.
const CID_WAIT_MAX: Duration = Duration::from_secs(2);

impl Worker {
    /// Writes a cid into a push that should have one. A push that gets none is sent once and never repeated.
    pub(super) async fn with_cid(
        self: &Arc<Self>,
        grant: &Grant,
        payload: Payload,
        key: &mut DedupKey,
        (deadlines, span): (&Deadlines, Option<&RequestSpan>),
    ) -> Payload {
        let (facts, repeats) = (*payload.facts(), &grant.tenant().repeats);
        let wanted = key.first_call().is_some() || (repeats.cid == CidPolicy::Inject && !facts.encrypted);
        if !grant.operation().knows_cid() || !wanted {
            return payload;
        }
        if let Some(first_call) = key.first_call().filter(|_| facts.has_cid) {
            first_call.goes_with(None);
        }
        if facts.names_cid {
            return payload;
        }
        let cid = match key.first_call().and_then(|first_call| first_call.cid().cloned()) {
            _ if facts.encrypted => None,
            Some(cid) => Some(cid),
            None => Box::pin(self.take_cid(grant, deadlines, span)).await,
        };
        let Some(cid) = cid else {
            self.telemetry.metrics.push_without_cid(grant.tenant().name.as_str());
            return payload;
        };
        let payload = payload.with_cid(&cid);
        if let Some(first_call) = key.first_call() {
            first_call.goes_with(Some(cid));
        }
        payload
    }

    async fn take_cid(
        self: &Arc<Self>,
        grant: &Grant,
        deadlines: &Deadlines,
        span: Option<&RequestSpan>,
    ) -> Option<Cid> {
        let app = &grant.tenant().credential(CredentialKind::App)?.key;
        let (pool, batch) = (self.active.repeat_protection.pools.of(app), grant.tenant().repeats.cid_batch);
        // The wait leaves enough time for the dispatch.
        let until = deadlines.wait_end(Instant::now(), CID_WAIT_MAX.max(grant.caller().wait));
        loop {
            let taken = pool.take(Instant::now(), batch);
            if let Some(fetch) = taken.fetch {
                // In a task of its own, because the fetch is paid for and serves other pushes as well.
                tokio::spawn(Arc::clone(self).fetch_cids(grant.clone(), fetch));
            }
            if taken.cid.is_some() {
                return taken.cid;
            }
            let wait = taken.wait?;
            let span = span.and_then(|span| span.wait(WaitFor::Cid));
            let ended = timeout_at(until.into(), wait.ended()).await;
            waited(span, ended, |_| "timeout").ok()?;
        }
    }

    /// Fetches cids by a call that is paid for, timed and counted like any other.
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
        let path = judge(&target).expect("a path of the table, a number and a word");
        let inbound = Inbound { head: None, target: &target, path: &path, request_id: &id, context: None };
        let host = self.active.host(&grant);
        let mut request = VendorRequest::build(&grant, &inbound, host, self.active.trace, Payload::none());
        let (facts, origin) = (*request.facts(), grant.origin());
        let attempts = Attempts { grant: &grant, facts, origin, deadlines };
        let mut witness = CidFetch { id: &id, grant: &grant, metrics: &self.telemetry.metrics };
        let cids = match self.exchange(attempts, &mut request, payment, &mut witness).await {
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

/// A fetch of cids, which belongs to no request of a caller's.
struct CidFetch<'f> {
    id: &'f RequestId,
    grant: &'f Grant,
    metrics: &'f Metrics,
}

impl Witness for CidFetch<'_> {
    fn request_id(&self) -> &RequestId {
        self.id
    }

    fn attempt(&mut self, _request: &mut VendorRequest) {}

    fn failed(&mut self, _kind: &'static str) {}

    fn answered(&mut self, note: VendorNote) {
        let tenant = self.grant.tenant().name.as_str();
        let labels = Labels { operation: Some(self.grant.operation()), tenant, caller: NONE };
        self.metrics.vendor_answer(None, labels, note.status, note.code, note.took);
    }
}
