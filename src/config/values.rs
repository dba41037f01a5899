//! Checked configuration values: a [`Config`] can be served as it is.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use super::base_url::{BaseUrls, Region};
use super::log::LogSettings;
use super::parsed::ParsedFiles;
use super::proxy::Proxy;
use super::shared::SharedBudgets;
use super::tracing::Tracing;
use crate::operation::{BudgetName, Scope};
use crate::secret::{Secret, TokenDigest};

/// A complete configuration, checked: secrets are resolved and every name in it exists.
pub struct Config {
    /// Addresses that callers connect to; at least one.
    pub listeners: Vec<Listener>,
    /// The listener for operators: status, metrics, reload.
    pub admin: Admin,
    /// Worker threads; `None` means one per core.
    pub workers: Option<NonZeroUsize>,
    /// Settings of connections to the vendor.
    pub vendor: Vendor,
    /// Time in which the vendor may still count a call after the gateway has given it up. The call holds its slot that
    /// long.
    pub guard: Duration,
    /// File that keeps budgets over restarts, resolved against the configuration file's folder; `None` means that
    /// counts start empty.
    pub state_file: Option<PathBuf>,
    /// The store that replicas share their budgets in; `None` means that this is the only process.
    pub shared_budgets: Option<SharedBudgets>,
    /// The collector of spans; `None` means that nothing is traced.
    pub tracing: Option<Tracing>,
    /// Limits of connections, memory and time for everything that callers send.
    pub limits: Limits,
    /// Times of a shutdown.
    pub drain: Drain,
    /// Rules for target lists (`files` operations).
    pub files: Files,
    /// Rules for uploaded pictures.
    pub images: Images,
    /// Destination of the audit log, which has a line for each call that changes something; `None` means no audit log.
    pub audit: Option<Audit>,
    /// Format and level of the process log.
    pub log: LogSettings,
    /// The vendor applications; at least one.
    pub tenants: Vec<TenantConfig>,
    /// The programs that may use the gateway; at least one.
    pub callers: Vec<CallerConfig>,
    /// Settings that are allowed but probably not meant; each becomes a warning in the log.
    pub warnings: Vec<String>,
    /// SHA-256 of the bytes of all files in hexadecimal, shown so that operators can tell which configuration is loaded.
    pub digest: String,
    /// Its files as they were parsed, which the next configuration takes over where their bytes are the same.
    pub parsed: ParsedFiles,
}

/// Destination of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audit {
    /// Standard error, mixed with the process log.
    Stderr,
    /// A file, resolved against the configuration file's folder.
    File(PathBuf),
}

/// One address that callers connect to.
#[derive(Clone, PartialEq, Eq)]
pub struct Listener {
    /// IP address and port; port 0 lets the operating system choose.
    pub address: SocketAddr,
    /// Expects a PROXY protocol header at the start of every connection and takes the client's address from it. Any
    /// peer is believed, so only the proxy may be able to connect.
    pub proxy_protocol: bool,
    /// TLS settings; `None` means plain HTTP.
    pub tls: Option<ListenerTls>,
}

/// TLS settings of one listener.
#[derive(Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// Certificate chains with their keys, chosen by SNI; at least one.
    pub certificates: Vec<CertificateFiles>,
    /// PEM bundle of the authorities that sign client certificates; `None` means that clients are not asked for one.
    pub client_ca: Option<PathBuf>,
    /// Whether HTTP/2 is offered by ALPN beside HTTP/1.1.
    pub http2: bool,
}

/// The files of a certificate chain and its key, resolved against the configuration file's folder.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM file with the chain, leaf first.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub private_key: PathBuf,
}

/// Settings of the admin listener.
pub struct Admin {
    /// Address to listen on: loopback, unless `token` is set.
    pub address: SocketAddr,
    /// SHA-256 of the token that `/`, `/status` and `/reload` ask for.
    pub token: Option<TokenDigest>,
}

/// Settings of connections to the vendor that all tenants share.
#[derive(PartialEq, Eq)]
pub struct Vendor {
    /// PEM bundle of trust roots beside the built-in ones.
    pub ca: Option<PathBuf>,
    /// HTTP proxy through which the vendor is reached by `CONNECT`. Base URLs on this machine bypass it. The gateway
    /// speaks to the proxy in plain text.
    pub proxy: Option<Proxy>,
    /// Whether the vendor gets `traceparent` and `tracestate`: those of the caller, or of the attempt where requests are
    /// traced.
    pub forward_trace: bool,
    /// Time limit of DNS, TCP, the proxy's answer and TLS together.
    pub connect_timeout: Duration,
    /// Time limit from the last byte of the request to the last byte of the answer.
    pub response_timeout: Duration,
}

/// Limits of connections, memory and time for what callers send. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections on all listeners together.
    pub connections: usize,
    /// Requests in work at once; one caller gets at most half of them.
    pub in_flight: usize,
    /// Memory of all buffered bodies together; one caller gets at most half of it.
    pub body_memory_bytes: usize,
    /// Memory of all unfinished request heads together, and of answers over HTTP/2 that clients without a credential do
    /// not read.
    pub head_memory_bytes: usize,
    /// Largest JSON body, in bytes.
    pub json_body_bytes: usize,
    /// Largest body of an operation that takes a batch of pushes, in bytes.
    pub batch_body_bytes: usize,
    /// Time limit for receiving a request's head.
    pub header_timeout: Duration,
    /// Time limit for receiving a request's body.
    pub body_timeout: Duration,
    /// Time that a connection may stay open with no request on it.
    pub idle_timeout: Duration,
    /// Time limit from the end of the request's body to the gateway's answer: queueing, attempts, everything.
    pub deadline: Duration,
}

/// Times of a shutdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Time after the signal in which requests are still accepted, while `/readyz` already tells load balancers to go
    /// elsewhere.
    pub delay: Duration,
    /// Upper bound of the time that unfinished requests get after `delay`; then the process ends.
    pub deadline: Duration,
    /// Lets a successor listen on the same addresses while this process still runs, also without a state file.
    pub handover: bool,
}

/// Effect of a broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The request is refused.
    Enforce,
    /// The request is let through, counted and logged.
    Report,
}

/// Rules for target lists. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Largest list, in bytes.
    pub max_bytes: usize,
    /// Longest line, without blanks around it.
    pub line_bytes: usize,
    /// Effect of a file name that does not end in `.txt`.
    pub txt: Mode,
}

/// Rules for uploaded pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Largest picture of any kind, in bytes.
    pub max_bytes: usize,
    /// Rule for OPPO's big pictures.
    pub oppo_big: ImageRule,
    /// Rule for OPPO's icons.
    pub oppo_icon: ImageRule,
}

/// Requirements of a vendor channel for one picture type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRule {
    /// Allowed widths and heights in pixels; a picture must have one of these pairs.
    pub sizes: Vec<(u32, u32)>,
    /// Largest file, in bytes.
    pub max_bytes: usize,
    /// Effect of a picture that breaks the rule.
    pub mode: Mode,
}

/// Size of a budget: `limit` calls in each `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimit {
    /// Upper bound of calls per window.
    pub limit: NonZeroU32,
    /// Length of the window.
    pub window: Duration,
    /// Calls that may go out at once; the rest is spread evenly over the window. `None` means no pacing.
    pub burst: Option<NonZeroU32>,
}

/// Sizes of one tenant's budgets: the file's defaults with the tenant's overrides. `None` means that a budget is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetLimits([Option<BudgetLimit>; BudgetName::ALL.len()]);

impl BudgetLimits {
    /// Builds the set by asking `limit` for each budget.
    pub fn from_fn(mut limit: impl FnMut(BudgetName) -> Option<BudgetLimit>) -> Self {
        Self(BudgetName::ALL.map(&mut limit))
    }

    /// The size of one budget; `None` if the budget is off.
    pub fn of(&self, name: BudgetName) -> Option<BudgetLimit> {
        self.0[name.index()]
    }
}

/// One vendor application with its credentials, budgets and base URLs.
pub struct TenantConfig {
    /// Name in the configuration, which callers, logs and metrics use.
    pub name: String,
    /// App key and master secret.
    pub app: CredentialConfig,
    /// Dev key and dev secret, an alternative credential for target lists; `None` if not configured.
    pub dev: Option<CredentialConfig>,
    /// Group key and group master secret, for group pushes; `None` if not configured.
    pub group: Option<CredentialConfig>,
    /// Sizes of the budgets of each of its keys.
    pub budgets: BudgetLimits,
    /// Base URLs that its calls go to.
    pub urls: BaseUrls,
    /// Data centre, which decides the paths on the vendor's side.
    pub region: Region,
    /// Measures against sending a push twice.
    pub repeats: Repeats,
}

/// Measures against sending a tenant's pushes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeats {
    /// Handling of pushes without a cid.
    pub cid: CidPolicy,
    /// Cids fetched from the vendor in one call, 1-1,000; the vendor gives apps without VIP at most 10.
    pub cid_batch: NonZeroU32,
    /// Time after a broken connection in which the same push of the same caller counts as a resend of the broken one;
    /// zero turns this off.
    pub resend_guard: Duration,
}

impl Default for Repeats {
    fn default() -> Self {
        let cid_batch = NonZeroU32::new(10).expect("10 is not zero");
        Self { cid: CidPolicy::Off, cid_batch, resend_guard: Duration::from_secs(2) }
    }
}

/// Handling of pushes without a cid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CidPolicy {
    /// They are sent unchanged.
    Off,
    /// A cid from the tenant's pool is written into them.
    Inject,
}

/// A vendor key with its secret.
pub struct CredentialConfig {
    /// The key under which the vendor counts calls: a group key with its `group-`.
    pub key: VendorKey,
    /// The secret that belongs to the key.
    pub secret: Secret,
}

/// An app key, a dev key or `group-` + a group key. Not a secret: app keys ship in every mobile app.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VendorKey(String);

impl VendorKey {
    /// Accepts 1-128 visible ASCII characters without `:`, which Basic authentication cannot carry; `None` for anything
    /// else.
    pub fn new(key: String) -> Option<Self> {
        let fits =
            matches!(key.len(), 1..=128) && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
        fits.then_some(Self(key))
    }

    /// The key as text, with `group-` if it is a group key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One program that uses the gateway, with its credentials and rights.
pub struct CallerConfig {
    /// Name in the configuration, which logs and metrics use.
    pub name: String,
    /// Tokens that identify it; at least one, unless it has certificates. Several allow a token to be rotated.
    pub tokens: Vec<TokenConfig>,
    /// URI or DNS names of client certificates that identify it. No other caller lists them.
    pub certificates: Vec<String>,
    /// Names of the tenants it may use, in the file's order; each exists.
    pub tenants: Vec<String>,
    /// Scopes of the operations it may call.
    pub allow: Vec<Scope>,
    /// Whether it may push to every device.
    pub broadcast: bool,
    /// Upper bound of its calls on the tenants' budgets; `None` means no bound of its own.
    pub quota: Option<BudgetLimit>,
    /// Relative share when several callers queue for one budget.
    pub weight: NonZeroU32,
    /// Calls per window that are reserved for it in these budgets of its tenants.
    pub reserve: Vec<(BudgetName, NonZeroU32)>,
    /// Time its requests queue for a budget unless they say otherwise.
    pub wait: Duration,
}

/// A caller's token, known by its digest only.
pub struct TokenConfig {
    /// Name given by the operator; the token's position, counted from 1, if it has none.
    pub name: String,
    /// SHA-256 of the token; the token itself is not in the configuration.
    pub digest: TokenDigest,
}
