//! Checked configuration values. Whoever holds a [`Config`] holds one that can be served.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use super::log::LogSettings;
use super::proxy::Proxy;
use super::shared::SharedBudgets;
use crate::operation::{BudgetName, Host, Scope};
use crate::secret::{Secret, TokenDigest};

/// A whole checked configuration.
pub struct Config {
    /// Where internal apps connect; at least one.
    pub listeners: Vec<Listener>,
    /// Where operators connect.
    pub admin: Admin,
    /// Threads that serve; `None`: one per core.
    pub workers: Option<NonZeroUsize>,
    /// How the vendor is reached.
    pub vendor: Vendor,
    /// How long after a given-up attempt the vendor may still count it.
    pub guard: Duration,
    /// Keeps budgets over restarts, already resolved against the configuration file's folder.
    pub state_file: Option<PathBuf>,
    /// How budgets are shared between replicas; `None`: there is only this one.
    pub shared_budgets: Option<SharedBudgets>,
    /// Bounds on everything a caller can make us hold.
    pub limits: Limits,
    /// How a stop goes.
    pub drain: Drain,
    /// Rules for target lists.
    pub files: Files,
    /// Rules for pictures.
    pub images: Images,
    /// Where calls that change something are written down; `None`: nowhere.
    pub audit: Option<Audit>,
    /// How the log of the process is written.
    pub log: LogSettings,
    /// The applications; at least one.
    pub tenants: Vec<TenantConfig>,
    /// The internal programs; at least one.
    pub callers: Vec<CallerConfig>,
    /// What is allowed but deserves a line in the log.
    pub warnings: Vec<String>,
    /// SHA-256 of the file's bytes, in hexadecimal: tells which configuration is loaded.
    pub digest: String,
}

/// Where the audit log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audit {
    /// Standard error, among the other lines there.
    Stderr,
    /// A file, already resolved against the configuration file's folder.
    File(PathBuf),
}

/// One address that internal apps connect to.
#[derive(Clone, PartialEq, Eq)]
pub struct Listener {
    /// Port 0 lets the system choose.
    pub address: SocketAddr,
    /// Every connection begins with what a proxy says of its client (PROXY protocol); whoever connects is believed.
    pub proxy_protocol: bool,
    /// `None`: plain HTTP.
    pub tls: Option<ListenerTls>,
}

/// TLS of one listener.
#[derive(Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// PEM files, one pair a certificate, already resolved against the configuration file's folder; at least one.
    pub certificates: Vec<CertificateFiles>,
    /// PEM bundle of those who sign client certificates; `None`: none are asked for.
    pub client_ca: Option<PathBuf>,
    /// Offers HTTP/2 by ALPN.
    pub http2: bool,
}

/// Where a certificate chain and its key are.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM key.
    pub private_key: PathBuf,
}

/// The admin listener.
pub struct Admin {
    /// Loopback, unless there is a token.
    pub address: SocketAddr,
    /// SHA-256 of the token that `/`, `/status` and `/reload` ask for.
    pub token: Option<TokenDigest>,
}

/// How the vendor is reached.
#[derive(PartialEq, Eq)]
pub struct Vendor {
    /// PEM bundle of extra trust roots.
    pub ca: Option<PathBuf>,
    /// HTTP proxy that tunnels to every base URL but those of this machine; spoken to in plain text.
    pub proxy: Option<Proxy>,
    /// Sends `traceparent` and `tracestate` on.
    pub forward_trace: bool,
    /// DNS, TCP, the proxy and TLS together.
    pub connect_timeout: Duration,
    /// From the last byte of the request to the last byte of the answer.
    pub response_timeout: Duration,
}

/// Bounds on what callers can make us hold. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections, all listeners together.
    pub connections: usize,
    /// Requests at once; no caller holds more than half.
    pub in_flight: usize,
    /// All buffered bodies together; no caller holds more than half.
    pub body_memory_bytes: usize,
    /// All unfinished heads together, and answers over HTTP/2 that strangers do not take.
    pub head_memory_bytes: usize,
    /// One JSON body.
    pub json_body_bytes: usize,
    /// One batch body.
    pub batch_body_bytes: usize,
    /// For a request's head.
    pub header_timeout: Duration,
    /// For a request's body.
    pub body_timeout: Duration,
    /// For a connection with no request on it.
    pub idle_timeout: Duration,
    /// From the end of the request's body to our answer.
    pub deadline: Duration,
}

/// How a stop goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// How long requests are still served after the signal.
    pub delay: Duration,
    /// When the process ends at the latest.
    pub deadline: Duration,
    /// Its addresses can be shared with the process that takes its place, also without a state file.
    pub handover: bool,
}

/// Whether a rule refuses or only counts and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refuse.
    Enforce,
    /// Let pass, count and log.
    Report,
}

/// Rules for target lists. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The list itself.
    pub max_bytes: usize,
    /// One trimmed line.
    pub line_bytes: usize,
    /// The name must end in `.txt`.
    pub txt: Mode,
}

/// Rules for pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// One picture, in bytes.
    pub max_bytes: usize,
    /// OPPO's big pictures.
    pub oppo_big: ImageRule,
    /// OPPO's icons.
    pub oppo_icon: ImageRule,
}

/// What a channel takes of one picture type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRule {
    /// Width and height in pixels; any one of them.
    pub sizes: Vec<(u32, u32)>,
    /// Weight in bytes.
    pub max_bytes: usize,
    /// Refuse or report.
    pub mode: Mode,
}

/// A budget's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimit {
    /// Calls a window.
    pub limit: NonZeroU32,
    /// Length of the window.
    pub window: Duration,
    /// Pacing: how many calls may go at once before the rest is spread over the window.
    pub burst: Option<NonZeroU32>,
}

/// The budgets of one tenant: the file's defaults with the tenant's overrides; `None` is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetLimits([Option<BudgetLimit>; BudgetName::ALL.len()]);

impl BudgetLimits {
    /// Builds the set from a function of the name.
    pub fn from_fn(mut limit: impl FnMut(BudgetName) -> Option<BudgetLimit>) -> Self {
        Self(BudgetName::ALL.map(&mut limit))
    }

    /// The size of one budget; `None` if it is off.
    pub fn of(&self, name: BudgetName) -> Option<BudgetLimit> {
        self.0[name.index()]
    }
}

/// One vendor application.
pub struct TenantConfig {
    /// Its name.
    pub name: String,
    /// App key and master secret.
    pub app: CredentialConfig,
    /// Dev key and dev secret.
    pub dev: Option<CredentialConfig>,
    /// Group key and group master secret.
    pub group: Option<CredentialConfig>,
    /// Its budgets.
    pub budgets: BudgetLimits,
    /// Where its calls go.
    pub urls: BaseUrls,
    /// Which paths the vendor uses for it.
    pub region: Region,
    /// How its pushes are kept from going out twice.
    pub repeats: Repeats,
}

/// How a tenant's pushes are kept from going out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeats {
    /// Whether pushes without a cid get one.
    pub cid: CidPolicy,
    /// Cids fetched at once, 1-1,000; the vendor gives apps without VIP at most 10.
    pub cid_batch: NonZeroU32,
    /// How long after a broken connection the same push is taken for the broken one; zero: never.
    pub resend_guard: Duration,
}

impl Default for Repeats {
    fn default() -> Self {
        let cid_batch = NonZeroU32::new(10).expect("not zero");
        Self { cid: CidPolicy::Off, cid_batch, resend_guard: Duration::from_secs(2) }
    }
}

/// Whether pushes without a cid get one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CidPolicy {
    /// They go as they came.
    Off,
    /// One is written into them.
    Inject,
}

/// A key of the vendor's with its secret.
pub struct CredentialConfig {
    /// As the vendor counts it: a group key carries its `group-`.
    pub key: VendorKey,
    /// Its secret.
    pub secret: Secret,
}

/// An app key, a dev key or `group-` + a group key. Not a secret: app keys ship in every mobile app.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VendorKey(String);

impl VendorKey {
    /// Takes a key of 1-128 visible ASCII characters without `:`, which Basic authentication cannot carry.
    pub fn new(key: String) -> Option<Self> {
        let fits =
            matches!(key.len(), 1..=128) && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
        fits.then_some(Self(key))
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Base URLs of the vendor's hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrls([Option<BaseUrl>; Host::ALL.len()]);

impl BaseUrls {
    /// Builds the set from a function of the host.
    pub fn from_fn(mut url: impl FnMut(Host) -> Option<BaseUrl>) -> Self {
        Self(Host::ALL.map(&mut url))
    }

    /// The base URL of a host; `None` if its operations are off.
    pub fn of(&self, host: Host) -> Option<&BaseUrl> {
        self.0[host as usize].as_ref()
    }
}

/// `http://` or `https://`, a host and a port: where connections go. Never derived from a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BaseUrl {
    /// Speaks TLS.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl BaseUrl {
    /// The value of the `Host` header.
    pub fn authority(&self) -> String {
        if self.own_port().is_none() { self.bracketed() } else { self.host_and_port() }
    }

    /// The port, where it is not the scheme's own.
    pub fn own_port(&self) -> Option<u16> {
        let default_port = if self.tls { 443 } else { 80 };
        Some(self.port).filter(|port| *port != default_port)
    }

    /// Host and port, also where the port is the scheme's own.
    pub fn host_and_port(&self) -> String {
        format!("{}:{}", self.bracketed(), self.port)
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// Leads to this machine.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
    }

    /// Scheme and authority, as it is written in the configuration.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

/// Which paths the vendor's data centre uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// The documented ones.
    Default,
    /// bjapi.push.jiguang.cn: one host for everything, some paths with another prefix.
    Beijing,
}

/// One internal program.
pub struct CallerConfig {
    /// Its name.
    pub name: String,
    /// Its tokens; one or more, so that a token can be rotated, unless it has certificates.
    pub tokens: Vec<TokenConfig>,
    /// URI or DNS names of its client certificates; no other caller has them.
    pub certificates: Vec<String>,
    /// Names of the tenants it may use, in the file's order; each exists.
    pub tenants: Vec<String>,
    /// Its rights.
    pub allow: Vec<Scope>,
    /// May push to every device.
    pub broadcast: bool,
    /// Its share of the tenants' budgets.
    pub quota: Option<BudgetLimit>,
    /// Its share when several callers wait for one budget.
    pub weight: NonZeroU32,
    /// Calls a window kept for it in these budgets of its tenants.
    pub reserve: Vec<(BudgetName, NonZeroU32)>,
    /// How long its requests wait for a budget unless they say otherwise.
    pub wait: Duration,
}

/// A caller's token, known by its digest only.
pub struct TokenConfig {
    /// What the operator calls it; the token's number when it has no name.
    pub name: String,
    /// SHA-256 of the token.
    pub digest: TokenDigest,
}
