//! The last hour as small charts, drawn in SVG.

use std::fmt::Write;

use maud::{Markup, html};

use super::tenant_link;
use crate::admin::busiest::BusyBudget;
use crate::telemetry::history::{MINUTES, MinuteReport};

/// The width of a minute and the height of a chart, in units of the drawing.
const WIDTH: usize = 10;
const HEIGHT: f64 = 100.0;

/// All charts.
pub(super) fn charts(hour: &[MinuteReport], busiest: &[BusyBudget]) -> Markup {
    html! {
        div.charts { (calls(hour)) (latency(hour)) }
        @if !busiest.is_empty() { div.charts { (budgets(busiest)) } }
    }
}

fn view_box() -> String {
    format!("0 0 {} {HEIGHT}", MINUTES * WIDTH)
}

/// Requests by minute, stacked by how they ended.
fn calls(hour: &[MinuteReport]) -> Markup {
    let all = |minute: &MinuteReport| minute.good + minute.limited + minute.refused + minute.failed;
    let (most, sum) = (hour.iter().map(all).max().unwrap_or(0).max(1), hour.iter().map(all).sum::<u32>());
    let height = |count: u32| f64::from(count) / f64::from(most) * HEIGHT;
    html! {
        figure {
            figcaption {
                b { "Requests a minute" }
                span.soft { (sum) " in the last hour, at most " (hour.iter().map(all).max().unwrap_or(0)) " a minute" }
            }
            svg viewBox=(view_box()) preserveAspectRatio="none" role="img" aria-label=(format!("Requests by minute in the last hour, {sum} in all")) {
                @for (at, minute) in hour.iter().enumerate() {
                    @let parts = [(minute.good, "var(--fill)"), (minute.limited, "var(--limited)"), (minute.refused, "var(--refused)"), (minute.failed, "var(--failed)")];
                    @for (place, (count, colour)) in parts.iter().enumerate().filter(|(_, (count, _))| *count > 0) {
                        @let below: f64 = parts[..place].iter().map(|(count, _)| height(*count)).sum();
                        rect x=(at * WIDTH + 1) width=(WIDTH - 2) y=(format!("{:.2}", HEIGHT - below - height(*count))) height=(format!("{:.2}", height(*count))) fill=(colour) {}
                    }
                }
            }
            figcaption {
                span.key.k-good { "answered" } span.key.k-limited { "429" } span.key.k-refused { "refused" } span.key.k-failed { "failed" }
            }
        }
    }
}

/// The vendor's time by minute: half of the answers, and all but one of a hundred.
fn latency(hour: &[MinuteReport]) -> Markup {
    let slowest = hour.iter().filter_map(|minute| minute.vendor_p99_ms).max();
    // A logarithmic scale: each step is twice as long as the one below it.
    let top = f64::from(slowest.unwrap_or(1).max(2)).log2() + 1.0;
    let height = |millis: u32| (f64::from(millis).log2() + 1.0) / top * HEIGHT;
    let last = hour.iter().rev().find(|minute| minute.vendor_answers > 0);
    html! {
        figure {
            figcaption {
                b { "The vendor's time" }
                span.soft {
                    @match last {
                        Some(last) => { "last: half in " (millis(last.vendor_p50_ms)) ", 99 of 100 in " (millis(last.vendor_p99_ms)) }
                        None => { "no answers in the last hour" }
                    }
                }
            }
            svg viewBox=(view_box()) preserveAspectRatio="none" role="img" aria-label="The vendor's time by minute in the last hour" {
                @for (at, minute) in hour.iter().enumerate() {
                    @for (value, colour) in [(minute.vendor_p99_ms, "var(--line)"), (minute.vendor_p50_ms, "var(--fill)")] {
                        @if let Some(value) = value {
                            rect x=(at * WIDTH + 1) width=(WIDTH - 2) y=(format!("{:.2}", HEIGHT - height(value))) height=(format!("{:.2}", height(value))) fill=(colour) {}
                        }
                    }
                }
            }
            figcaption {
                span.key.k-good { "half of the answers" } span.key { "99 of 100" }
                @if let Some(slowest) = slowest { span.soft { "top: " (millis(Some(slowest))) } }
            }
        }
    }
}

/// The budgets that came closest to their limits, each with a row of its own.
fn budgets(busiest: &[BusyBudget]) -> Markup {
    html! {
        figure {
            figcaption {
                b { "Budgets in use" }
                span.soft { "the most at once in each minute; the full height is the limit" }
            }
            @for busy in busiest {
                @let most = busy.most();
                div.row {
                    span { (tenant_link(&busy.tenant)) " " (busy.credential) " " (busy.budget) }
                    svg viewBox=(view_box()) preserveAspectRatio="none" role="img" aria-label=(format!("Use of this budget by minute in the last hour, at most {most} %")) {
                        // The colours are those of the table's bars.
                        @for (class, range) in [("low", 1..80), ("high", 80..100), ("full", 100..u32::MAX)] {
                            @let bars = bars(&busy.percent, &range);
                            @if !bars.is_empty() { path.(class) d=(bars) {} }
                        }
                    }
                    span.number { "at most " (most) " %" }
                }
            }
        }
    }
}

/// The outlines of the bars whose share is in a range: one path is much shorter than sixty elements.
fn bars(percent: &[u32], range: &std::ops::Range<u32>) -> String {
    let mut path = String::new();
    let shown = percent.iter().enumerate().filter(|(_, share)| range.contains(share));
    for (at, share) in shown {
        let (left, width, height) = (at * WIDTH + 1, WIDTH - 2, (*share).min(100));
        write!(path, "M{left} {HEIGHT}v-{height}h{width}v{height}z")
            .expect("writing to a String cannot fail");
    }
    path
}

/// A time, or a dash where there is none.
pub(super) fn millis(value: Option<u32>) -> String {
    match value {
        Some(value @ ..1000) => format!("{value} ms"),
        Some(value) => format!("{:.1} s", f64::from(value) / 1000.0),
        None => "–".to_owned(),
    }
}
