//! What a caller may do and how its budgets stand: `GET /_gateway/whoami`, which is answered here and costs nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use serde::Serialize;

use crate::budget::{BudgetStatus, Quota, Timestamp};
use crate::operation::{NoMatch, Path, Scope};
use crate::tenant::{Caller, CredentialKind, Directory, Tenant};

const PATH: &str = "/_gateway/whoami";
/// Tenants in one answer. A caller that has more asks for each with `X-JPush-Tenant`.
const TENANTS_MAX: usize = 100;

/// Whether a request asks who its caller is.
pub fn is_asked(method: &Method, path: &Path<'_>) -> Result<bool, NoMatch> {
    match *method {
        _ if path.as_str() != PATH => Ok(false),
        Method::GET | Method::HEAD => Ok(true),
        _ => Err(NoMatch::MethodNotAllowed { allow: "GET, HEAD".into() }),
    }
}

#[derive(Serialize)]
struct Whoami<'d> {
    name: &'d str,
    scopes: Vec<&'static str>,
    broadcast: bool,
    weight: u32,
    wait_seconds: f64,
    quota: Option<QuotaReport>,
    tenants: BTreeMap<&'d str, TenantReport>,
    /// Tenants that are not listed, because there are too many.
    tenants_left_out: usize,
}

/// Times are in seconds.
#[derive(Serialize)]
struct QuotaReport {
    limit: u32,
    window: f64,
    used: u32,
    remaining: u32,
    reset: f64,
}

#[derive(Serialize)]
struct TenantReport {
    credentials: Vec<&'static str>,
    /// By the credential, and the name of the budget.
    budgets: BTreeMap<&'static str, BTreeMap<&'static str, BudgetReport>>,
}

/// Times are in seconds.
#[derive(Serialize)]
struct BudgetReport {
    limit: u32,
    window: f64,
    used: u32,
    remaining: u32,
    reset: f64,
    waiting: usize,
}

/// The answer for a caller, about all of its tenants or the one of this name.
pub(super) fn answer(directory: &Directory, caller: &Caller, tenant: Option<&str>, now: Timestamp) -> Bytes {
    let tenants = caller.tenants().map(|position| &directory.tenants[position]);
    let asked: Vec<&Tenant> = tenants.filter(|known| tenant.is_none_or(|name| known.name == name)).collect();
    let shown = &asked[..asked.len().min(TENANTS_MAX)];
    let whoami = Whoami {
        name: &caller.name,
        scopes: Scope::ALL.into_iter().filter(|scope| caller.may(*scope)).map(Scope::as_str).collect(),
        broadcast: caller.broadcast,
        weight: caller.weight(),
        wait_seconds: caller.wait.as_secs_f64(),
        quota: caller.quota().map(|quota| QuotaReport::of(quota, now)),
        tenants: shown.iter().map(|known| (&*known.name, TenantReport::of(known, caller, now))).collect(),
        tenants_left_out: asked.len() - shown.len(),
    };
    serde_json::to_vec(&whoami).expect("numbers and strings always serialise").into()
}

impl QuotaReport {
    fn of(quota: &Quota, now: Timestamp) -> Self {
        let (limit, status) = (quota.limit(), quota.status(now));
        Self {
            limit: limit.limit.get(),
            window: limit.window.as_secs_f64(),
            used: status.used,
            remaining: status.remaining,
            reset: status.reset.as_secs_f64(),
        }
    }
}

impl TenantReport {
    fn of(tenant: &Tenant, caller: &Caller, now: Timestamp) -> Self {
        let credentials =
            CredentialKind::ALL.into_iter().filter_map(|kind| Some((kind, tenant.credential(kind)?)));
        let budgets = credentials.clone().map(|(kind, credential)| {
            let drawn = credential.budgets().filter(|budget| caller.may_draw_on(budget.name(), kind));
            let reports = drawn.map(|budget| {
                (budget.name().as_str(), BudgetReport::of(&budget.status_for(caller.number, now)))
            });
            (kind.as_str(), reports.collect())
        });
        Self {
            budgets: budgets.filter(|(_, drawn): &(_, BTreeMap<_, _>)| !drawn.is_empty()).collect(),
            credentials: credentials.map(|(kind, _)| kind.as_str()).collect(),
        }
    }
}

impl BudgetReport {
    fn of(status: &BudgetStatus) -> Self {
        Self {
            limit: status.limit,
            window: status.window.as_secs_f64(),
            used: status.used,
            remaining: status.remaining,
            reset: status.reset.as_secs_f64(),
            waiting: status.waiting,
        }
    }
}
