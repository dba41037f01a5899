//! Random schedules that can be repeated by their seed.

use std::ops::RangeInclusive;

/// A pseudo-random generator (`SplitMix64`).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.next() % (range.end() - range.start() + 1)
    }

    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }
}

/// Prints the seed of a schedule that panics.
pub(super) struct SeedReport(u64);

impl Drop for SeedReport {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat it with BUDGET_SEED={}", self.0);
        }
    }
}

pub(super) fn each_seed(count: u64, run: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("BUDGET_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("BUDGET_SCHEDULES").unwrap_or(count),
    };
    for seed in seeds {
        let _report = SeedReport(seed);
        run(seed);
    }
}
