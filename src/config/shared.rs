//! Reads `shared_budgets`: the store that replicas share, and the division of each budget.

use std::num::NonZeroU32;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::reader::{ConfigValue, Section};
use super::sources::Outside;
use super::units;
use crate::secret::{Secret, TokenDigest};

/// Settings of the store in which replicas share their budgets.
pub struct SharedBudgets {
    /// URL `redis://[user[:password]@]host[:port][/database]`, or `rediss://` for TLS. All of it is a secret, because it
    /// may hold a password.
    pub url: Secret,
    /// File of the only trust roots for the store; without it, those of the system.
    pub ca: Option<PathBuf>,
    /// Division of each budget.
    pub shares: Shares,
}

impl SharedBudgets {
    /// A digest of where the store is and who may use it, by which two configurations are compared.
    pub fn digest(&self) -> TokenDigest {
        let ca = self.ca.as_deref().map_or("".into(), |path| path.to_string_lossy());
        let text = Zeroizing::new(format!("{}\0{ca}", self.url.expose()));
        TokenDigest::of(text.as_bytes())
    }
}

/// Division of each budget among the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Percent of each limit that do not go through the store; each replica owns an equal part of them.
    pub local_percent: u8,
    /// Upper bound of processes that run at once.
    pub replicas: NonZeroU32,
}

impl Shares {
    /// Slots of a limit that each replica owns alone, rounded down; the remainder is shared.
    pub fn own_part(&self, limit: NonZeroU32) -> u32 {
        let local = u64::from(limit.get()) * u64::from(self.local_percent) / 100;
        u32::try_from(local / u64::from(self.replicas.get())).unwrap_or(u32::MAX)
    }

    /// Slots of a limit that are shared through the store.
    pub fn shared_part(&self, limit: NonZeroU32) -> u32 {
        // Cannot underflow: own parts are rounded down, so together they are at most the limit.
        limit.get() - self.own_part(limit) * self.replicas.get()
    }
}

/// Upper bound of `replicas`, more than anybody runs.
const REPLICAS_MAX: u32 = 1000;
const LOCAL_PERCENT: u8 = 20;

/// Reads the section; `None` where budgets are not shared, or after a fault.
pub(super) fn read(file: &mut Section<'_>, outside: &Outside<'_>) -> Option<SharedBudgets> {
    let mut section = file.get("shared_budgets")?.section();
    let mut redis = section.required("redis")?.section();
    let url = redis.required("url").and_then(|value| read_url(&value, outside));
    let ca = redis.get("ca");
    let roots = ca.as_ref().and_then(|value| outside.roots(value));
    if let (Some(ca), Some(url)) = (&ca, &url)
        && !is_tls(url)
    {
        ca.fault("without TLS there is nothing to verify; the URL must start with rediss://");
    }
    let local = redis.get("local_share").map_or(Some(LOCAL_PERCENT), |value| read_percent(&value));
    let replicas = redis.required("replicas").and_then(|value| value.positive(REPLICAS_MAX));
    Some(SharedBudgets {
        url: url?,
        ca: roots,
        shares: Shares { local_percent: local?, replicas: replicas? },
    })
}

/// Reads the URL as a text or as a secret. Messages never quote any part of it: it may hold a password.
fn read_url(value: &ConfigValue<'_>, outside: &Outside<'_>) -> Option<Secret> {
    let url = if value.is_section() {
        outside.secret(value)?.0
    } else {
        let text = Zeroizing::new(value.text()?.to_owned());
        if text.contains('@') {
            value.warning("a password stands in the configuration itself; env or file keeps it apart");
        }
        Secret::new(text.to_string())?
    };
    let is_network = url.expose().starts_with("redis://") || is_tls(&url);
    if !is_network || redis::Client::open(url.expose()).is_err() {
        return value.refuse(
            "expected redis://host or rediss://host, with [user]:password@, :port and /database where needed",
        );
    }
    if url.expose().contains('#') {
        return value.refuse("nothing can follow a #; a certificate that nobody verifies is not supported");
    }
    Some(url)
}

fn is_tls(url: &Secret) -> bool {
    url.expose().starts_with("rediss://")
}

fn read_percent(value: &ConfigValue<'_>) -> Option<u8> {
    let percent = value.text()?.strip_suffix('%').and_then(units::percent);
    percent.or_else(|| {
        value.refuse(format!(
            "expected a share of the limits such as 20%, from 0% to 100%{}",
            value.not_this()
        ))
    })
}
