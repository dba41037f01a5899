//! The numbers of callers, and the names of those that the configuration has no more.
//!
//! A slot in a budget, a count of the last hour or a key of a call can outlive the configuration that had its caller.
//! Its name is kept until nothing of that is left, and for one reload more: a call that is under way may be counted after
//! it. So what is kept does not grow with the number of reloads.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Caller, Directory};
use crate::budget::CallerNumber;
use crate::config::CallerConfig;

/// The numbers of one configuration's callers.
pub(super) struct Roster {
    /// Number and position of every caller, sorted.
    by_number: Box<[(CallerNumber, usize)]>,
    /// Callers that are in the configuration no more.
    gone: BTreeMap<CallerNumber, String>,
    /// The number to give next, unless it is in use. Numbers are counted on and on, so that one comes back only after
    /// four thousand million callers.
    next: u32,
}

impl Roster {
    /// The numbers of `callers` in their order: the one its name had before, or one that is free. `in_use` has the callers
    /// that anything still refers to.
    pub(super) fn after(
        previous: Option<(&Directory, &HashSet<CallerNumber>)>,
        callers: &[CallerConfig],
    ) -> (Self, Vec<CallerNumber>) {
        let mut next = previous.map_or(0, |(directory, _)| directory.roster.next);
        let mut known: HashMap<&str, CallerNumber> = HashMap::new();
        let mut gone: BTreeMap<CallerNumber, String> = BTreeMap::new();
        if let Some((directory, in_use)) = previous {
            let kept = directory.roster.gone.iter().filter(|(number, _)| in_use.contains(number));
            known.extend(kept.map(|(number, name)| (name.as_str(), *number)));
            known.extend(directory.callers.iter().map(|caller| (caller.name.as_str(), caller.number)));
        }
        let taken: HashSet<CallerNumber> = known.values().copied().chain([CallerNumber::FORMER]).collect();
        let is_in_use = |number: &CallerNumber| {
            taken.contains(number) || previous.is_some_and(|(_, in_use)| in_use.contains(number))
        };
        let mut fresh = || loop {
            let number = CallerNumber(next);
            next = next.wrapping_add(1);
            if !is_in_use(&number) {
                return number;
            }
        };
        let numbers: Vec<CallerNumber> = callers
            .iter()
            .map(|caller| known.remove(caller.name.as_str()).unwrap_or_else(&mut fresh))
            .collect();
        gone.extend(known.into_iter().map(|(name, number)| (number, name.to_owned())));
        let mut by_number: Box<[_]> =
            numbers.iter().enumerate().map(|(position, number)| (*number, position)).collect();
        by_number.sort_unstable();
        (Self { by_number, gone, next }, numbers)
    }

    /// Name of the caller with this number.
    pub(super) fn name_of<'d>(&'d self, number: CallerNumber, callers: &'d [Caller]) -> Option<&'d str> {
        match self.by_number.binary_search_by_key(&number, |(known, _)| *known) {
            Ok(place) => Some(&callers[self.by_number[place].1].name),
            Err(_) => self.gone.get(&number).map(String::as_str),
        }
    }

    pub(super) fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }
}
