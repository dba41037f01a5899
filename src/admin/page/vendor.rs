//! The tables of the vendor's hosts and of the listeners' certificates.

use maud::{Markup, html};

use super::charts::millis;
use super::times::{marked, time};
use super::{ROWS, Status};
use crate::admin::vendor::HostReport;
use crate::telemetry::host_history::HostCalls;

/// The hosts of the vendor.
pub(super) fn hosts(status: &Status) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "host" } th scope="col" { "circuit" }
                th.number scope="col" { "last minute" } th.number scope="col" { "last hour" }
                th.number scope="col" { "half in" } th.number scope="col" { "99 of 100 in" } th scope="col" { "certificate ends" }
            } }
            tbody { @for (host, report) in status.vendor.iter().take(ROWS) { tr {
                th scope="row" { (host) br; span.soft { (report.serves.join(", ")) } }
                td { @if report.circuit == "closed" { span.good { "closed: calls pass" } } @else { span.bad { (report.circuit) } } }
                td.number { (calls(report.last_minute)) }
                td.number { (calls(report.last_hour.counts)) }
                td.number { (millis(report.last_hour.p50_ms)) } td.number { (millis(report.last_hour.p99_ms)) }
                td { @match &report.certificate { Some(end) => (time(&end.not_after, status.now)), None => "–" } }
            } } }
        } }
        (errors(status))
        @if status.vendor.len() > ROWS { p.soft { (status.vendor.len() - ROWS) " more hosts are in " a href="/status" { "JSON" } "." } }
    }
}

/// The last error of each host that had one.
fn errors(status: &Status) -> Markup {
    let last = |(host, report): (&'_ String, &'_ HostReport)| {
        let error = report.last_error.as_ref()?;
        Some(html! {
            p { b { (host) } ", last error at " (marked(&error.time, status.now)) ": " (error.cause) }
        })
    };
    html! { @for error in status.vendor.iter().take(ROWS).filter_map(last) { (error) } }
}

fn calls(HostCalls { calls, errors }: HostCalls) -> Markup {
    html! {
        (calls) @if calls == 1 { " call" } @else { " calls" } br;
        @if errors == 0 { span.soft { "no errors" } } @else if errors == 1 { span.bad { "1 error" } } @else { span.bad { (errors) " errors" } }
    }
}

/// The certificates of the listeners.
pub(super) fn certificates(status: &Status) -> Markup {
    html! {
        @if status.certificates.is_empty() { p.soft { "No listener has TLS." } } @else {
            div.scroll { table {
                thead { tr { th scope="col" { "name" } th scope="col" { "listener" } th scope="col" { "ends" } th.number scope="col" { "days left" } } }
                tbody { @for known in status.certificates.iter().take(ROWS) { tr {
                    th scope="row" { (known.name) } td { (known.listener) } td { (time(&known.end.not_after, status.now)) } td.number { (known.end.days_left) }
                } } }
            } }
        }
    }
}
