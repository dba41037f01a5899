//! Numbers of the last sixty minutes, one for each.

use super::timestamp::Timestamp;

pub(super) const MINUTES: usize = 60;
const MINUTE_MICROS: u64 = 60_000_000;

/// One number for each of the last sixty minutes.
pub(super) struct Hour {
    latest: u64,
    numbers: [u32; MINUTES],
}

impl Hour {
    pub(super) fn new(minute: u64) -> Self {
        Self { latest: minute, numbers: [0; MINUTES] }
    }

    /// Moves on to `minute`; the minutes after the last one, up to this one, get `number`.
    pub(super) fn advance(&mut self, minute: u64, number: u32) {
        let passed = minute.saturating_sub(self.latest).min(MINUTES as u64);
        for step in 1..=passed {
            self.numbers[slot(minute + step - passed)] = number;
        }
        self.latest = self.latest.max(minute);
    }

    /// The number of the minute that it was moved on to.
    pub(super) fn present(&mut self) -> &mut u32 {
        &mut self.numbers[slot(self.latest)]
    }

    /// All numbers, in no order.
    pub(super) fn numbers(&self) -> &[u32; MINUTES] {
        &self.numbers
    }

    /// All numbers, the oldest first.
    pub(super) fn in_order(&self) -> [u32; MINUTES] {
        let mut numbers = self.numbers;
        numbers.rotate_left((slot(self.latest) + 1) % MINUTES);
        numbers
    }
}

/// The minute of a time.
pub(super) fn minute(now: Timestamp) -> u64 {
    now.as_micros() / MINUTE_MICROS
}

fn slot(minute: u64) -> usize {
    usize::try_from(minute % MINUTES as u64).expect("less than sixty")
}
