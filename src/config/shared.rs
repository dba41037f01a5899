//! Reads `shared_budgets`: the store that replicas share, and the division of each budget.

use std::num::NonZeroU32;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::reader::{ConfigValue, Section};
use super::sources::Outside;
use crate::secret::{Secret, TokenDigest};

/// Settings of the store in which replicas share their budgets.
pub struct SharedBudgets {
    /// The servers.
    pub servers: StoreServers,
    /// File of the only trust roots for the servers; without it, those of the system.
    pub ca: Option<PathBuf>,
    /// Division of each budget.
    pub shares: Shares,
}

/// The servers of the store. A URL is `redis://[user[:password]@]host[:port][/database]`, or `rediss://` for TLS. All of
/// it is a secret, because it may hold a password.
pub enum StoreServers {
    /// One server.
    One(Secret),
    /// Some servers of a cluster.
    Cluster(Vec<Secret>),
    /// The server that sentinels name.
    Sentinel {
        /// All sentinels.
        urls: Vec<Secret>,
        /// The name under which they watch over the server.
        master: String,
        /// The user of the server.
        user: Option<String>,
        /// The password of the server.
        password: Option<Secret>,
    },
}

impl StoreServers {
    fn urls(&self) -> &[Secret] {
        match self {
            Self::One(url) => std::slice::from_ref(url),
            Self::Cluster(urls) | Self::Sentinel { urls, .. } => urls,
        }
    }
}

impl SharedBudgets {
    /// A digest of where the store is and who may use it, by which two configurations are compared.
    pub fn digest(&self) -> TokenDigest {
        let ca = self.ca.as_deref().map_or("".into(), |path| path.to_string_lossy());
        let (kind, more) = match &self.servers {
            StoreServers::One(_) => ("one", vec![]),
            StoreServers::Cluster(_) => ("cluster", vec![]),
            StoreServers::Sentinel { master, user, password, .. } => {
                let password = password.as_ref().map_or("", |password| password.expose());
                ("sentinel", vec![master.as_str(), user.as_deref().unwrap_or_default(), password])
            }
        };
        let urls = self.servers.urls().iter().map(Secret::expose);
        let parts: Vec<_> = [kind, &ca].into_iter().chain(more).chain(urls).collect();
        TokenDigest::of(Zeroizing::new(parts.join("\0")).as_bytes())
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
    let servers = read_servers(&mut redis, outside);
    let ca = redis.get("ca");
    let roots = ca.as_ref().and_then(|value| outside.roots(value));
    if let (Some(ca), Some(servers)) = (&ca, &servers)
        && !servers.urls().iter().all(is_tls)
    {
        ca.fault("without TLS there is nothing to verify; the URL must start with rediss://");
    }
    let local = redis.get("local_share").map_or(Some(LOCAL_PERCENT), |value| value.percent("limits", "20%"));
    let replicas = redis.required("replicas").and_then(|value| value.positive(REPLICAS_MAX));
    let shares = Shares { local_percent: local?, replicas: replicas? };
    Some(SharedBudgets { servers: servers?, ca: roots, shares })
}

fn read_servers(redis: &mut Section<'_>, outside: &Outside<'_>) -> Option<StoreServers> {
    let (urls, sentinel, cluster) = (redis.get("urls"), redis.get("sentinel"), redis.get("cluster"));
    let is_cluster = cluster.as_ref().is_some_and(|value| value.flag() == Some(true));
    if let (true, None, Some(cluster)) = (is_cluster, &urls, &cluster) {
        cluster.fault("a cluster is reached by urls: [ … ], some of its servers");
    }
    if let Some(other) = urls.as_ref().or(sentinel.as_ref())
        && let Some(url) = redis.get("url")
    {
        url.fault(format!("{} says where the store is; only one of the two can stay", other.path()));
    }
    match (urls, sentinel) {
        (None, None) => redis.required("url").and_then(|url| read_url(&url, outside)).map(StoreServers::One),
        (Some(urls), None) => {
            let read = read_urls(&urls, outside);
            if !is_cluster {
                return urls.refuse("several URLs are those of a cluster; write cluster: true beside them");
            }
            let has_database = |url: &Secret| database(url) != 0;
            if read.as_ref().is_some_and(|read| read.iter().any(has_database)) {
                return urls
                    .refuse("a cluster has no other database than 0; the URLs must end without /database");
            }
            read.map(StoreServers::Cluster)
        }
        (None, Some(sentinel)) => read_sentinel(&sentinel, outside),
        (Some(urls), Some(_)) => {
            urls.refuse("the servers of a cluster need no sentinel; only one of the two can stay")
        }
    }
}

fn read_sentinel(sentinel: &ConfigValue<'_>, outside: &Outside<'_>) -> Option<StoreServers> {
    let mut section = sentinel.section();
    let urls = section.required("urls").and_then(|urls| read_urls(&urls, outside));
    let master = section.required("master").and_then(|name| name.text().map(str::to_owned));
    let user = section.get("user").map(|user| user.text().map(str::to_owned));
    let password = section.get("password").map(|password| outside.secret(&password));
    let password = password.map(|read| read.map(|(secret, _)| secret));
    if user.is_some() && password.is_none() {
        section.value().fault("a user needs a password");
    }
    let (user, password) = (option(user)?, option(password)?);
    Some(StoreServers::Sentinel { urls: urls?, master: master?, user, password })
}

/// What was read, if it was there; `None` after a fault.
#[expect(clippy::option_option, reason = "absent is not the same as faulty")]
fn option<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    read.map_or(Some(None), |value| value.map(Some))
}

/// Reads URLs that differ in nothing but the address.
fn read_urls(value: &ConfigValue<'_>, outside: &Outside<'_>) -> Option<Vec<Secret>> {
    let items = value.items();
    let urls: Vec<_> = items.iter().map(|item| read_url(item, outside)).collect();
    let urls: Vec<Secret> = urls.into_iter().collect::<Option<_>>()?;
    for (item, url) in items.iter().zip(&urls) {
        if !reach_alike(urls.first()?, url) {
            item.fault(
                "the first one has another scheme, user, password or database; they must be the same in all",
            );
        }
    }
    (!urls.is_empty()).then_some(urls)
}

fn reach_alike(one: &Secret, other: &Secret) -> bool {
    let settings = |url: &Secret| {
        let info = redis::Client::open(url.expose()).ok()?.get_connection_info().clone();
        Some(info.redis_settings().clone())
    };
    let (Some(a), Some(b)) = (settings(one), settings(other)) else { return false };
    let same = (a.username(), a.password(), a.db()) == (b.username(), b.password(), b.db());
    same && is_tls(one) == is_tls(other)
}

fn database(url: &Secret) -> i64 {
    redis::Client::open(url.expose()).map_or(0, |client| client.get_connection_info().redis_settings().db())
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
