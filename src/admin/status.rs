//! What the admin pages tell, and its form as JSON. It holds no secret.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::AdminState;
use super::busiest::{self, BusyBudget};
use super::vendor::{self, CertificateEnd, HostReport};
use crate::active_config::ActiveConfig;
use crate::budget::{Budget, Cause, Timestamp};
use crate::ledger::Ledger;
use crate::telemetry::history::MinuteReport;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::{RefusalGroup, RefusedCall};
use crate::tenant::{CredentialKind, Directory};

/// The content of the page. Its keys are part of the JSON.
#[derive(Serialize)]
pub(super) struct Status {
    /// The time at which all this was so.
    #[serde(skip)]
    pub(super) now: SystemTime,
    pub(super) version: &'static str,
    /// Id of the process, to tell two of them on one machine apart.
    pub(super) pid: u32,
    pub(super) uptime_seconds: u64,
    pub(super) ready: bool,
    pub(super) config: ConfigReport,
    pub(super) state_file: Option<&'static str>,
    pub(super) in_flight_requests: usize,
    pub(super) connections: usize,
    pub(super) body_memory_bytes: usize,
    /// State of the shared store; absent where budgets are not shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) store: Option<&'static str>,
    pub(super) vendor: BTreeMap<String, HostReport>,
    pub(super) tenants: BTreeMap<String, BTreeMap<&'static str, CredentialReport>>,
    pub(super) callers: BTreeMap<String, CallerReport>,
    /// What needs somebody, causes before what they lead to; empty until it was looked for.
    pub(super) problems: Vec<Problem>,
    /// Whether the last reload took.
    pub(super) last_reload: &'static str,
    pub(super) certificates: Vec<CertificateReport>,
    pub(super) log_lines_lost: u64,
    pub(super) audit_lines_lost: u64,
    /// Calls that were refused since the start because the state file could not be written.
    pub(super) state_file_failures: u64,
    /// The last hour by minutes, the present one last.
    pub(super) last_hour: Vec<MinuteReport>,
    /// The budgets that came closest to their limits in the last hour.
    pub(super) busiest_budgets: Vec<BusyBudget>,
    /// The refusals of the last hour in groups.
    pub(super) refusals: Vec<RefusalGroup>,
    pub(super) recent_refusals: Vec<RefusedCall>,
    /// The pages of tenants and callers that were asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) pages: BTreeMap<&'static str, PageReport>,
}

#[derive(Serialize)]
pub(super) struct ConfigReport {
    pub(super) digest: String,
    pub(super) loaded: String,
}

#[derive(Serialize)]
pub(super) struct CredentialReport {
    pub(super) key: String,
    pub(super) budgets: BTreeMap<&'static str, BudgetReport>,
}

#[derive(Serialize)]
pub(super) struct BudgetReport {
    pub(super) limit: u32,
    pub(super) window_seconds: f64,
    pub(super) used: u32,
    pub(super) remaining: u32,
    pub(super) waiting: usize,
    pub(super) foreign_used: u32,
    pub(super) vendor_limit: Option<u32>,
    pub(super) holding_back: bool,
    /// Why it gives nothing; told in words by the problems.
    #[serde(skip)]
    pub(super) shortage: Option<Cause>,
    pub(super) reset_seconds: f64,
    pub(super) callers: BTreeMap<String, CallerCalls>,
}

#[derive(Serialize)]
pub(super) struct CallerCalls {
    pub(super) window: u32,
    pub(super) last_hour: u32,
}

#[derive(Serialize)]
pub(super) struct CallerReport {
    pub(super) quota: Option<QuotaReport>,
    /// Refusals in the last hour.
    pub(super) refusals: u32,
    pub(super) tokens: BTreeMap<String, TokenReport>,
    pub(super) certificates: BTreeMap<String, TokenReport>,
}

#[derive(Serialize)]
pub(super) struct TokenReport {
    pub(super) last_use: Option<String>,
}

#[derive(Serialize)]
pub(super) struct QuotaReport {
    pub(super) limit: u32,
    pub(super) window_seconds: f64,
    pub(super) used: u32,
    pub(super) remaining: u32,
}

/// A page of tenants or callers that was asked for.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct PageReport {
    pub(super) page: NonZeroUsize,
    pub(super) last_page: usize,
    /// Entries on all pages.
    pub(super) entries: usize,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    /// Whether calls fail because of it now.
    pub(super) urgent: bool,
    /// What is wrong, and since when.
    pub(super) what: String,
    /// What helps.
    pub(super) cure: String,
}

/// A certificate of a listener.
#[derive(Serialize)]
pub(super) struct CertificateReport {
    pub(super) listener: String,
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) end: CertificateEnd,
}

impl Status {
    pub(super) fn of(state: &AdminState) -> Self {
        let current = state.reloads.current();
        let directory = &current.active.directory;
        let (now, wall) = (state.clock.now(), SystemTime::now());
        let refusals = state.recent.groups(wall);
        Self {
            now: wall,
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime_seconds: state.clock.uptime().as_secs(),
            ready: state.ready().is_ok(),
            config: ConfigReport {
                digest: current.digest.clone(),
                loaded: humantime::format_rfc3339_seconds(current.loaded).to_string(),
            },
            state_file: state.ledger.as_deref().map(Ledger::status),
            in_flight_requests: state.admission.in_flight(),
            connections: state.admission.connections.now(),
            body_memory_bytes: state.admission.body_memory_bytes(),
            store: state.store.as_ref().map(|store| store.state().as_str()),
            vendor: vendor::hosts(&current.active, wall),
            tenants: directory
                .tenants
                .iter()
                .map(|tenant| (tenant.name.clone(), credentials(directory, tenant, now)))
                .collect(),
            callers: callers(&current.active, &refusals, now),
            problems: Vec::new(),
            last_reload: if state.metrics.last_reload_failed() { "failure" } else { "success" },
            certificates: certificates(&state.metrics, wall),
            log_lines_lost: state.metrics.log_lost.get(),
            audit_lines_lost: state.metrics.audit_lost.get(),
            state_file_failures: state.metrics.state_file_failures.get(),
            last_hour: state.metrics.history.last_hour(wall, &vendor::latencies(&current.active, wall)),
            busiest_budgets: busiest::budgets(directory, now),
            refusals,
            recent_refusals: state.recent.list(),
            pages: BTreeMap::new(),
        }
    }
}

impl Problem {
    /// Problems of one kind that are told one by one.
    pub(super) const OF_A_KIND_MAX: usize = 20;

    pub(super) fn new(urgent: bool, what: String, cure: &str) -> Self {
        Self { urgent, what, cure: cure.to_owned() }
    }
}

impl BudgetReport {
    /// Whether somebody used it since the start, or it gives nothing.
    pub(super) fn is_used(&self) -> bool {
        let Self { used, waiting, holding_back, remaining, limit, callers, .. } = self;
        *used > 0 || *waiting > 0 || *holding_back || remaining < limit || !callers.is_empty()
    }
}

fn credentials(
    directory: &Directory,
    tenant: &crate::tenant::Tenant,
    now: Timestamp,
) -> BTreeMap<&'static str, CredentialReport> {
    let status = |kind: CredentialKind| {
        let credential = tenant.credential(kind)?;
        let budgets = credential
            .budgets()
            .map(|budget| (budget.name().as_str(), budget_status(directory, budget, now)));
        Some((
            kind.as_str(),
            CredentialReport { key: credential.key.as_str().to_owned(), budgets: budgets.collect() },
        ))
    };
    CredentialKind::ALL.into_iter().filter_map(status).collect()
}

fn budget_status(directory: &Directory, budget: &Budget, now: Timestamp) -> BudgetReport {
    let status = budget.status(now);
    let calls = budget.by_caller(now).into_iter();
    BudgetReport {
        limit: status.limit,
        window_seconds: status.window.as_secs_f64(),
        used: status.used,
        remaining: status.remaining,
        waiting: status.waiting,
        foreign_used: status.foreign,
        vendor_limit: status.vendor_limit,
        holding_back: status.holding_back,
        shortage: status.shortage,
        reset_seconds: status.reset.as_secs_f64(),
        callers: calls
            .filter_map(|(caller, calls)| {
                Some((
                    directory.name_of(caller)?.to_owned(),
                    CallerCalls { window: calls.window, last_hour: calls.hour },
                ))
            })
            .collect(),
    }
}

fn certificates(metrics: &Metrics, now: SystemTime) -> Vec<CertificateReport> {
    let mut found: Vec<_> = metrics.tls.in_use();
    found.sort_by_key(|(_, _, not_after)| *not_after);
    let report = |(listener, name, seconds): (String, String, i64)| CertificateReport {
        listener,
        name,
        end: CertificateEnd::of(seconds, now),
    };
    found.into_iter().map(report).collect()
}

fn callers(
    active: &ActiveConfig,
    refusals: &[RefusalGroup],
    now: Timestamp,
) -> BTreeMap<String, CallerReport> {
    let mut refused: HashMap<&str, u32> = HashMap::new();
    for group in refusals {
        let Some(caller) = &group.caller else { continue };
        *refused.entry(caller).or_default() += group.count;
    }
    let callers = active.directory.callers.iter().enumerate();
    callers
        .map(|(position, caller)| {
            let all = caller.token_names().iter().enumerate().map(|(token, name)| {
                let last_use = active.usage.last_use(position, token).map(|seconds| {
                    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
                        .to_string()
                });
                let known = active.directory.certificate_named(name);
                (known == Some((position, token)), (name.clone(), TokenReport { last_use }))
            });
            let (certificates, tokens): (Vec<_>, Vec<_>) =
                all.partition(|(is_certificate, _)| *is_certificate);
            let collect = |entries: Vec<(bool, _)>| entries.into_iter().map(|(_, entry)| entry).collect();
            let quota = caller.quota().map(|quota| {
                let (limit, status) = (quota.limit(), quota.status(now));
                QuotaReport {
                    limit: limit.limit.get(),
                    window_seconds: limit.window.as_secs_f64(),
                    used: status.used,
                    remaining: status.remaining,
                }
            });
            let status = CallerReport {
                quota,
                refusals: refused.get(caller.name.as_str()).copied().unwrap_or(0),
                tokens: collect(tokens),
                certificates: collect(certificates),
            };
            (caller.name.clone(), status)
        })
        .collect()
}

/// A time in whole seconds, as people read it.
pub(super) fn whole(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds.ceil()).unwrap_or_default();
    humantime::format_duration(seconds).to_string()
}
