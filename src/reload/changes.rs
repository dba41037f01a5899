//! The differences between two configurations as text for operators: names and keys, never a value.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::watch::Watched;
use crate::config::{
    Admin, Audit, CallerConfig, Config, CredentialConfig, Listener, ListenerTls, LogFormat, SharedBudgets,
    Shares, TenantConfig, Tracing, Vendor,
};
use crate::secret::TokenDigest;

/// A configuration, and the files it was read from.
type ReadConfig<'c> = (&'c Config, &'c Watched);

/// All differences, one text for each.
pub(super) fn between((old, old_seen): ReadConfig<'_>, (new, new_seen): ReadConfig<'_>) -> Vec<String> {
    let differs = |path: &Path| old_seen.differs(path, new_seen);
    let sections = [
        ("listeners", !same_listeners(&old.listeners, &new.listeners, differs)),
        ("admin", !same_admin(&old.admin, &new.admin)),
        ("workers", old.workers != new.workers),
        ("vendor", !same_vendor(&old.vendor, &new.vendor, differs)),
        ("guard", old.guard != new.guard),
        ("state_file", old.state_file != new.state_file),
        ("shared_budgets", !same_shared(old.shared_budgets.as_ref(), new.shared_budgets.as_ref())),
        ("tracing", old.tracing != new.tracing),
        ("limits", old.limits != new.limits),
        ("drain", old.drain != new.drain),
        ("files", old.files != new.files),
        ("images", old.images != new.images),
        ("audit", old.audit != new.audit),
        ("log", old.log != new.log),
    ];
    let mut changes: Vec<String> =
        sections.iter().filter(|(_, differs)| *differs).map(|(key, _)| format!("{key} changed")).collect();
    let tenant = |old: &TenantConfig, new: &TenantConfig| words(&tenant_parts(old, new));
    changes.extend(named("tenant", (&old.tenants, &new.tenants), |tenant| &tenant.name, tenant));
    let caller = |old: &CallerConfig, new: &CallerConfig| words(&caller_parts(old, new));
    changes.extend(named("caller", (&old.callers, &new.callers), |caller| &caller.name, caller));
    changes
}

/// The entries that were added, removed or changed.
fn named<'c, T: 'c>(
    kind: &str,
    (old, new): (&'c [T], &'c [T]),
    name: impl Fn(&'c T) -> &'c str,
    parts: impl Fn(&T, &T) -> Vec<&'static str>,
) -> Vec<String> {
    let by_name = |list: &'c [T]| -> HashMap<&'c str, &'c T> {
        list.iter().map(|entry| (name(entry), entry)).collect()
    };
    let (old_names, new_names) = (by_name(old), by_name(new));
    let gone = old.iter().filter(|entry| !new_names.contains_key(name(entry)));
    let mut changes: Vec<String> = gone.map(|entry| format!("{kind} {} removed", name(entry))).collect();
    for entry in new {
        match old_names.get(name(entry)).map(|known| parts(known, entry)) {
            None => changes.push(format!("{kind} {} added", name(entry))),
            Some(parts) if parts.is_empty() => {}
            Some(parts) => changes.push(format!("{kind} {} changed: {}", name(entry), parts.join(", "))),
        }
    }
    changes
}

fn words(parts: &[(&'static str, bool)]) -> Vec<&'static str> {
    parts.iter().filter(|(_, differs)| *differs).map(|(part, _)| *part).collect()
}

fn tenant_parts(old: &TenantConfig, new: &TenantConfig) -> [(&'static str, bool); 9] {
    // Destructured, so that the compiler reports a new field that is not compared here.
    let TenantConfig { name: _, app, dev, group, budgets, urls, region, repeats } = old;
    [
        ("app", !same_credential(Some(app), Some(&new.app))),
        ("dev", !same_credential(dev.as_ref(), new.dev.as_ref())),
        ("group", !same_credential(group.as_ref(), new.group.as_ref())),
        ("budgets", *budgets != new.budgets),
        ("vendor", *urls != new.urls),
        ("region", *region != new.region),
        ("cid", repeats.cid != new.repeats.cid),
        ("cid_batch", repeats.cid_batch != new.repeats.cid_batch),
        ("resend_guard", repeats.resend_guard != new.repeats.resend_guard),
    ]
}

fn same_admin(old: &Admin, new: &Admin) -> bool {
    let same_token = match (&old.token, &new.token) {
        (Some(old), Some(new)) => old.matches(new),
        (old, new) => old.is_none() && new.is_none(),
    };
    old.address == new.address && same_token
}

fn same_shared(old: Option<&SharedBudgets>, new: Option<&SharedBudgets>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => old.shares == new.shares && old.digest().matches(&new.digest()),
        (old, new) => old.is_none() && new.is_none(),
    }
}

fn same_credential(old: Option<&CredentialConfig>, new: Option<&CredentialConfig>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => old.key == new.key && old.secret.is_same_as(&new.secret),
        (old, new) => old.is_none() && new.is_none(),
    }
}

fn caller_parts(old: &CallerConfig, new: &CallerConfig) -> [(&'static str, bool); 9] {
    let CallerConfig {
        name: _,
        tokens,
        certificates,
        tenants,
        allow,
        broadcast,
        quota,
        weight,
        reserve,
        wait,
    } = old;
    let mut pairs = tokens.iter().zip(&new.tokens);
    let same_tokens = tokens.len() == new.tokens.len()
        && pairs.all(|(old, new)| old.name == new.name && old.digest.matches(&new.digest));
    [
        ("tokens", !same_tokens),
        ("certificates", *certificates != new.certificates),
        ("tenants", *tenants != new.tenants),
        ("allow", *allow != new.allow),
        ("broadcast", *broadcast != new.broadcast),
        ("quota", *quota != new.quota),
        ("weight", *weight != new.weight),
        ("reserve", *reserve != new.reserve),
        ("wait", *wait != new.wait),
    ]
}

fn same_listeners(old: &[Listener], new: &[Listener], differs: impl Fn(&Path) -> bool) -> bool {
    let files = |tls: &ListenerTls| {
        let mut pairs = tls.certificates.iter();
        pairs.any(|pair| differs(&pair.certificate) || differs(&pair.private_key))
            || tls.client_ca.as_deref().is_some_and(&differs)
    };
    old == new && !new.iter().filter_map(|listener| listener.tls.as_ref()).any(files)
}

fn same_vendor(old: &Vendor, new: &Vendor, differs: impl Fn(&Path) -> bool) -> bool {
    old == new && !new.ca.as_deref().is_some_and(differs)
}

/// The settings that a process keeps until it ends.
pub(super) struct Fixed {
    listeners: Vec<(SocketAddr, bool, bool)>,
    admin: SocketAddr,
    workers: Option<NonZeroUsize>,
    state_file: Option<PathBuf>,
    shared: Option<(Shares, TokenDigest)>,
    tracing: Option<Tracing>,
    header_timeout: Duration,
    idle_timeout: Duration,
    handover: bool,
    audit: Option<Audit>,
    log_format: LogFormat,
}

impl Fixed {
    pub(super) fn of(config: &Config) -> Self {
        let listeners = config.listeners.iter();
        Self {
            listeners: listeners
                .map(|listener| (listener.address, listener.tls.is_some(), listener.proxy_protocol))
                .collect(),
            admin: config.admin.address,
            workers: config.workers,
            state_file: config.state_file.clone(),
            // The URL may contain a password, so only its digest is kept.
            shared: config.shared_budgets.as_ref().map(|shared| (shared.shares, shared.digest())),
            tracing: config.tracing.clone(),
            header_timeout: config.limits.header_timeout,
            idle_timeout: config.limits.idle_timeout,
            handover: config.drain.handover,
            audit: config.audit.clone(),
            log_format: config.log.format,
        }
    }

    /// The keys whose value in `config` is different and needs a restart.
    pub(super) fn changed_in(&self, config: &Config) -> Vec<&'static str> {
        let new = Self::of(config);
        let same_shared = match (&self.shared, &new.shared) {
            (Some((old, old_url)), Some((new, new_url))) => old == new && old_url.matches(new_url),
            (old, new) => old.is_none() && new.is_none(),
        };
        words(&[
            ("listeners", self.listeners != new.listeners),
            ("admin.address", self.admin != new.admin),
            ("workers", self.workers != new.workers),
            ("state_file", self.state_file != new.state_file),
            ("shared_budgets", !same_shared),
            ("tracing", self.tracing != new.tracing),
            ("limits.header_timeout", self.header_timeout != new.header_timeout),
            ("limits.idle_timeout", self.idle_timeout != new.idle_timeout),
            ("drain.handover", self.handover != new.handover),
            ("audit", self.audit != new.audit),
            ("log.format", self.log_format != new.log_format),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, System};

    const BASE: &str = r#"
listeners: [ { address: 127.0.0.1:8080 } ]
tenants:
  shop: { app: { key: 7d431e42dfa6a6d693ac2d04, secret: { value: 5e987ac6d2e04d95a9d8f0d1 } } }
callers:
  orders: { tokens: [ { sha256: "DIGEST" } ], tenants: [ shop ], allow: [ push ] }
"#;

    fn read(edits: &[(&str, &str)]) -> Config {
        let digest = TokenDigest::of(b"ordersTokenForTests20261").to_hex();
        let text = edits.iter().fold(BASE.to_owned(), |text, (from, to)| text.replace(from, to));
        config::parse(&text.replace("DIGEST", &digest), Path::new("."), &System)
            .expect("a good configuration")
    }

    #[track_caller]
    fn check(edits: &[(&str, &str)], changed: &[&str], needs_restart: &[&str]) {
        let (old, new, seen) = (read(&[]), read(edits), Watched::default());
        assert_eq!(between((&old, &seen), (&new, &seen)), changed);
        assert_eq!(Fixed::of(&old).changed_in(&new), needs_restart);
    }

    #[test]
    fn names_and_keys_tell_what_changed() {
        check(&[], &[], &[]);
        check(&[(":8080 }", ":8081 }")], &["listeners changed"], &["listeners"]);
        check(&[("tenants:\n", "workers: 3\ntenants:\n")], &["workers changed"], &["workers"]);
        let limits = ("tenants:\n", "limits: { json_body: 2MiB, idle_timeout: 5s }\ntenants:\n");
        check(&[limits], &["limits changed"], &["limits.idle_timeout"]);
        let handover = ("tenants:\n", "drain: { handover: true }\ntenants:\n");
        check(&[handover], &["drain changed"], &["drain.handover"]);
        check(&[("tenants:\n", "audit: stderr\ntenants:\n")], &["audit changed"], &["audit"]);
        let tracing = ("tenants:\n", "tracing: { otlp: \"http://collector:4318\" }\ntenants:\n");
        check(&[tracing], &["tracing changed"], &["tracing"]);
        check(&[("tenants:\n", "log: json\ntenants:\n")], &["log changed"], &["log.format"]);
        check(&[("tenants:\n", "log: { level: debug }\ntenants:\n")], &["log changed"], &[]);
        check(&[("5e987ac6", "6e987ac6")], &["tenant shop changed: app"], &[]);
        let budgets = ("0d1 } }", "0d1 } }, budgets: { push: { limit: 5 } }");
        check(&[budgets], &["tenant shop changed: budgets"], &[]);
        check(
            &[("shop", "store")],
            &["tenant shop removed", "tenant store added", "caller orders changed: tenants"],
            &[],
        );
        check(&[("orders:", "news:")], &["caller orders removed", "caller news added"], &[]);
        let quota = ("allow: [ push ]", "allow: [ push, file ], quota: { limit: 5, window: 60s }");
        check(&[quota], &["caller orders changed: allow, quota"], &[]);
        let repeats = ("0d1 } }", "0d1 } }, cid: inject, resend_guard: 0s");
        check(&[repeats], &["tenant shop changed: cid, resend_guard"], &[]);
        let name = ("{ sha256", "{ name: spare, sha256");
        check(&[name], &["caller orders changed: tokens"], &[]);
    }

    #[test]
    fn another_content_of_a_file_is_a_change() {
        let (mut old, mut new) = (read(&[]), read(&[]));
        old.vendor.ca = Some("ca.crt".into());
        new.vendor.ca = Some("ca.crt".into());
        let seen = |byte| Watched::of_one(Path::new("ca.crt"), [byte; 32]);
        assert_eq!(between((&old, &seen(1)), (&new, &seen(2))), ["vendor changed"]);
        assert!(between((&old, &seen(1)), (&new, &seen(1))).is_empty());
    }
}
