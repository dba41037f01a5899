//! The budgets that came closest to their limits in the last hour, minute by minute.

use std::cmp::Reverse;

use serde::Serialize;

use crate::budget::{Budget, Timestamp};
use crate::tenant::{CredentialKind, Directory};

/// Budgets that are shown.
const BUDGETS_MAX: usize = 6;

/// The share of a budget's present limit that was in use in the last hour.
#[derive(Serialize)]
pub(super) struct BusyBudget {
    pub(super) tenant: String,
    pub(super) credential: &'static str,
    pub(super) budget: &'static str,
    /// The highest share of each minute in percent, the present minute last.
    pub(super) percent: Vec<u32>,
}

impl BusyBudget {
    /// The highest share of the hour in percent.
    pub(super) fn most(&self) -> u32 {
        self.percent.iter().copied().max().unwrap_or(0)
    }
}

/// The budgets with the highest share, the highest first.
pub(super) fn budgets(directory: &Directory, now: Timestamp) -> Vec<BusyBudget> {
    let mut found: Vec<BusyBudget> = Vec::new();
    for tenant in &directory.tenants {
        for (kind, credential) in
            CredentialKind::ALL.into_iter().filter_map(|kind| Some((kind, tenant.credential(kind)?)))
        {
            found.extend(credential.budgets().filter_map(|budget| {
                let percent = percent(budget, now)?;
                let tenant = tenant.name.clone();
                Some(BusyBudget {
                    tenant,
                    credential: kind.as_str(),
                    budget: budget.name().as_str(),
                    percent,
                })
            }));
        }
        // The list stays short, however many tenants there are.
        found.sort_by_key(|busy| Reverse(busy.most()));
        found.truncate(BUDGETS_MAX);
    }
    found.retain(|busy| busy.most() > 0);
    found
}

/// Shares are rounded down, so that only a full budget has all of it, but one call of many is seen.
fn percent(budget: &Budget, now: Timestamp) -> Option<Vec<u32>> {
    let peaks = budget.peaks(now)?;
    let limit = u64::from(budget.status(now).limit.max(1));
    let share = |used: u32| {
        let percent = (u64::from(used) * 100 / limit).max(u64::from(used.min(1)));
        u32::try_from(percent).unwrap_or(u32::MAX)
    };
    Some(peaks.into_iter().map(share).collect())
}
