//! The simulator's accounts, and the check of a call's credentials.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::config::{BudgetLimits, CredentialConfig, VendorKey};
use crate::operation::CredentialRule;
use crate::secret::Secret;

/// A vendor key with its secret, kind and limits.
pub struct Account {
    /// The key under which calls are counted: a group key with its `group-`.
    pub key: VendorKey,
    /// Secret, the password of the Basic credentials.
    pub secret: Secret,
    /// Kind of the key.
    pub kind: AccountKind,
    /// Tier that the customer pays for.
    pub tier: Tier,
    /// Limits of calls per window.
    pub limits: BudgetLimits,
    /// App keys of a group, whose devices a group push reaches; empty for other kinds.
    pub members: Vec<VendorKey>,
}

impl Account {
    /// An account in the free tier, without members. `None` if the secret is empty.
    pub(super) fn new(
        credential: &CredentialConfig,
        kind: AccountKind,
        limits: BudgetLimits,
    ) -> Option<Self> {
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

/// Kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKind {
    /// Key of one application.
    App,
    /// Developer key, for the target lists of group pushes.
    Dev,
    /// Key of a group of applications.
    Group,
}

/// Tier of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The free tier.
    Free,
    /// The paid tier, with larger pools.
    Vip,
}

impl Tier {
    /// Upper bound of cids in one answer; the vendor silently gives no more.
    pub(super) const fn cids_max(self) -> usize {
        match self {
            Self::Free => 10,
            Self::Vip => 1000,
        }
    }

    /// Upper bound of schedules that exist at once.
    pub(super) const fn schedules_max(self) -> usize {
        match self {
            Self::Free => 100,
            Self::Vip => 2000,
        }
    }
}

/// The reason why credentials are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CredentialFault {
    /// The request has no `Authorization`.
    Missing,
    /// No account has this key.
    UnknownKey,
    /// The scheme is not Basic, the secret is wrong, or the key is of the wrong kind.
    Wrong,
}

/// Finds the account of a request's Basic credentials, if it is of a kind that the operation accepts.
pub(super) fn authenticate<'a>(
    accounts: &'a [Account],
    rule: CredentialRule,
    headers: &HeaderMap,
) -> Result<&'a Account, CredentialFault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(CredentialFault::Missing)?;
    if values.next().is_some() {
        return Err(CredentialFault::Wrong);
    }
    let (scheme, encoded) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(CredentialFault::Wrong)?;
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| CredentialFault::Wrong)?;
    let pair = String::from_utf8(decoded).map_err(|_| CredentialFault::Wrong)?;
    let (key, secret) = pair.split_once(':').ok_or(CredentialFault::Wrong)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(CredentialFault::Wrong);
    }
    if !accounts.iter().any(|account| account.key.as_str() == key) {
        return Err(CredentialFault::UnknownKey);
    }
    accounts
        .iter()
        .find(|account| {
            account.key.as_str() == key && fits(rule, account.kind) && account.secret.expose() == secret
        })
        .ok_or(CredentialFault::Wrong)
}

const fn fits(rule: CredentialRule, kind: AccountKind) -> bool {
    matches!(
        (rule, kind),
        (CredentialRule::App | CredentialRule::AppOrDev, AccountKind::App)
            | (CredentialRule::AppOrDev, AccountKind::Dev)
            | (CredentialRule::Group, AccountKind::Group)
    )
}
