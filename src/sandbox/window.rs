//! Counts calls as the vendor does: per key and budget, in windows that start with a call or that slide.
//!
//! Besides deciding, a counter keeps a figure that tests check: the most calls it counted in any window at all.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::accounts::Account;
use crate::config::VendorKey;
use crate::operation::BudgetName;

/// Kind of the vendor's windows. Its documentation gives their length only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// A window starts with the first call after the previous one ended.
    Fixed,
    /// Every call counts for one window's length from its arrival.
    Sliding,
}

/// Values of the rate headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RateStatus {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    pub(super) reset: Duration,
}

/// Counted calls of one key on one budget.
#[derive(Debug)]
pub(super) struct CallCounts {
    limit: u32,
    window: Duration,
    windows: Windows,
    /// Time of the first call in the current fixed window.
    start: Option<Instant>,
    /// Calls counted in the current fixed window.
    used: u32,
    /// Arrival times of calls counted less than a window ago, oldest first; at most twice the limit.
    recent: VecDeque<Instant>,
    latest: Option<Instant>,
    /// The most calls counted in any half-open window, wherever it starts.
    pub(super) most_in_any_window: usize,
    pub(super) total: u64,
    pub(super) refused: u64,
}

impl CallCounts {
    pub(super) fn new(limit: u32, window: Duration, windows: Windows) -> Self {
        Self {
            limit,
            window,
            windows,
            start: None,
            used: 0,
            recent: VecDeque::new(),
            latest: None,
            most_in_any_window: 0,
            total: 0,
            refused: 0,
        }
    }

    /// Moves to `now`. A time before the latest call is taken for that call's time.
    fn advance(&mut self, now: Instant) -> Instant {
        let now = self.latest.map_or(now, |latest| latest.max(now));
        while self.recent.front().is_some_and(|&front| now.duration_since(front) >= self.window) {
            self.recent.pop_front();
        }
        if self.start.is_some_and(|start| now.duration_since(start) >= self.window) {
            self.start = None;
            self.used = 0;
        }
        now
    }

    /// Whether the vendor would accept one more call.
    pub(super) fn has_room(&mut self, now: Instant) -> bool {
        self.rate_status(now).remaining > 0
    }

    /// Counts a call that arrived at `now`.
    pub(super) fn count(&mut self, now: Instant) {
        let now = self.advance(now);
        self.start.get_or_insert(now);
        self.used = self.used.saturating_add(1);
        self.recent.push_back(now);
        self.latest = Some(now);
        self.most_in_any_window = self.most_in_any_window.max(self.recent.len());
        self.total += 1;
    }

    /// Values of the rate headers at `now`.
    pub(super) fn rate_status(&mut self, now: Instant) -> RateStatus {
        let now = self.advance(now);
        let (used, since) = match self.windows {
            Windows::Fixed => (self.used, self.start),
            Windows::Sliding => {
                (u32::try_from(self.recent.len()).unwrap_or(u32::MAX), self.recent.front().copied())
            }
        };
        let elapsed = since.map_or(Duration::ZERO, |since| now.duration_since(since));
        RateStatus {
            limit: self.limit,
            remaining: self.limit.saturating_sub(used),
            reset: self.window.saturating_sub(elapsed),
        }
    }
}

/// Outcome of counting a call.
#[derive(Debug)]
pub(super) struct Charge {
    /// Whether the call was counted on a budget.
    pub(super) counted: bool,
    /// The budget that was used up, if one was.
    pub(super) refused_by: Option<BudgetName>,
    /// Values of the rate headers: of the budget that was used up, or else of the call's own.
    pub(super) rate_status: Option<RateStatus>,
}

/// All counters, created when first used; at most accounts times budgets.
#[derive(Debug)]
pub(super) struct CallCounters {
    /// Length of all windows but the daily ones, in place of the configured lengths.
    window: Option<Duration>,
    windows: Windows,
    by_budget: HashMap<(VendorKey, BudgetName), CallCounts>,
}

impl CallCounters {
    pub(super) fn new(window: Option<Duration>, windows: Windows) -> Self {
        Self { window, windows, by_budget: HashMap::new() }
    }

    /// Counts a call on all of `minute` or on none. Daily budgets come after that: a call that the vendor refuses for a
    /// daily limit has used up its place in the minute.
    pub(super) fn charge(
        &mut self,
        account: &Account,
        minute: &[BudgetName],
        day: &[BudgetName],
        now: Instant,
    ) -> Charge {
        let own = minute.first().copied();
        if let Some(full) = self.refuse(account, minute, now) {
            let rate_status = self.rate_status(account, Some(full), now);
            return Charge { counted: false, refused_by: Some(full), rate_status };
        }
        let mut counted = self.count(account, minute, now);
        let refused_by = self.refuse(account, day, now);
        if refused_by.is_none() {
            counted |= self.count(account, day, now);
        }
        Charge { counted, refused_by, rate_status: self.rate_status(account, own, now) }
    }

    fn rate_status(
        &mut self,
        account: &Account,
        name: Option<BudgetName>,
        now: Instant,
    ) -> Option<RateStatus> {
        Some(self.counter(account, name?)?.rate_status(now))
    }

    fn refuse(&mut self, account: &Account, names: &[BudgetName], now: Instant) -> Option<BudgetName> {
        let full = names
            .iter()
            .copied()
            .find(|&name| self.counter(account, name).is_some_and(|counter| !counter.has_room(now)))?;
        if let Some(counter) = self.counter(account, full) {
            counter.refused += 1;
        }
        Some(full)
    }

    fn count(&mut self, account: &Account, names: &[BudgetName], now: Instant) -> bool {
        let mut counted = false;
        for &name in names {
            if let Some(counter) = self.counter(account, name) {
                counter.count(now);
                counted = true;
            }
        }
        counted
    }

    fn counter(&mut self, account: &Account, name: BudgetName) -> Option<&mut CallCounts> {
        let size = account.limits.of(name)?;
        let (override_, windows) = (self.window, self.windows);
        Some(self.by_budget.entry((account.key.clone(), name)).or_insert_with(|| {
            let window = if is_daily(name) { size.window } else { override_.unwrap_or(size.window) };
            CallCounts::new(size.limit.get(), window, windows)
        }))
    }

    /// All counters in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&VendorKey, BudgetName, &CallCounts)> {
        self.by_budget.iter().map(|((key, name), counter)| (key, *name, counter))
    }

    /// Forgets all calls.
    pub(super) fn clear(&mut self) {
        self.by_budget.clear();
    }
}

const fn is_daily(name: BudgetName) -> bool {
    matches!(name, BudgetName::Broadcast | BudgetName::OppoBig | BudgetName::OppoIcon)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Checks which calls at these milliseconds are counted, and the most in any window; the limit is 2 in 100 ms.
    fn check(windows: Windows, calls: &[(u64, bool)], most: usize) {
        let start = Instant::now();
        let mut counter = CallCounts::new(2, Duration::from_millis(100), windows);
        for &(at, expected) in calls {
            let now = start + Duration::from_millis(at);
            let room = counter.has_room(now);
            assert_eq!(room, expected, "{windows:?}: call at {at} of {calls:?}");
            if room {
                counter.count(now);
            }
        }
        assert_eq!(counter.most_in_any_window, most, "{windows:?}: {calls:?}");
    }

    #[test]
    fn fixed_windows_start_with_a_call() {
        check(Windows::Fixed, &[(0, true), (1, true), (2, false), (99, false), (100, true)], 2);
        check(Windows::Fixed, &[(0, true), (99, true), (100, true), (101, true), (102, false)], 3);
        check(
            Windows::Fixed,
            &[(0, true), (99, true), (250, true), (300, true), (349, false), (350, true)],
            2,
        );
        // Calls earlier than the latest one count as simultaneous with it: the clock of another thread may lag.
        check(Windows::Fixed, &[(50, true), (0, true), (149, false), (150, true)], 2);
    }

    #[test]
    fn sliding_windows_follow_each_call() {
        check(Windows::Sliding, &[(0, true), (99, true), (100, true), (101, false), (199, true)], 2);
        check(
            Windows::Sliding,
            &[(0, true), (0, true), (99, false), (100, true), (100, true), (101, false)],
            2,
        );
    }

    #[test]
    fn the_headers_count_down() {
        let start = Instant::now();
        for windows in [Windows::Fixed, Windows::Sliding] {
            let mut counter = CallCounts::new(2, Duration::from_mins(1), windows);
            let at = |seconds| start + Duration::from_secs(seconds);
            let seen = |counter: &mut CallCounts, seconds| {
                let rate_status = counter.rate_status(at(seconds));
                (rate_status.limit, rate_status.remaining, rate_status.reset.as_secs())
            };
            assert_eq!(seen(&mut counter, 5), (2, 2, 60));
            counter.count(at(10));
            assert_eq!(seen(&mut counter, 10), (2, 1, 60));
            assert_eq!(seen(&mut counter, 55), (2, 1, 15));
            assert_eq!(seen(&mut counter, 70), (2, 2, 60));
        }
    }

    proptest! {
        /// The figure equals its definition, and no sliding window is ever over its limit.
        #[test]
        fn the_most_in_any_window_is_exact(
            mut calls in prop::collection::vec(0_u64..1000, 0..80),
            limit in 1_u32..8,
            sliding: bool,
        ) {
            calls.sort_unstable();
            let windows = if sliding { Windows::Sliding } else { Windows::Fixed };
            let start = Instant::now();
            let mut counter = CallCounts::new(limit, Duration::from_millis(100), windows);
            let counted: Vec<u64> = calls
                .into_iter()
                .filter(|&at| {
                    let now = start + Duration::from_millis(at);
                    let room = counter.has_room(now);
                    if room {
                        counter.count(now);
                    }
                    room
                })
                .collect();
            let from = |first: u64| counted.iter().filter(|&&at| (first..first + 100).contains(&at)).count();
            let most = counted.iter().map(|&first| from(first)).max().unwrap_or(0);
            prop_assert_eq!(counter.most_in_any_window, most);
            let bound = limit as usize * if sliding { 1 } else { 2 };
            prop_assert!(most <= bound, "{} of {}", most, bound);
        }
    }
}
