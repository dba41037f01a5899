//! A caller and its rights.

use std::sync::Arc;
use std::time::Duration;

use crate::budget::{CallerNumber, Quota};
use crate::operation::Scope;

/// One program that uses the gateway, with its rights.
pub struct Caller {
    /// Name in the configuration, in logs and in metrics.
    pub name: String,
    /// Whether it may push to every device.
    pub broadcast: bool,
    /// Number that stands for the caller in the records of budgets. Reloads do not change it.
    pub number: CallerNumber,
    pub(super) scopes: u8,
    /// Positions of the tenants that it may call for, ascending.
    pub(super) tenants: Box<[usize]>,
    pub(super) quota: Option<Arc<Quota>>,
    pub(super) weight: u32,
    /// Time its requests queue for a budget unless they say otherwise.
    pub wait: Duration,
    pub(super) token_names: Vec<String>,
}

impl Caller {
    /// Whether the caller has this scope.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes & bit(scope) != 0
    }

    /// Names of its tokens, then of its certificates, each in the configuration's order.
    pub fn token_names(&self) -> &[String] {
        &self.token_names
    }

    /// Positions of the tenants that it may call for, ascending.
    pub fn tenants(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.tenants.iter().copied()
    }

    /// Position among its own tenants of the tenant at a position in the directory; `None` if it may not call for it.
    pub fn place_of(&self, tenant: usize) -> Option<usize> {
        match self.tenants[..] {
            [only] if only == tenant => Some(0),
            _ => self.tenants.binary_search(&tenant).ok(),
        }
    }

    /// Counter of its own quota; `None` if it has none.
    pub fn quota(&self) -> Option<&Arc<Quota>> {
        self.quota.as_ref()
    }
}

pub(super) const fn bit(scope: Scope) -> u8 {
    1 << scope as u8
}
