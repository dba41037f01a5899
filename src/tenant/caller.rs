//! A caller and its rights.

use std::sync::Arc;
use std::time::Duration;

use super::CredentialKind;
use crate::budget::{CallerHash, CallerNumber, Quota};
use crate::operation::{BudgetName, CredentialRule, OperationId, Scope};

/// One program that uses the gateway, with its rights.
pub struct Caller {
    /// Name in the configuration, in logs and in metrics.
    pub name: String,
    /// Whether it may push to every device.
    pub broadcast: bool,
    /// Number that stands for the caller in the records of budgets. Reloads do not change it.
    pub number: CallerNumber,
    /// Stands for the caller in turns between replicas.
    pub(super) hash: CallerHash,
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

    /// Weight of its turns where several callers wait for one budget.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Whether it has the scope that an operation with this rule asks for on a credential of this kind. A dev key reaches
    /// every app of the account, so it needs the wider scope as well.
    pub(super) fn may_use(&self, rule: CredentialRule, kind: CredentialKind) -> bool {
        match (rule, kind) {
            (CredentialRule::App | CredentialRule::AppOrDev, CredentialKind::App)
            | (CredentialRule::Group, CredentialKind::Group) => true,
            (CredentialRule::AppOrDev, CredentialKind::Dev) => self.may(Scope::Group),
            (CredentialRule::App | CredentialRule::Group | CredentialRule::AppOrDev, _) => false,
        }
    }

    /// Whether some call of its own draws on a budget of a credential of this kind.
    pub fn may_draw_on(&self, budget: BudgetName, kind: CredentialKind) -> bool {
        let may_reach = budget != BudgetName::Broadcast || self.broadcast;
        may_reach
            && OperationId::all().any(|operation| {
                self.may(operation.scope)
                    && self.may_use(operation.credential, kind)
                    && operation.can_draw_on(budget)
                    && (budget == operation.budget || budget != BudgetName::File || self.may(Scope::File))
            })
    }

    /// Counter of its own quota; `None` if it has none.
    pub fn quota(&self) -> Option<&Arc<Quota>> {
        self.quota.as_ref()
    }
}

pub(super) const fn bit(scope: Scope) -> u8 {
    1 << scope as u8
}
