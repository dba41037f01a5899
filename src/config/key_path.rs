//! The path of a key, for messages: `tenants.shop.app`.

use std::fmt;

use smallvec::SmallVec;

use super::words::segment;

/// The steps that a path has room for without an allocation. Hardly a key of the schema has more.
const STEPS: usize = 6;

/// The steps from the top of a document to a value. Their text is made for messages alone, which most values have none of:
/// with a text for each, a reload of 100,000 callers took a fifth longer.
#[derive(Clone, Default)]
pub(super) struct KeyPath<'n>(SmallVec<[Step<'n>; STEPS]>);

#[derive(Clone, Copy)]
enum Step<'n> {
    Key(&'n str),
    Item(usize),
}

impl<'n> KeyPath<'n> {
    /// The path of a key within this value.
    pub(super) fn key(&self, key: &'n str) -> Self {
        self.and(Step::Key(key))
    }

    /// The path of an item of this list, counted from 0.
    pub(super) fn item(&self, index: usize) -> Self {
        self.and(Step::Item(index))
    }

    fn and(&self, step: Step<'n>) -> Self {
        let mut path = Self(SmallVec::from_slice(&self.0));
        path.0.push(step);
        path
    }
}

impl fmt::Display for KeyPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                // The root has no name, so a path begins with the first key, not with a dot.
                Step::Key(key) if index == 0 => f.write_str(&segment(key))?,
                Step::Key(key) => write!(f, ".{}", segment(key))?,
                Step::Item(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
