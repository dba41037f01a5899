//! Schedules that look random and can be played again.

use std::ops::RangeInclusive;

/// Numbers that only look random (`SplitMix64`).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.roll() % (range.end() - range.start() + 1)
    }

    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.roll() % 100 < chance
    }
}

/// Says which schedule failed, however it did.
pub(super) struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("play it again with BUDGET_SEED={}", self.0);
        }
    }
}

pub(super) fn each_seed(count: u64, play: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("BUDGET_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("BUDGET_SCHEDULES").unwrap_or(count),
    };
    for seed in seeds {
        let _told = Seed(seed);
        play(seed);
    }
}
