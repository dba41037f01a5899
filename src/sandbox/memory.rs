//! State that the simulated vendor keeps between calls. Everything has a limit; the oldest entry is dropped first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::time::{Instant, SystemTime};

use serde_json::Value;

use crate::config::VendorKey;

/// State that the vendor keeps between calls.
#[derive(Debug)]
pub(super) struct SandboxMemory {
    serial: u64,
    /// Pushes that can be withdrawn, by app key and message id.
    pub(super) messages: NewestMap<(VendorKey, String), ()>,
    /// Cids by the key they were given to.
    pub(super) cids: NewestMap<(VendorKey, String), PoolCid>,
    /// Target lists by file id, which starts with the key.
    pub(super) files: NewestMap<String, StoredFile>,
    pub(super) schedules: NewestMap<(VendorKey, String), StoredSchedule>,
    /// The last answer given for each picture, by key and media id.
    pub(super) images: NewestMap<(VendorKey, String), Value>,
    pub(super) devices: NewestMap<(VendorKey, String), Device>,
    pub(super) test_devices: NewestMap<(VendorKey, String), Value>,
    /// Push plans by key and name.
    pub(super) plans: NewestMap<(VendorKey, String), Value>,
    /// Number of pushes that had an effect, by key.
    pub(super) delivered: BTreeMap<VendorKey, u64>,
}

impl Default for SandboxMemory {
    fn default() -> Self {
        Self {
            serial: 0,
            messages: NewestMap::new(100_000),
            cids: NewestMap::new(100_000),
            files: NewestMap::new(10_000),
            schedules: NewestMap::new(10_000),
            images: NewestMap::new(10_000),
            devices: NewestMap::new(10_000),
            test_devices: NewestMap::new(1000),
            plans: NewestMap::new(1000),
            delivered: BTreeMap::new(),
        }
    }
}

impl SandboxMemory {
    /// A number that no other answer has.
    pub(super) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Forgets everything but the serial number, so that ids are not reused.
    pub(super) fn clear(&mut self) {
        *self = Self { serial: self.serial, ..Self::default() };
    }
}

/// Stored properties of a device. Every registration id counts as existing.
#[derive(Debug, Default)]
pub(super) struct Device {
    pub(super) tags: BTreeSet<String>,
    pub(super) alias: Option<String>,
    pub(super) mobile: Option<String>,
}

/// A stored target list. Its lines are not kept: no call returns them.
#[derive(Debug)]
pub(super) struct StoredFile {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) created: SystemTime,
    pub(super) expires: SystemTime,
    /// The upload had a `ttl`. Only then the vendor shows when the list expires.
    pub(super) has_ttl: bool,
}

/// The use that a cid was given out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CidKind {
    Push,
    Schedule,
}

/// A cid that was given out.
#[derive(Debug)]
pub(super) struct PoolCid {
    pub(super) kind: CidKind,
    pub(super) given: Instant,
    /// The answer to the first call with it.
    pub(super) first: Option<Value>,
}

/// A schedule as the client sent it.
#[derive(Clone, Debug)]
pub(super) struct StoredSchedule {
    pub(super) name: Value,
    pub(super) enabled: Value,
    pub(super) trigger: Value,
    pub(super) push: Value,
}

/// A map of limited size that drops the oldest entry.
#[derive(Debug)]
pub(super) struct NewestMap<K, V> {
    entries_max: usize,
    next: u64,
    order: BTreeMap<u64, K>,
    entries: HashMap<K, (u64, V)>,
}

impl<K: Clone + Eq + Hash, V> NewestMap<K, V> {
    fn new(entries_max: usize) -> Self {
        Self { entries_max, next: 0, order: BTreeMap::new(), entries: HashMap::new() }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.remove(&key);
        if self.entries.len() >= self.entries_max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.order.insert(self.next, key.clone());
        self.entries.insert(key, (self.next, value));
        self.next += 1;
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (position, value) = self.entries.remove(key)?;
        self.order.remove(&position);
        Some(value)
    }

    /// Iterates over the entries, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.order.values().filter_map(|key| Some((key, self.get(key)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entry_goes_first() {
        let mut recent = NewestMap::new(2);
        for key in ["a", "b", "a", "c"] {
            recent.insert(key, ());
        }
        assert_eq!(recent.iter().map(|(key, ())| *key).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!((recent.remove(&"a"), recent.remove(&"a")), (Some(()), None));
        assert_eq!(recent.iter().count(), 1);
    }
}
