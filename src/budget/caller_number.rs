//! The number of a caller, and what stands for it at all replicas.

use std::fmt;

use super::fnv1a;

/// Stands for a caller in queues, reserves and counts, and in the memory of calls that may be repeated.
///
/// A caller keeps its number over reloads, and nobody else gets it while anything still refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerNumber(pub u32);

impl CallerNumber {
    /// The number of slots that a former process took; no caller has it.
    pub const FORMER: Self = Self(u32::MAX);
}

/// Stands for a caller at all replicas: a hash of its name. Callers with the same hash would have their turns together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerHash(u64);

impl CallerHash {
    /// The hash of a caller's name.
    pub fn of(name: &str) -> Self {
        Self(fnv1a(name.bytes()))
    }
}

impl fmt::Display for CallerHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
