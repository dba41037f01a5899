//! Reads sizes of budgets and quotas. A tenant's override the file's, which override the vendor's free tier.

use std::num::NonZeroU32;
use std::time::Duration;

use super::reader::{ConfigValue, Section, Zero};
use super::values::{BudgetLimit, BudgetLimits};
use crate::operation::BudgetName;

/// The vendor's free tier, in calls per minute. The day budgets are off unless configured.
pub(super) fn free_tier() -> BudgetLimits {
    BudgetLimits::from_fn(|name| {
        let limit = match name {
            BudgetName::Push | BudgetName::Device => 600,
            BudgetName::File => 20,
            BudgetName::Schedule => 100,
            BudgetName::Report => 2400,
            BudgetName::Broadcast | BudgetName::OppoBig | BudgetName::OppoIcon => return None,
        };
        Some(BudgetLimit { limit: NonZeroU32::new(limit)?, window: Duration::from_mins(1), burst: None })
    })
}

/// Reads a `budgets` section. A budget that it leaves out is inherited.
pub(super) fn read(parent: &mut Section<'_>, inherited: &BudgetLimits) -> BudgetLimits {
    let mut section = parent.section("budgets");
    BudgetLimits::from_fn(|name| {
        let inherited = inherited.of(name);
        section.get(name.as_str()).map_or(inherited, |value| read_one(&value, inherited))
    })
}

/// Reads `{ limit, window, burst }`. Limit and window are required where there is nothing to inherit from.
pub(super) fn read_one(value: &ConfigValue<'_>, inherited: Option<BudgetLimit>) -> Option<BudgetLimit> {
    let mut section = value.section();
    let (limit, window, burst) = match inherited {
        None => (section.required("limit"), section.required("window"), section.get("burst")),
        Some(_) => (section.get("limit"), section.get("window"), section.get("burst")),
    };
    let limit = limit.map_or(inherited.map(|budget| budget.limit), |value| value.positive(u32::MAX));
    let window = window.map_or(inherited.map(|budget| budget.window), |value| read_window(&value));
    let inherited_burst = inherited.and_then(|budget| budget.burst);
    let burst = burst.map_or(inherited_burst, |value| value.positive(u32::MAX));
    let (limit, window) = (limit?, window?);
    match burst {
        Some(burst) if burst > limit => {
            value.refuse(format!("a burst of {burst} can never be had within a limit of {limit}"))
        }
        burst => Some(BudgetLimit { limit, window, burst }),
    }
}

fn read_window(value: &ConfigValue<'_>) -> Option<Duration> {
    match value.duration(Zero::Refused)? {
        window if window < Duration::from_millis(1) => value.refuse("must be at least 1ms"),
        window => Some(window),
    }
}
