//! The page for people: problems first, then the last hour, the vendor, budgets, refusals and callers.
//!
//! It works without scripts, loads nothing from elsewhere, and loads itself again every ten seconds, but for the page with
//! the form. Every value is escaped by the templates.

mod charts;
mod find;
mod style;
mod times;
mod vendor;

use std::cmp::Reverse;
use std::time::SystemTime;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub(super) use find::{Found, find};
use style::STYLE;
pub(super) use style::{FORM_POLICY, POLICY};
use times::{marked, time};

use super::status::{BudgetReport, CallerReport, Status, TokenReport, whole};
use crate::telemetry::recent::RefusalGroup;

/// Rows of a table on one page.
pub(super) const ROWS: usize = 50;

/// The pages of the tables that are asked for, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pages {
    budgets: usize,
    callers: usize,
}

impl Pages {
    /// Reads `?budgets=2&callers=3`; what is not there or no number is the first page.
    pub(super) fn of(query: Option<&str>) -> Self {
        let page = |name: &str| {
            let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse().ok());
            found.filter(|page| *page > 0).unwrap_or(1)
        };
        Self { budgets: page("budgets"), callers: page("callers") }
    }
}

/// The page of everything.
pub(super) fn overview(status: &Status, pages: Pages) -> Markup {
    let all = all_budgets(status, |_| true);
    let mut callers: Vec<_> = status.callers.iter().collect();
    callers.sort_by_key(|(_, caller)| Reverse((caller.refusals, last_use(caller))));
    let refusals: Vec<_> = status.refusals.iter().collect();
    frame(
        status,
        "jpush-gateway",
        Refresh::EveryTenSeconds,
        &html! {
            (problems(status))
            (charts::charts(&status.last_hour, &status.busiest_budgets))
            h2 { "Vendor" }
            (vendor::hosts(status))
            h2 id="budgets" { "Budgets" }
            @if all.is_empty() { p.soft { "No budget was used since the start." } }
            @else { (budgets(&page_of(&all, pages.budgets))) (links(all.len(), pages.budgets, &|page| format!("/?budgets={page}#budgets"))) }
            h2 { "Refusals of the last hour" }
            (refusal_table(&refusals, status.now))
            h2 id="callers" { "Callers" }
            (caller_table(&page_of(&callers, pages.callers), status.now))
            (links(callers.len(), pages.callers, &|page| format!("/?callers={page}#callers")))
            h2 { "Certificates" }
            (vendor::certificates(status))
        },
    )
}

/// The page of a tenant; `None` if there is none of this name.
pub(super) fn tenant(status: &Status, name: &str) -> Option<Markup> {
    let credentials = status.tenants.get(name)?;
    let own = all_budgets(status, |tenant| tenant == name);
    let refusals: Vec<_> =
        status.refusals.iter().filter(|group| group.tenant.as_deref() == Some(name)).collect();
    Some(frame(
        status,
        name,
        Refresh::EveryTenSeconds,
        &html! {
            h2 { "Tenant " (name) }
            div.scroll { table {
                thead { tr { th scope="col" { "credential" } th scope="col" { "key" } } }
                tbody { @for (kind, credential) in credentials { tr { th scope="row" { (kind) } td { (credential.key) } } } }
            } }
            h2 { "Budgets" }
            @if own.is_empty() { p.soft { "None was used since the start." } } @else { (budgets(&own)) }
            @for (_, kind, name, budget) in own.iter().filter(|(.., budget)| !budget.callers.is_empty()) {
                h2 { "Who used " (kind) " " (name) }
                div.scroll { table {
                    thead { tr { th scope="col" { "caller" } th.number scope="col" { "this window" } th.number scope="col" { "last hour" } } }
                    tbody { @for (caller, calls) in &budget.callers { tr {
                        th scope="row" { (caller_link(caller)) } td.number { (calls.window) } td.number { (calls.last_hour) }
                    } } }
                } }
            }
            h2 { "Refusals of the last hour" }
            (refusal_table(&refusals, status.now))
        },
    ))
}

/// The page of a caller; `None` if there is none of this name.
pub(super) fn caller(status: &Status, name: &str) -> Option<Markup> {
    let report = status.callers.get(name)?;
    let refusals: Vec<_> =
        status.refusals.iter().filter(|group| group.caller.as_deref() == Some(name)).collect();
    let used = all_budgets(status, |_| true);
    let used: Vec<_> = used.iter().filter_map(|row| Some((row, row.3.callers.get(name)?))).collect();
    let access = |kind: &str, entries: &std::collections::BTreeMap<String, TokenReport>| {
        html! {
            @for (name, entry) in entries { tr {
                th scope="row" { (kind) " " (name) } td { @match &entry.last_use { Some(last) => (time(last, status.now)), None => "never, or before the last start" } }
            } }
        }
    };
    Some(frame(
        status,
        name,
        Refresh::EveryTenSeconds,
        &html! {
            h2 { "Caller " (name) }
            @if let Some(quota) = &report.quota {
                p { "Quota: " (quota.used) " of " (quota.limit) " used in " (whole(quota.window_seconds)) "." }
            }
            div.scroll { table {
                thead { tr { th scope="col" { "credentials" } th scope="col" { "last use" } } }
                tbody { (access("token", &report.tokens)) (access("certificate", &report.certificates)) }
            } }
            h2 { "Calls" }
            @if used.is_empty() { p.soft { "None in the last hour." } } @else {
                div.scroll { table {
                    thead { tr { th scope="col" { "budget" } th.number scope="col" { "this window" } th.number scope="col" { "last hour" } } }
                    tbody { @for ((tenant, kind, budget, _), calls) in &used { tr {
                        th scope="row" { (tenant_link(tenant)) " " (kind) " " (budget) }
                        td.number { (calls.window) } td.number { (calls.last_hour) }
                    } } }
                } }
            }
            h2 { "Refusals of the last hour" }
            (refusal_table(&refusals, status.now))
        },
    ))
}

/// When a page loads itself again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refresh {
    EveryTenSeconds,
    Never,
}

fn frame(status: &Status, title: &str, refresh: Refresh, body: &Markup) -> Markup {
    let uptime =
        humantime::format_duration(std::time::Duration::from_secs(status.uptime_seconds)).to_string();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if refresh == Refresh::EveryTenSeconds { meta http-equiv="refresh" content="10"; }
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { a href="/" { "jpush-gateway" } }
                    @if status.ready { span.state.good { "ready" } } @else { span.state.bad { "not ready" } }
                    span.soft { (status.version) ", up " (uptime) ", process " (status.pid) }
                    span.soft { (status.in_flight_requests) " requests, " (status.connections) " connections" }
                    nav { a href="/find" { "Find a tenant or caller" } }
                }
                main { (body) }
                footer {
                    "Configuration " code { (status.config.digest.get(..12).unwrap_or_default()) } " of " (time(&status.config.loaded, status.now))
                    @if let Some(state) = status.state_file { ". State file: " (state) }
                    @if let Some(store) = status.store { ". Store: " (store) }
                    ". " a href="/status" { "JSON" } " · " a href="/metrics" { "metrics" }
                }
            }
        }
    }
}

fn problems(status: &Status) -> Markup {
    html! {
        @if status.problems.is_empty() { p.well { b.good { "All is well." } " Nothing needs you." } } @else {
            ul.problems { @for problem in &status.problems {
                li.urgent[problem.urgent] { b { (marked(&problem.what, status.now)) } (problem.cure) }
            } }
        }
    }
}

type BudgetRow<'s> = (&'s str, &'s str, &'s str, &'s BudgetReport);

/// The budgets that were used, the fullest first.
fn all_budgets(status: &Status, of_tenant: impl Fn(&str) -> bool) -> Vec<BudgetRow<'_>> {
    let mut rows: Vec<BudgetRow<'_>> = Vec::new();
    for (tenant, credentials) in status.tenants.iter().filter(|(tenant, _)| of_tenant(tenant)) {
        for (kind, credential) in credentials {
            let used = credential.budgets.iter().filter(|(_, budget)| budget.is_used());
            rows.extend(used.map(|(name, budget)| (tenant.as_str(), *kind, *name, budget)));
        }
    }
    let left = |budget: &BudgetReport| u64::from(budget.remaining) * 10_000 / u64::from(budget.limit.max(1));
    rows.sort_by_key(|(.., budget)| (!budget.holding_back, left(budget), Reverse(budget.waiting)));
    rows
}

fn budgets(rows: &[BudgetRow<'_>]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "tenant" } th scope="col" { "budget" } th scope="col" { "in use" } th.number scope="col" { "left" }
                th.number scope="col" { "waiting" } th.number scope="col" { "by others" } th scope="col" { "more in" } th scope="col" { "most by" }
            } }
            tbody { @for (tenant, kind, name, budget) in rows {
                @let part = 100.0 - f64::from(budget.remaining.min(budget.limit)) / f64::from(budget.limit.max(1)) * 100.0;
                @let top = budget.callers.iter().max_by_key(|(_, calls)| calls.window);
                tr {
                    th scope="row" { (tenant_link(tenant)) }
                    td { (kind) " " (name) @if budget.holding_back { " " span.bad { "held back" } } }
                    td {
                        (budget.used) " of " (budget.limit) " in " (whole(budget.window_seconds))
                        svg.bar viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true" {
                            rect.full[part >= 100.0].high[(80.0..100.0).contains(&part)] width=(format!("{part:.1}")) height="1" {}
                        }
                        @if let Some(limit) = budget.vendor_limit.filter(|limit| *limit < budget.limit) {
                            span.warn { "the vendor allows " (limit) }
                        }
                    }
                    td.number { (budget.remaining) } td.number { (budget.waiting) } td.number { (budget.foreign_used) }
                    td { @if budget.reset_seconds > 0.0 { (whole(budget.reset_seconds)) } @else { "–" } }
                    td { @if let Some((caller, calls)) = top { (caller_link(caller)) " " (calls.window) } }
                }
            } }
        } }
    }
}

fn refusal_table(groups: &[&RefusalGroup], now: SystemTime) -> Markup {
    html! {
        @if groups.is_empty() { p.soft { "None." } } @else {
            div.scroll { table {
                thead { tr {
                    th.number scope="col" { "count" } th scope="col" { "caller" } th scope="col" { "reason" } th scope="col" { "call" }
                    th scope="col" { "last" } th scope="col" { "for example" }
                } }
                tbody { @for group in groups.iter().take(ROWS) { tr {
                    td.number { (group.count) }
                    th scope="row" { @match &group.caller { Some(caller) => (caller_link(caller)), None => { em { "strangers" } } } }
                    td { (group.reason) @if let Some(rule) = group.rule { br; span.soft { (rule) } } }
                    td { (group.operation.unwrap_or("–")) @if let Some(tenant) = &group.tenant { br; (tenant_link(tenant)) } }
                    td { (time(&group.last, now)) }
                    td.text { (group.message) br; span.soft { "request " (group.request_id) } }
                } } }
            } }
            @if groups.len() > ROWS { p.soft { (groups.len() - ROWS) " more groups are in " a href="/status" { "JSON" } "." } }
        }
    }
}

fn caller_table(rows: &[(&String, &CallerReport)], now: SystemTime) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "caller" } th.number scope="col" { "refusals" } th scope="col" { "quota" } th scope="col" { "last use of each token" }
            } }
            tbody { @for (name, caller) in rows { tr {
                th scope="row" { (caller_link(name)) }
                td.number { (caller.refusals) }
                td { @match &caller.quota { Some(quota) => { (quota.used) " of " (quota.limit) " in " (whole(quota.window_seconds)) }, None => "–" } }
                td { @for (token, entry) in caller.tokens.iter().chain(&caller.certificates) {
                    div { (token) " " @match &entry.last_use { Some(last) => (time(last, now)), None => { span.soft { "never" } } } }
                } }
            } } }
        } }
    }
}

/// The rows of one page.
fn page_of<T: Clone>(rows: &[T], page: usize) -> Vec<T> {
    rows.iter().skip((page - 1).saturating_mul(ROWS)).take(ROWS).cloned().collect()
}

/// Links to the pages of a table, if it has more than one.
fn links(count: usize, page: usize, address: &dyn Fn(usize) -> String) -> Markup {
    let last = count.div_ceil(ROWS);
    html! {
        @if last > 1 { p.pages {
            @if page > 1 { a href=(address(page.min(last + 1) - 1)) { "before" } " · " }
            "page " (page) " of " (last)
            @if page < last { " · " a href=(address(page + 1)) { "next" } }
        } }
    }
}

/// Names of tenants and callers are of letters that need no escaping in a path.
fn tenant_link(name: &str) -> Markup {
    html! { a href={ "/tenants/" (name) } { (name) } }
}

fn caller_link(name: &str) -> Markup {
    html! { a href={ "/callers/" (name) } { (name) } }
}

fn last_use(caller: &CallerReport) -> Option<&str> {
    caller
        .tokens
        .values()
        .chain(caller.certificates.values())
        .filter_map(|token| token.last_use.as_deref())
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_numbers_from_one() {
        let read = |query| {
            let Pages { budgets, callers } = Pages::of(query);
            (budgets, callers)
        };
        assert_eq!(read(None), (1, 1));
        assert_eq!(read(Some("budgets=2&callers=17")), (2, 17));
        assert_eq!(read(Some("budgets=0&callers=-1&x=9")), (1, 1));
        assert_eq!(read(Some("budgets=99999999999999999999999&callers=")), (1, 1));
        assert_eq!(page_of(&[1, 2, 3], usize::MAX), [0; 0]);
        assert_eq!(page_of(&(0..120).collect::<Vec<_>>(), 3).len(), 20);
    }
}
