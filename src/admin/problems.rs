//! What needs somebody: each problem in words, with the time and what helps.

use super::NotReady;
use super::shortages;
use super::status::{Problem, Status};
use super::vendor::CertificateEnd;
use crate::telemetry::host_history::HostCalls;
use crate::telemetry::recent::RefusalGroup;

/// Days before its end in which a certificate is a problem.
const CERTIFICATE_DAYS: i64 = 14;
/// Errors of a vendor host in five minutes that are worth a word, if more than half of the calls failed.
const HOST_ERRORS_MIN: u32 = 3;
/// Requests of strangers in an hour that are worth a word.
const STRANGERS_MIN: u32 = 20;

/// The problems: urgent ones, a reload that failed, budgets that are used up, and what can wait.
pub(super) fn of(status: &Status, not_ready: Option<NotReady>) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(not_ready.map(|why| {
        Problem::new(
            true,
            format!("No calls are sent: {why}."),
            "Another process serves, or will when this one has ended.",
        )
    }));
    if status.state_file == Some("cannot be written") {
        let refused = status.state_file_failures;
        let what = format!("The state file cannot be written; {refused} calls were refused since the start.");
        problems.push(Problem::new(
            true,
            what,
            "Its disk is full or broken; calls are sent again once it can be written.",
        ));
    }
    for (host, report) in status.vendor.iter().filter(|(_, report)| report.circuit != "closed") {
        let what = format!("{host} cannot be reached; its circuit is {}.", report.circuit);
        problems.push(Problem::new(
            true,
            what,
            "Check name resolution, the network and vendor.proxy from this machine.",
        ));
    }
    problems.extend(store(status));
    problems.extend(shortages::held_back(status));
    problems.extend(refused(status));
    problems.extend(certificates(status));
    problems.extend(vendor(status));
    for (lost, log) in
        [(status.log_lines_lost, "access and process log"), (status.audit_lines_lost, "audit log")]
    {
        if lost > 0 {
            let what = format!("{lost} lines of the {log} were lost since the start.");
            problems.push(Problem::new(false, what, "Its reader is too slow, or its disk is full."));
        }
    }
    problems.sort_by_key(|problem| !problem.urgent);
    // A configuration that was not loaded can be the reason for limits that are too low.
    let not_urgent = problems.partition_point(|problem| problem.urgent);
    problems
        .splice(not_urgent..not_urgent, last_reload(status).into_iter().chain(shortages::used_up(status)));
    problems
}

fn store(status: &Status) -> Option<Problem> {
    let (what, cure) = match status.store? {
        "away" => (
            "The store of the shared budgets is away; each replica has its own part only.",
            "Check the store and the network to it; calls are shared again once it answers.",
        ),
        // Where a budget here knows it too, the budgets that are held back are told with the time.
        "holding back" if !shortages::store_holds_back(status) => (
            "The store of the shared budgets is holding back; each replica has its own part only.",
            shortages::HELD_BACK_CURE,
        ),
        _ => return None,
    };
    Some(Problem::new(true, what.to_owned(), cure))
}

fn last_reload(status: &Status) -> Option<Problem> {
    let what = format!("The last reload failed; the configuration of {} is in use.", status.config.loaded);
    let cure = "jpush-gateway check names every fault; POST /reload or SIGHUP tries again.";
    (status.last_reload == "failure").then(|| Problem::new(false, what, cure))
}

fn certificates(status: &Status) -> impl Iterator<Item = Problem> {
    let near = status.certificates.iter().filter(|known| known.end.days_left < CERTIFICATE_DAYS);
    near.map(|known| {
        let whose = format!("The certificate of {} at {}", known.name, known.listener);
        Problem::new(
            known.end.days_left < 0,
            ending(&whose, &known.end),
            "Put a new one in its place and reload.",
        )
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
            problems.push(Problem::new(true, what, cure));
        }
        if let Some(end) = report.certificate.as_ref().filter(|end| end.days_left < CERTIFICATE_DAYS) {
            let whose = format!("The vendor's certificate at {host}");
            let cure = "The vendor has to renew it, or whoever runs a proxy that shows one of its own; \
                        once it has ended, no call gets through.";
            problems.push(Problem::new(end.days_left < 0, ending(&whose, end), cure));
        }
    }
    problems
}

fn refused(status: &Status) -> Vec<Problem> {
    let of = |reasons: &'static [&'static str]| {
        status.refusals.iter().filter(move |group| reasons.contains(&group.reason))
    };
    let rejected = of(&["vendor-rejected-credential"]).take(Problem::OF_A_KIND_MAX).map(|group| {
        let RefusalGroup { count, since, .. } = group;
        let tenant = group.tenant.as_deref().unwrap_or_default();
        let what = format!(
            "{tenant}: the vendor rejects our credential since {since}, {count} calls in the last hour."
        );
        Problem::new(true, what, "Check its master secret at the vendor and in the configuration.")
    });
    let mut problems: Vec<_> = rejected.collect();
    let sum = |reasons| of(reasons).map(|group| group.count).sum::<u32>();
    let failed = sum(&["vendor-unreachable", "vendor-timeout", "vendor-interrupted", "vendor-error-page"]);
    if failed > 0 {
        let what = format!("{failed} calls of the last hour failed at the vendor.");
        problems.push(Problem::new(
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
        problems.push(Problem::new(
            false,
            what,
            "Raise limits.in_flight or limits.body_memory, or run another replica.",
        ));
    }
    let strangers: u32 =
        status.refusals.iter().filter(|group| group.caller.is_none()).map(|group| group.count).sum();
    if strangers >= STRANGERS_MIN {
        let what = format!("{strangers} requests of the last hour had no good credentials.");
        problems.push(Problem::new(
            false,
            what,
            "A caller has an old token or sends the master secret, or somebody tries tokens.",
        ));
    }
    problems
}
