//! Removal of the series of tenants and callers that a reload removed.

use std::collections::{HashMap, HashSet};

use prometheus::IntCounterVec;
use prometheus::core::Collector;

use crate::tenant::Directory;

/// The tenants and callers whose series stay.
pub(super) struct Known<'d> {
    tenants: HashSet<&'d str>,
    callers: HashSet<&'d str>,
}

impl<'d> Known<'d> {
    /// Those of `directory`, and `none`, the value for what is unknown.
    pub(super) fn of(directory: &'d Directory, none: &'d str) -> Self {
        Self {
            tenants: directory.tenants.iter().map(|tenant| tenant.name.as_str()).chain([none]).collect(),
            callers: directory.callers.iter().map(|caller| caller.name.as_str()).chain([none]).collect(),
        }
    }

    /// Whether a label has a value that the directory knows. Other labels than those of tenants and callers are always
    /// known.
    fn has(&self, label: &str, value: &str) -> bool {
        match label {
            "tenant" => self.tenants.contains(value),
            "caller" => self.callers.contains(value),
            _ => true,
        }
    }

    /// Removes the series of all others.
    pub(super) fn keep_only_in(&self, counters: &IntCounterVec) {
        for family in counters.collect() {
            for metric in family.get_metric() {
                let labels: HashMap<&str, &str> =
                    metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
                if !labels.iter().all(|(label, value)| self.has(label, value)) {
                    // Nobody else removes series, so it is there.
                    let _ = counters.remove(&labels);
                }
            }
        }
    }
}
