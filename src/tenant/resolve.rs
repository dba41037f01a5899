//! Resolves a configuration into a [`Directory`], and carries over numbers and quotas of the previous one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use smallvec::SmallVec;

use super::roster::Roster;
use super::{
    Caller, Credential, CredentialKind, Directory, KnownToken, KnownTokens, NamedTenant, OriginId, Tenant,
    bit,
};
use crate::budget::{Budget, BudgetId, Budgets, CallerHash, CallerNumber, Horizon, Quota};
use crate::config::{self, BaseUrl, BudgetLimit, Config, VendorKey};
use crate::operation::{BudgetName, Host};
use crate::secret::Secret;

/// Every base URL that calls can go to, each once. An [`OriginId`] is a position in this list, so its order matters to
/// connection pools.
pub fn origins(tenants: &[config::TenantConfig]) -> Vec<BaseUrl> {
    let mut origins: Vec<BaseUrl> = Vec::new();
    for url in tenants.iter().flat_map(|tenant| Host::ALL.into_iter().filter_map(|host| tenant.urls.of(host)))
    {
        if !origins.contains(url) {
            origins.push(url.clone());
        }
    }
    origins
}

pub(super) fn directory(
    previous: Option<(&Directory, &HashSet<CallerNumber>)>,
    config: &Config,
    budgets: &Budgets,
) -> Directory {
    let attempt = config.vendor.connect_timeout + config.limits.deadline.max(config.vendor.response_timeout);
    let horizon = Horizon { guard: config.guard, attempt };
    let origins = origins(&config.tenants);
    let tenants: Vec<Tenant> =
        config.tenants.iter().map(|tenant| resolve_tenant(tenant, &origins, budgets, horizon)).collect();
    let (roster, numbers) = Roster::after(previous, &config.callers);
    let positions: HashMap<&str, usize> =
        tenants.iter().enumerate().map(|(position, tenant)| (tenant.name.as_str(), position)).collect();
    let callers = config.callers.iter().zip(numbers).map(|(caller, number)| {
        let quota = quota(previous.map(|(directory, _)| directory), caller, horizon);
        Caller { number, quota, ..resolve_caller(caller, &positions) }
    });
    let callers: Vec<Caller> = callers.collect();
    keep_reserves(config, &tenants, &callers);
    let mut by_token = KnownTokens::default();
    for (caller, entry) in config.callers.iter().enumerate() {
        for (token, entry) in entry.tokens.iter().enumerate() {
            let digest = entry.digest;
            by_token.entry(digest.prefix()).or_default().push(KnownToken { digest, caller, token });
        }
    }
    let listed = config.callers.iter().enumerate().flat_map(|(caller, entry)| {
        let names = entry.certificates.iter().zip(entry.tokens.len()..);
        names.map(move |(name, position)| (name.clone(), (caller, position)))
    });
    let by_certificate = listed.collect();
    let mut by_name: Box<[usize]> = (0..callers.len()).collect();
    by_name.sort_unstable_by_key(|&caller| callers[caller].name.as_str());
    let users = users(&tenants);
    Directory { tenants, callers, origins, by_token, by_certificate, by_name, users, roster }
}

/// Sets the reserves of every budget. A caller's reserve is kept under every key of its tenants; where it makes no
/// calls, others use it.
fn keep_reserves(config: &Config, tenants: &[Tenant], callers: &[Caller]) {
    fn budgets(tenant: &Tenant) -> impl Iterator<Item = &Budget> {
        tenant.credentials.iter().flatten().flat_map(Credential::budgets)
    }
    let mut reserves: HashMap<BudgetId, (&Budget, BTreeMap<CallerNumber, u32>)> = HashMap::new();
    for budget in tenants.iter().flat_map(budgets) {
        reserves.entry(budget.id()).or_insert((budget, BTreeMap::new()));
    }
    let with_reserve = callers.iter().zip(&config.callers).filter(|(_, caller)| !caller.reserve.is_empty());
    for (caller, configured) in with_reserve {
        for budget in caller.tenants.iter().flat_map(|&tenant| budgets(&tenants[tenant])) {
            let own = configured.reserve.iter().find(|(name, _)| *name == budget.name());
            if let (Some((_, calls)), Some((_, kept))) = (own, reserves.get_mut(&budget.id())) {
                kept.insert(caller.number, calls.get());
            }
        }
    }
    for (budget, kept) in reserves.into_values() {
        budget.keep(&kept.into_iter().collect::<Vec<_>>());
    }
}

/// Every user of Basic credentials, with the tenants that it selects.
fn users(tenants: &[Tenant]) -> HashMap<String, SmallVec<[NamedTenant; 1]>> {
    let mut users: HashMap<String, SmallVec<[NamedTenant; 1]>> = HashMap::new();
    for (position, tenant) in tenants.iter().enumerate() {
        let mut named = |user: String, as_dev| {
            users.entry(user).or_default().push(NamedTenant { tenant: position, as_dev });
        };
        named(tenant.name.clone(), false);
        named(format!("group-{}", tenant.name), false);
        for kind in CredentialKind::ALL {
            if let Some(credential) = tenant.credential(kind) {
                named(credential.key.as_str().to_owned(), kind == CredentialKind::Dev);
            }
        }
    }
    users
}

/// The quota of a caller. If the previous configuration had the same caller and size, its counter is kept.
fn quota(
    previous: Option<&Directory>,
    caller: &config::CallerConfig,
    horizon: Horizon,
) -> Option<Arc<Quota>> {
    let limit: BudgetLimit = caller.quota?;
    let known = previous.and_then(|previous| {
        let known = &previous.callers[previous.caller_named(&caller.name)?];
        known.quota().filter(|quota| quota.limit() == limit).cloned()
    });
    if let Some(known) = &known {
        known.apply(horizon);
    }
    Some(known.unwrap_or_else(|| Arc::new(Quota::new(limit, horizon))))
}

fn resolve_tenant(
    tenant: &config::TenantConfig,
    origins: &[BaseUrl],
    budgets: &Budgets,
    horizon: Horizon,
) -> Tenant {
    let credential = |credential: &config::CredentialConfig| {
        let key = credential.key.clone();
        let open = |name, limit| budgets.open(&key, name, limit, horizon);
        let budgets = BudgetName::ALL.map(|name| tenant.budgets.of(name).map(|limit| open(name, limit)));
        Credential { authorization: basic(&key, &credential.secret), key, budgets }
    };
    Tenant {
        name: tenant.name.clone(),
        region: tenant.region,
        repeats: tenant.repeats,
        origins: Host::ALL.map(|host| {
            let url = tenant.urls.of(host)?;
            origins.iter().position(|known| known == url).map(OriginId)
        }),
        credentials: [
            Some(credential(&tenant.app)),
            tenant.dev.as_ref().map(credential),
            tenant.group.as_ref().map(credential),
        ],
    }
}

fn basic(key: &VendorKey, secret: &Secret) -> HeaderValue {
    let pair = zeroize::Zeroizing::new(format!("{}:{}", key.as_str(), secret.expose()));
    let encoded = zeroize::Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&encoded).expect("base64 is visible ASCII");
    value.set_sensitive(true);
    value
}

/// Resolves what a caller has by this configuration alone; number and quota are filled in by the caller of this
/// function.
fn resolve_caller(caller: &config::CallerConfig, positions: &HashMap<&str, usize>) -> Caller {
    let mut tenants: Vec<usize> =
        caller.tenants.iter().filter_map(|tenant| positions.get(tenant.as_str()).copied()).collect();
    tenants.sort_unstable();
    tenants.dedup();
    Caller {
        name: caller.name.clone(),
        broadcast: caller.broadcast,
        number: CallerNumber::FORMER,
        hash: CallerHash::of(&caller.name),
        scopes: caller.allow.iter().fold(0, |scopes, scope| scopes | bit(*scope)),
        tenants: tenants.into(),
        quota: None,
        weight: caller.weight.get(),
        wait: caller.wait,
        token_names: {
            let tokens = caller.tokens.iter().map(|token| &token.name);
            tokens.chain(&caller.certificates).cloned().collect()
        },
    }
}
