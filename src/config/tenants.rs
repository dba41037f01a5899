//! Reads `tenants`: the vendor applications, and checks rules between them.

use std::collections::{HashMap, HashSet};

use super::base_url::{BaseUrls, Region};
use super::include::Named;
use super::reader::{ConfigValue, Section, Zero};
use super::sources::Outside;
use super::values::{BudgetLimits, CidPolicy, CredentialConfig, Repeats, TenantConfig, VendorKey};
use super::vendor::Defaults;
use super::{budgets, secrets};
use crate::secret::Secret;

/// Prefix of a group key in requests to the vendor.
const GROUP_PREFIX: &str = "group-";

/// Cids that the vendor gives a VIP app in one call.
const CID_BATCH_MAX: u32 = 1000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    App,
    Dev,
    Group,
}

/// A tenant whose fields have been read as far as they could be. One with faults still takes part in the checks between
/// tenants.
struct TenantDraft<'n> {
    name: &'n str,
    value: ConfigValue<'n>,
    credentials: Vec<CredentialDraft<'n>>,
    budgets: BudgetLimits,
    urls: BaseUrls,
    region: Region,
    repeats: Repeats,
}

struct CredentialDraft<'n> {
    kind: KeyKind,
    /// The key's place in the file, for faults.
    value: ConfigValue<'n>,
    key: VendorKey,
    secret: Option<Secret>,
}

/// The tenants, and the names that callers may refer to, including those of tenants with faults.
pub(super) struct Tenants<'n> {
    pub(super) names: Vec<&'n str>,
    pub(super) tenants: Option<Vec<TenantConfig>>,
}

/// Reads the tenants and checks names and shared keys across them.
pub(super) fn read<'n>(
    entries: Named<'n>,
    outside: &Outside<'_>,
    defaults: &Defaults,
    budgets: &BudgetLimits,
) -> Tenants<'n> {
    let drafts: Vec<_> = entries
        .entries
        .into_iter()
        .map(|(name, value)| read_one(name, value, outside, (defaults, budgets)))
        .collect();
    check_names(&drafts);
    check_shared_keys(&drafts);
    let names = drafts.iter().map(|draft| draft.name).collect();
    Tenants { names, tenants: drafts.into_iter().map(TenantDraft::finish).collect() }
}

fn read_one<'n>(
    name: &'n str,
    value: ConfigValue<'n>,
    outside: &Outside<'_>,
    (defaults, budgets): (&Defaults, &BudgetLimits),
) -> TenantDraft<'n> {
    check_name(name, &value);
    let mut section = value.section();
    let written = [
        (KeyKind::App, section.required("app")),
        (KeyKind::Dev, section.get("dev")),
        (KeyKind::Group, section.get("group")),
    ];
    let credentials =
        written.into_iter().filter_map(|(kind, value)| read_credential(kind, &value?, outside)).collect();
    let regions = [("default", Region::Default), ("beijing", Region::Beijing)];
    let region = section.get("region").and_then(|value| value.choice(&regions)).unwrap_or(Region::Default);
    let budgets = budgets::read(&mut section, budgets);
    let urls = defaults.for_tenant(&mut section.section("vendor"), region);
    let repeats = read_repeats(&mut section);
    // Reports unknown keys of this tenant now, before faults of the next one.
    drop(section);
    TenantDraft { name, value, credentials, budgets, urls, region, repeats }
}

fn read_repeats(section: &mut Section<'_>) -> Repeats {
    let policies = [("off", CidPolicy::Off), ("inject", CidPolicy::Inject)];
    let Repeats { cid, cid_batch, resend_guard } = Repeats::default();
    let batch = section.get("cid_batch").and_then(|value| value.positive(CID_BATCH_MAX));
    Repeats {
        cid: section.get("cid").and_then(|value| value.choice(&policies)).unwrap_or(cid),
        cid_batch: batch.unwrap_or(cid_batch),
        resend_guard: section.duration("resend_guard", Zero::Allowed, resend_guard),
    }
}

fn check_name(name: &str, value: &ConfigValue<'_>) {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = matches!(name.len(), 1..=63)
        && name.bytes().all(|byte| letter(byte) || byte == b'-')
        && name.bytes().next().is_some_and(letter);
    if !fits {
        value.fault("a tenant's name is 1 to 63 of a-z, 0-9 and -, and does not begin with -");
    }
    if name.starts_with(GROUP_PREFIX) {
        value.fault("a tenant's name does not begin with group-: callers write that to mean its group key");
    }
}

fn read_credential<'n>(
    kind: KeyKind,
    value: &ConfigValue<'n>,
    outside: &Outside<'_>,
) -> Option<CredentialDraft<'n>> {
    let mut section = value.section().private();
    let key = section.required("key");
    let secret = section.required("secret").and_then(|value| {
        let (secret, origin) = outside.secret(&value)?;
        secrets::judge(&value, &origin, secret.expose()).map(|()| secret)
    });
    let value = key?;
    let key = read_key(kind, &value)?;
    Some(CredentialDraft { kind, value, key, secret })
}

fn read_key(kind: KeyKind, value: &ConfigValue<'_>) -> Option<VendorKey> {
    let text = value.text()?;
    if text.starts_with(GROUP_PREFIX) {
        return value.refuse("written without group-; only a group key is sent with it");
    }
    secrets::judge_key(value, text)?;
    let text = if kind == KeyKind::Group { format!("{GROUP_PREFIX}{text}") } else { text.to_owned() };
    VendorKey::new(text)
        .or_else(|| value.refuse("expected a key of visible ASCII characters without a colon"))
}

/// Refuses names that are also a key: a caller selects a tenant by its name or by one of its keys.
fn check_names(drafts: &[TenantDraft<'_>]) {
    let keys: HashSet<_> =
        drafts.iter().flat_map(|draft| &draft.credentials).map(|credential| bare(&credential.key)).collect();
    for draft in drafts.iter().filter(|draft| keys.contains(draft.name)) {
        draft.value.fault("the name is also a key; callers could mean either");
    }
}

/// A key as the configuration writes it, without `group-`.
fn bare(key: &VendorKey) -> &str {
    key.as_str().strip_prefix(GROUP_PREFIX).unwrap_or(key.as_str())
}

impl TenantConfig {
    /// Whether the configuration writes one of its keys so.
    pub(super) fn has_key(&self, written: &str) -> bool {
        let credentials = [Some(&self.app), self.dev.as_ref(), self.group.as_ref()];
        credentials.into_iter().flatten().any(|credential| bare(&credential.key) == written)
    }
}

/// Refuses tenants that share a key and differ in what belongs to the key. The vendor counts calls by key, so tenants
/// with one key share its budgets.
fn check_shared_keys(drafts: &[TenantDraft<'_>]) {
    let mut first_uses = HashMap::new();
    for draft in drafts {
        for credential in &draft.credentials {
            let first = *first_uses.entry(&credential.key).or_insert((draft, credential));
            if !std::ptr::eq(first.1, credential) {
                compare(first, (draft, credential));
            }
        }
    }
}

/// One use of a key: the tenant that uses it, and the credential.
type KeyUse<'d, 'n> = (&'d TenantDraft<'n>, &'d CredentialDraft<'n>);

fn compare((first_draft, first): KeyUse<'_, '_>, (draft, credential): KeyUse<'_, '_>) {
    let same_secret = match (&first.secret, &credential.secret) {
        (Some(first), Some(secret)) => first.expose() == secret.expose(),
        // A secret that could not be read has a fault of its own.
        _ => true,
    };
    let checks = [
        (first.kind == credential.kind, "is another kind of key"),
        (same_secret, "has another secret"),
        (first_draft.budgets == draft.budgets, "has other budgets"),
        (first_draft.urls == draft.urls, "has other base URLs"),
        (first_draft.region == draft.region, "has another region"),
    ];
    for (_, difference) in checks.iter().filter(|(same, _)| !same) {
        let first = first.value.place().seen_from(&credential.value.file());
        credential.value.fault(format!("the same key at {first} {difference}"));
    }
}

impl TenantDraft<'_> {
    /// The finished tenant; `None` if something is missing, which has been reported.
    fn finish(mut self) -> Option<TenantConfig> {
        Some(TenantConfig {
            name: self.name.to_owned(),
            app: self.take(KeyKind::App)?,
            dev: self.take(KeyKind::Dev),
            group: self.take(KeyKind::Group),
            budgets: self.budgets,
            urls: self.urls,
            region: self.region,
            repeats: self.repeats,
        })
    }

    fn take(&mut self, kind: KeyKind) -> Option<CredentialConfig> {
        let at = self.credentials.iter().position(|credential| credential.kind == kind)?;
        let CredentialDraft { key, secret, .. } = self.credentials.swap_remove(at);
        Some(CredentialConfig { key, secret: secret? })
    }
}
