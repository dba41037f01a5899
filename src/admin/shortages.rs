//! The problems about budgets that give nothing: held back for a cause that they share, or used up, each by itself.

use std::cmp::Reverse;

use super::status::{BudgetReport, Problem, Status, whole};
use crate::budget::Cause;

/// What helps where budgets are held back.
pub(super) const HELD_BACK_CURE: &str = "Wait. If it does not end, or comes again, the section JPushBudgetHeldBack of the runbook says what to look for.";

/// How a budget that gives nothing is told.
enum Told {
    /// In one problem with all others of this cause.
    Together { because: &'static str },
    /// In a problem of its own.
    Alone { what: String, cure: &'static str },
    /// By the problem that is its cause, or not at all because it is no problem.
    Elsewhere,
}

/// A budget that gives nothing, with its tenant, credential and name.
struct Shortage<'s> {
    tenant: &'s str,
    credential: &'static str,
    name: &'static str,
    budget: &'s BudgetReport,
    cause: Cause,
}

/// One problem for all budgets that are held back for the same cause.
pub(super) fn held_back(status: &Status) -> Vec<Problem> {
    let mut groups: Vec<(&str, Vec<f64>)> = Vec::new();
    for shortage in shortages(status) {
        let Told::Together { because } = shortage.told() else { continue };
        let seconds = shortage.budget.reset_seconds;
        match groups.iter_mut().find(|(known, _)| *known == because) {
            Some((_, times)) => times.push(seconds),
            None => groups.push((because, vec![seconds])),
        }
    }
    let told = groups.into_iter().map(|(because, times)| {
        let first = whole(times.iter().copied().fold(f64::INFINITY, f64::min));
        let last = whole(times.iter().copied().fold(0.0, f64::max));
        let budgets = match times.len() {
            1 => "1 budget is".to_owned(),
            count => format!("{count} budgets are"),
        };
        let until =
            if first == last { first } else { format!("{first} for the first and {last} for the last") };
        let what = format!("{budgets} held back, because {because}; this ends by itself in {until}.");
        Problem::new(true, what, HELD_BACK_CURE)
    });
    told.collect()
}

/// Whether a budget is told to be held back by the store.
pub(super) fn store_holds_back(status: &Status) -> bool {
    shortages(status).any(|shortage| matches!(shortage.cause, Cause::StoreHoldsBack(_)))
}

/// The budgets that are used up, those with the most waiting calls first.
pub(super) fn used_up(status: &Status) -> Vec<Problem> {
    let mut found: Vec<_> = shortages(status)
        .filter_map(|shortage| match shortage.told() {
            Told::Alone { what, cure } => Some((shortage.budget.waiting, what, cure)),
            Told::Together { .. } | Told::Elsewhere => None,
        })
        .collect();
    found.sort_by_key(|(waiting, ..)| Reverse(*waiting));
    let left_out = found.len().saturating_sub(Problem::OF_A_KIND_MAX);
    let mut problems: Vec<_> = found
        .into_iter()
        .take(Problem::OF_A_KIND_MAX)
        .map(|(_, what, cure)| Problem::new(true, what, cure))
        .collect();
    if left_out > 0 {
        let what = format!("{left_out} more budgets are used up.");
        problems.push(Problem::new(true, what, "The table of budgets has them, the worst first."));
    }
    problems
}

fn shortages(status: &Status) -> impl Iterator<Item = Shortage<'_>> {
    status.tenants.iter().flat_map(|(tenant, credentials)| {
        credentials.iter().flat_map(move |(credential, report)| {
            report.budgets.iter().filter_map(move |(name, budget)| {
                Some(Shortage { tenant, credential, name, budget, cause: budget.shortage? })
            })
        })
    })
}

impl Shortage<'_> {
    fn told(&self) -> Told {
        let BudgetReport { limit, used, .. } = self.budget;
        match self.cause {
            Cause::CallsUnknown => {
                Told::Together { because: "the state file does not tell which calls were made before" }
            }
            Cause::StoreHoldsBack(_) => Told::Together {
                because: "the store of the shared budgets does not know which calls were made before",
            },
            Cause::UsedUp | Cause::OwnPartClosed => self.alone(
                &format!("is used up: {used} of {limit}"),
                "Give the greedy caller a quota, or ask the vendor for a higher limit.",
            ),
            Cause::VendorLimit(fewer) => self.alone(
                &format!("is used up: {used} of {fewer}, which is all that the vendor allows at present"),
                "The vendor allows less than the configuration says: correct the limit, or ask the vendor.",
            ),
            Cause::VendorExhausted => self.alone(
                &format!("is used up, as the vendor says: {used} of {limit} here"),
                "Others may use the same key: find out who has its master secret.",
            ),
            // That the store is away is a problem itself, and a store that was not asked yet is none; calls that are
            // kept for others or spread over time are what the configuration wants.
            Cause::StoreAway(_) | Cause::NotNow => Told::Elsewhere,
        }
    }

    fn alone(&self, how: &str, cure: &'static str) -> Told {
        let Self { tenant, credential, name, budget, .. } = self;
        let top =
            budget.callers.iter().max_by_key(|(_, calls)| calls.window).filter(|(_, calls)| calls.window > 0);
        let top =
            top.map(|(caller, calls)| format!(", {} of them by {caller}", calls.window)).unwrap_or_default();
        let (waiting, frees) = (budget.waiting, whole(budget.reset_seconds));
        let what =
            format!("{tenant}/{credential}: the {name} budget {how}{top}; {waiting} wait, more in {frees}.");
        Told::Alone { what, cure }
    }
}
