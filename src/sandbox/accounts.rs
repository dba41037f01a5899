//! Who may call the simulated vendor, and with what.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::window::Windows;
use crate::config::{BudgetLimits, CredentialConfig, TenantConfig, VendorKey};
use crate::operation::CredentialRule;
use crate::secret::Secret;

/// What the simulator knows and how it counts.
pub struct Settings {
    /// Every key that can authenticate; no key twice with one kind.
    pub accounts: Vec<Account>,
    /// Length of every minute budget's window, in place of the configured one. A day stays a day.
    pub window: Option<Duration>,
    /// How windows lie.
    pub windows: Windows,
}

impl Settings {
    /// The accounts of a gateway's tenants. A key that tenants share is one account.
    pub fn from_config(tenants: &[TenantConfig], window: Option<Duration>, windows: Windows) -> Self {
        let mut accounts: Vec<Account> = Vec::new();
        for tenant in tenants {
            let credentials = [
                (Some(&tenant.app), AccountKind::App),
                (tenant.dev.as_ref(), AccountKind::Dev),
                (tenant.group.as_ref(), AccountKind::Group),
            ];
            for (credential, kind) in credentials {
                let Some(credential) = credential else { continue };
                let known =
                    accounts.iter().position(|known| known.kind == kind && known.key == credential.key);
                let position = known.or_else(|| {
                    accounts.push(Account::new(credential, kind, tenant.budgets.clone())?);
                    Some(accounts.len() - 1)
                });
                if let (AccountKind::Group, Some(position)) = (kind, position) {
                    let members = &mut accounts[position].members;
                    if !members.contains(&tenant.app.key) {
                        members.push(tenant.app.key.clone());
                    }
                }
            }
        }
        Self { accounts, window, windows }
    }
}

/// A key of the vendor's with what belongs to it.
pub struct Account {
    /// As the vendor counts it: a group key carries its `group-`.
    pub key: VendorKey,
    /// The other half of the Basic credentials.
    pub secret: Secret,
    /// What the key is good for.
    pub kind: AccountKind,
    /// What the vendor was paid for.
    pub tier: Tier,
    /// Calls a window.
    pub limits: BudgetLimits,
    /// A group's applications: whom a group push reaches.
    pub members: Vec<VendorKey>,
}

impl Account {
    /// A free account without members. `None` if the secret is empty.
    fn new(credential: &CredentialConfig, kind: AccountKind, limits: BudgetLimits) -> Option<Self> {
        let secret = Secret::new(credential.secret.expose().to_owned())?;
        Some(Self {
            key: credential.key.clone(),
            secret,
            kind,
            tier: Tier::Free,
            limits,
            members: Vec::new(),
        })
    }
}

/// What a key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKind {
    /// One application.
    App,
    /// A developer, for target lists of group pushes.
    Dev,
    /// A group of applications.
    Group,
}

/// What the vendor was paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Nothing.
    Free,
    /// Larger pools.
    Vip,
}

impl Tier {
    /// Cids given out at once; more are silently not given.
    pub(super) const fn cids_max(self) -> usize {
        match self {
            Self::Free => 10,
            Self::Vip => 1000,
        }
    }

    /// Schedules that may exist at once.
    pub(super) const fn schedules_max(self) -> usize {
        match self {
            Self::Free => 100,
            Self::Vip => 2000,
        }
    }
}

/// Why credentials are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// No `Authorization`.
    Missing,
    /// Nobody has this key.
    UnknownKey,
    /// Not Basic, a wrong secret, or a key of the wrong kind.
    Wrong,
}

/// Finds the account that a request's Basic credentials prove, among those an operation takes.
pub(super) fn authenticate<'a>(
    accounts: &'a [Account],
    rule: CredentialRule,
    headers: &HeaderMap,
) -> Result<&'a Account, Stranger> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Stranger::Missing)?;
    if values.next().is_some() {
        return Err(Stranger::Wrong);
    }
    let (scheme, encoded) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Stranger::Wrong)?;
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| Stranger::Wrong)?;
    let pair = String::from_utf8(decoded).map_err(|_| Stranger::Wrong)?;
    let (key, secret) = pair.split_once(':').ok_or(Stranger::Wrong)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Stranger::Wrong);
    }
    if !accounts.iter().any(|account| account.key.as_str() == key) {
        return Err(Stranger::UnknownKey);
    }
    accounts
        .iter()
        .find(|account| {
            account.key.as_str() == key && fits(rule, account.kind) && account.secret.expose() == secret
        })
        .ok_or(Stranger::Wrong)
}

const fn fits(rule: CredentialRule, kind: AccountKind) -> bool {
    matches!(
        (rule, kind),
        (CredentialRule::App | CredentialRule::AppOrDev, AccountKind::App)
            | (CredentialRule::AppOrDev, AccountKind::Dev)
            | (CredentialRule::Group, AccountKind::Group)
    )
}
