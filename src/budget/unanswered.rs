//! The calls of a budget that are under way.

use std::collections::VecDeque;

/// The numbers of the calls that have slots and no end yet. Numbers grow, so they are sorted.
#[derive(Default)]
pub(super) struct Unanswered(VecDeque<u64>);

impl Unanswered {
    /// Adds a call that is younger than all others.
    pub(super) fn begin(&mut self, call: u64) {
        self.0.push_back(call);
    }

    /// Removes a call, and returns how many older ones are still under way.
    pub(super) fn end(&mut self, call: u64) -> u32 {
        let place = self.0.partition_point(|older| *older < call);
        self.0.remove(place);
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    /// Whether no call is under way.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
