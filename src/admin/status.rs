//! The status page, as JSON and as HTML. It holds no secret.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::AdminState;
use crate::active_config::ActiveConfig;
use crate::budget::{Budget, Timestamp};
use crate::ledger::Ledger;
use crate::telemetry::recent::RefusedCall;
use crate::tenant::{CredentialKind, Directory};

/// The content of the page. Its keys are part of the JSON.
#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    /// Id of the process, to tell two of them on one machine apart.
    pid: u32,
    uptime_seconds: u64,
    ready: bool,
    config: ConfigReport,
    state_file: Option<&'static str>,
    in_flight_requests: usize,
    connections: usize,
    body_memory_bytes: usize,
    /// State of the shared store; absent where budgets are not shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<&'static str>,
    vendor: BTreeMap<String, HostReport>,
    tenants: BTreeMap<String, BTreeMap<&'static str, CredentialReport>>,
    callers: BTreeMap<String, CallerReport>,
    recent_refusals: Vec<RefusedCall>,
}

#[derive(Serialize)]
struct ConfigReport {
    digest: String,
    loaded: String,
}

#[derive(Serialize)]
struct HostReport {
    circuit: &'static str,
}

#[derive(Serialize)]
struct CredentialReport {
    key: String,
    budgets: BTreeMap<&'static str, BudgetReport>,
}

#[derive(Serialize)]
struct BudgetReport {
    limit: u32,
    window_seconds: f64,
    used: u32,
    remaining: u32,
    waiting: usize,
    foreign_used: u32,
    vendor_limit: Option<u32>,
    holding_back: bool,
    reset_seconds: f64,
    callers: BTreeMap<String, CallerCalls>,
}

#[derive(Serialize)]
struct CallerCalls {
    window: u32,
    last_hour: u32,
}

#[derive(Serialize)]
struct CallerReport {
    tokens: BTreeMap<String, TokenReport>,
    certificates: BTreeMap<String, TokenReport>,
}

#[derive(Serialize)]
struct TokenReport {
    last_use: Option<String>,
}

impl Status {
    pub(super) fn of(state: &AdminState) -> Self {
        let current = state.reloads.current();
        let directory = &current.active.directory;
        let now = state.clock.now();
        Self {
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
            vendor: hosts(&current.active),
            tenants: directory
                .tenants
                .iter()
                .map(|tenant| (tenant.name.clone(), credentials(directory, tenant, now)))
                .collect(),
            callers: callers(&current.active),
            recent_refusals: state.recent.list(),
        }
    }
}

fn hosts(active: &ActiveConfig) -> BTreeMap<String, HostReport> {
    let hosts = active.connector.circuit_states();
    hosts.map(|(host, status)| (host, HostReport { circuit: status.as_str() })).collect()
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

fn callers(active: &ActiveConfig) -> BTreeMap<String, CallerReport> {
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
            let status = CallerReport { tokens: collect(tokens), certificates: collect(certificates) };
            (caller.name.clone(), status)
        })
        .collect()
}

/// The page for browsers: the same JSON, formatted and escaped in HTML.
pub(super) fn page(status: &Status) -> String {
    let json = serde_json::to_string_pretty(status).expect("numbers and strings always serialise");
    let text = json.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>jpush-gateway</title>\
         <h1>jpush-gateway {}</h1><p><a href=\"/status\">status</a> <a href=\"/metrics\">metrics</a></p><pre>{text}</pre></html>",
        status.version
    )
}
