//! The turns that calls at different replicas have together.

use std::fmt;
use std::time::Duration;

use smallvec::SmallVec;

use super::caller_number::CallerHash;

/// The place of a call among those of all replicas that wait for a slot in the store. The store takes its text.
#[derive(Clone, Debug)]
pub enum Turn {
    /// It does not wait, so those that do go first.
    NotWaiting,
    /// It goes before all others.
    First,
    /// It is the next one of its replica.
    Waiting {
        /// The calls that wait at the replica and would take a slot now.
        calls: usize,
        /// The longest that this call waits.
        longest: Duration,
        /// The weight of the call's caller.
        weight: u32,
        /// The call's caller, then the others whose calls wait at the replica, in their order there.
        callers: SmallVec<[CallerHash; 2]>,
    },
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWaiting => Ok(()),
            Self::First => f.write_str("first"),
            Self::Waiting { calls, longest, weight, callers } => {
                write!(f, "{calls} {} {weight}", longest.as_micros())?;
                callers.iter().try_for_each(|caller| write!(f, " {caller}"))
            }
        }
    }
}
