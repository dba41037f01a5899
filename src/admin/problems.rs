//! What needs somebody: each problem in words, with the time and what helps.

use std::time::Duration;

use super::NotReady;
use super::status::{BudgetReport, Problem, Status};
use super::vendor::CertificateEnd;
use crate::telemetry::host_history::HostCalls;
use crate::telemetry::recent::RefusalGroup;

/// Days before its end in which a certificate is a problem.
const CERTIFICATE_DAYS: i64 = 14;
/// Errors of a vendor host in five minutes that are worth a word, if more than half of the calls failed.
const HOST_ERRORS_MIN: u32 = 3;
/// Requests of strangers in an hour that are worth a word.
const STRANGERS_MIN: u32 = 20;
/// Problems of one kind that are told one by one.
const OF_A_KIND_MAX: usize = 20;

fn problem(urgent: bool, what: String, cure: &str) -> Problem {
    Problem { urgent, what, cure: cure.to_owned() }
}

/// The problems, urgent ones first.
pub(super) fn of(status: &Status, not_ready: Option<NotReady>) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(not_ready.map(|why| {
        problem(
            true,
            format!("No calls are sent: {why}."),
            "Another process serves, or will when this one has ended.",
        )
    }));
    for (host, report) in status.vendor.iter().filter(|(_, report)| report.circuit != "closed") {
        let what = format!("{host} cannot be reached; its circuit is {}.", report.circuit);
        problems.push(problem(
            true,
            what,
            "Check name resolution, the network and vendor.proxy from this machine.",
        ));
    }
    if let Some(store @ ("away" | "holding back")) = status.store {
        let what = format!("The store of the shared budgets is {store}; each replica has its own part only.");
        problems.push(problem(
            true,
            what,
            "If it is away, check the store; if it holds back, it ends by itself.",
        ));
    }
    problems.extend(refused(status));
    problems.extend(budgets(status));
    if status.state_file == Some("cannot be written") {
        let refused = status.state_file_failures;
        let what = format!("The state file cannot be written; {refused} calls were refused since the start.");
        problems.push(problem(
            true,
            what,
            "Its disk is full or broken; calls are sent again once it can be written.",
        ));
    }
    if status.last_reload == "failure" {
        let what =
            format!("The last reload failed; the configuration of {} is in use.", status.config.loaded);
        problems.push(problem(
            false,
            what,
            "jpush-gateway check names every fault; POST /reload or SIGHUP tries again.",
        ));
    }
    problems.extend(certificates(status));
    problems.extend(vendor(status));
    for (lost, log) in
        [(status.log_lines_lost, "access and process log"), (status.audit_lines_lost, "audit log")]
    {
        if lost > 0 {
            let what = format!("{lost} lines of the {log} were lost since the start.");
            problems.push(problem(false, what, "Its reader is too slow, or its disk is full."));
        }
    }
    problems.sort_by_key(|problem| !problem.urgent);
    problems
}

fn certificates(status: &Status) -> impl Iterator<Item = Problem> {
    let near = status.certificates.iter().filter(|known| known.end.days_left < CERTIFICATE_DAYS);
    near.map(|known| {
        let whose = format!("The certificate of {} at {}", known.name, known.listener);
        problem(known.end.days_left < 0, ending(&whose, &known.end), "Put a new one in its place and reload.")
    })
}

fn ending(whose: &str, end: &CertificateEnd) -> String {
    let CertificateEnd { not_after, days_left } = end;
    match days_left {
        ..0 => format!("{whose} ended at {not_after}."),
        days => format!("{whose} ends in {days} days, at {not_after}."),
    }
}

/// Hosts that fail although they can be reached, and hosts whose certificate ends.
fn vendor(status: &Status) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (host, report) in &status.vendor {
        let HostCalls { calls, errors } = report.last_five_minutes;
        if report.circuit == "closed" && errors >= HOST_ERRORS_MIN && errors > calls / 2 {
            let last = report.last_error.as_ref();
            let last = last.map(|error| format!("; the last at {}: {}", error.time, error.cause));
            let what = format!(
                "{host}: {errors} of {calls} calls of the last five minutes failed{}.",
                last.unwrap_or_default()
            );
            let cure =
                "Look at the vendor's announcements, and at the network and vendor.proxy of this machine.";
            problems.push(problem(true, what, cure));
        }
        if let Some(end) = report.certificate.as_ref().filter(|end| end.days_left < CERTIFICATE_DAYS) {
            let whose = format!("The vendor's certificate at {host}");
            let cure = "The vendor has to renew it, or whoever runs a proxy that shows one of its own; \
                        once it has ended, no call gets through.";
            problems.push(problem(end.days_left < 0, ending(&whose, end), cure));
        }
    }
    problems
}

fn refused(status: &Status) -> Vec<Problem> {
    let of = |reasons: &'static [&'static str]| {
        status.refusals.iter().filter(move |group| reasons.contains(&group.reason))
    };
    let rejected = of(&["vendor-rejected-credential"]).take(OF_A_KIND_MAX).map(|group| {
        let RefusalGroup { count, since, .. } = group;
        let tenant = group.tenant.as_deref().unwrap_or_default();
        let what = format!(
            "{tenant}: the vendor rejects our credential since {since}, {count} calls in the last hour."
        );
        problem(true, what, "Check its master secret at the vendor and in the configuration.")
    });
    let mut problems: Vec<_> = rejected.collect();
    let sum = |reasons| of(reasons).map(|group| group.count).sum::<u32>();
    let failed = sum(&["vendor-unreachable", "vendor-timeout", "vendor-interrupted", "vendor-error-page"]);
    if failed > 0 {
        let what = format!("{failed} calls of the last hour failed at the vendor.");
        problems.push(problem(
            false,
            what,
            "The refusals below tell which; jpush_gateway_vendor_failures_total tells why.",
        ));
    }
    let overloaded = sum(&["overloaded"]);
    if overloaded > 0 {
        let what = format!(
            "{overloaded} requests of the last hour were refused because the gateway had too much to do."
        );
        problems.push(problem(
            false,
            what,
            "Raise limits.in_flight or limits.body_memory, or run another replica.",
        ));
    }
    let strangers: u32 =
        status.refusals.iter().filter(|group| group.caller.is_none()).map(|group| group.count).sum();
    if strangers >= STRANGERS_MIN {
        let what = format!("{strangers} requests of the last hour had no good credentials.");
        problems.push(problem(
            false,
            what,
            "A caller has an old token or sends the master secret, or somebody tries tokens.",
        ));
    }
    problems
}

fn budgets(status: &Status) -> Vec<Problem> {
    let mut found: Vec<(&str, &str, &str, &BudgetReport)> = Vec::new();
    for (tenant, credentials) in &status.tenants {
        for (kind, credential) in credentials {
            let short =
                credential.budgets.iter().filter(|(_, budget)| budget.holding_back || budget.remaining == 0);
            found.extend(short.map(|(name, budget)| (tenant.as_str(), *kind, *name, budget)));
        }
    }
    found.sort_by_key(|(.., budget)| std::cmp::Reverse(budget.waiting));
    let left_out = found.len().saturating_sub(OF_A_KIND_MAX);
    let mut problems: Vec<_> = found
        .iter()
        .take(OF_A_KIND_MAX)
        .map(|(tenant, kind, name, budget)| {
            let frees = whole(budget.reset_seconds);
            let what = if budget.holding_back {
                format!("{tenant}/{kind}: the {name} budget is held back, because earlier calls are unknown; more in {frees}.")
            } else {
                let top = budget.callers.iter().max_by_key(|(_, calls)| calls.window);
                let top = top.map(|(caller, calls)| format!(", {} of them by {caller}", calls.window)).unwrap_or_default();
                let (used, limit, waiting) = (budget.used, budget.limit, budget.waiting);
                format!("{tenant}/{kind}: the {name} budget is used up: {used} of {limit}{top}; {waiting} wait, more in {frees}.")
            };
            problem(true, what, "Give the greedy caller a quota, or ask the vendor for a higher limit.")
        })
        .collect();
    if left_out > 0 {
        let what = format!("{left_out} more budgets are used up or held back.");
        problems.push(problem(true, what, "The table of budgets has them, the worst first."));
    }
    problems
}

/// A time in whole seconds, as people read it.
pub(super) fn whole(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds.ceil()).unwrap_or_default();
    humantime::format_duration(seconds).to_string()
}
