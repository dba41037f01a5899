//! The number of a caller.

/// Stands for a caller in queues, reserves and counts, and in the memory of calls that may be repeated.
///
/// A caller keeps its number over reloads, and nobody else gets it while anything still refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerNumber(pub u32);

impl CallerNumber {
    /// The number of slots that a former process took; no caller has it.
    pub const FORMER: Self = Self(u32::MAX);
}
