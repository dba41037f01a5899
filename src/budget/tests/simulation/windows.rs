//! The ways in which the vendor may count calls in windows.

use std::collections::BTreeMap;

/// The vendor's limit and window, which no configuration exceeds.
#[derive(Clone, Copy)]
pub(super) struct Vendor {
    pub(super) limit: u64,
    pub(super) window: u64,
    pub(super) guard: u64,
}

/// One call as the vendor counts it.
#[derive(Clone, Copy)]
pub(super) struct Counted {
    pub(super) at: u64,
    pub(super) order: u64,
    pub(super) limit: u32,
    /// The run of the gateway that sent it.
    pub(super) run: u32,
}

/// Checks that no span of a window's length holds more calls than the limit that was in force when the last of them was
/// taken.
pub(super) fn sliding(vendor: &Vendor, seen: &[Counted]) {
    for (first, start) in seen.iter().enumerate() {
        let mut last = *start;
        for (calls, call) in
            (1..).zip(seen[first..].iter().take_while(|call| call.at - start.at < vendor.window))
        {
            last = if call.order > last.order { *call } else { last };
            assert!(
                calls <= last.limit,
                "{calls} of {} counted in the window from {} µs",
                last.limit,
                start.at
            );
        }
    }
}

pub(super) fn fixed(vendor: &Vendor, phase: u64, seen: &[Counted]) {
    let mut windows: BTreeMap<u64, u64> = BTreeMap::new();
    for call in seen {
        *windows.entry((call.at + phase) / vendor.window).or_default() += 1;
    }
    assert!(
        windows.values().all(|calls| *calls <= vendor.limit),
        "of {} in fixed windows: {windows:?}",
        vendor.limit
    );
}

pub(super) fn from_first_call(vendor: &Vendor, seen: &[Counted]) {
    let (mut start, mut calls) = (None, 0);
    for call in seen {
        if start.is_none_or(|start| call.at - start >= vendor.window) {
            (start, calls) = (Some(call.at), 0);
        }
        calls += 1;
        assert!(calls <= vendor.limit, "{calls} of {} in the window from {start:?} µs", vendor.limit);
    }
}
