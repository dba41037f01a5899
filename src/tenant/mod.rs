//! The directory of tenants, credentials and callers, which requests are authorized against.
//!
//! Prebuilt credential headers, budgets and base URLs are resolved once, when a configuration is activated. Pure: no
//! I/O. [`Directory::authorize`] returns a [`Grant`], the evidence that every later stage asks for.

mod certificates;
mod cids;
mod denied;
mod policy;
mod resolve;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::budget::{Budget, Budgets, Precedence, Quota, Requester};
use crate::config::{BaseUrl, Config, Region, Repeats, VendorKey};
use crate::operation::{BudgetName, CredentialRule, Host, OperationId, Scope};
use crate::secret::TokenDigest;

pub use certificates::CertificateOwner;
pub use denied::{Denied, MissingRight};
pub use resolve::origins;

/// One vendor application, ready to be called.
pub struct Tenant {
    /// Name in the configuration, in logs and in metrics.
    pub name: String,
    /// Data centre, which decides the paths on the vendor's side.
    pub region: Region,
    /// Measures against sending its pushes twice.
    pub repeats: Repeats,
    origins: [Option<OriginId>; Host::ALL.len()],
    credentials: [Option<Credential>; CredentialKind::ALL.len()],
}

impl Tenant {
    /// The credential of one kind; `None` if it is not configured.
    pub fn credential(&self, kind: CredentialKind) -> Option<&Credential> {
        self.credentials[kind as usize].as_ref()
    }

    /// Position of the base URL for a host; `None` if the operations of that host are off.
    pub fn origin(&self, host: Host) -> Option<OriginId> {
        self.origins[host as usize]
    }
}

/// Position of a base URL in [`Directory::origins`]. Connections to the vendor are pooled by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginId(pub usize);

/// Kind of a vendor key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// Key of one app.
    App,
    /// Developer key, which reaches every app of the account.
    Dev,
    /// Key of a group of apps.
    Group,
}

impl CredentialKind {
    /// All kinds, in the order of their discriminants.
    pub const ALL: [Self; 3] = [Self::App, Self::Dev, Self::Group];

    /// Name of the kind in `explain` and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Dev => "dev",
            Self::Group => "group",
        }
    }
}

/// A vendor key with its prebuilt header and its budgets.
pub struct Credential {
    /// The key under which the vendor counts calls.
    pub key: VendorKey,
    /// The `Authorization` value, marked sensitive so that `Debug` hides it.
    authorization: HeaderValue,
    budgets: [Option<&'static Budget>; BudgetName::ALL.len()],
}

impl Credential {
    /// The `Authorization` value of requests to the vendor. Only the builder of those requests may ask for it.
    pub(crate) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// The budget of this name; `None` if it is off.
    pub fn budget(&self, name: BudgetName) -> Option<&'static Budget> {
        self.budgets[name.index()]
    }

    /// All budgets of the key that are on.
    pub fn budgets(&self) -> impl Iterator<Item = &'static Budget> {
        self.budgets.into_iter().flatten()
    }
}

/// One program that uses the gateway, with its rights.
pub struct Caller {
    /// Name in the configuration, in logs and in metrics.
    pub name: String,
    /// Whether it may push to every device.
    pub broadcast: bool,
    /// Number that stands for the caller in the records of budgets. Reloads do not change it.
    pub number: u16,
    scopes: u8,
    tenants: Vec<usize>,
    /// Users of Basic credentials that it may write, with the tenants that each selects.
    users: HashMap<String, Vec<NamedTenant>>,
    quota: Option<Arc<Quota>>,
    weight: u32,
    /// Time its requests queue for a budget unless they say otherwise.
    pub wait: Duration,
    token_names: Vec<String>,
}

/// A tenant selected by a user name, and whether that name was its dev key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NamedTenant {
    tenant: usize,
    as_dev: bool,
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

    /// Counter of its own quota; `None` if it has none.
    pub fn quota(&self) -> Option<&Arc<Quota>> {
        self.quota.as_ref()
    }
}

const fn bit(scope: Scope) -> u8 {
    1 << scope as u8
}

/// The tenants and callers of one configuration, resolved, for authorizing requests.
pub struct Directory {
    /// All tenants, in the configuration's order.
    pub tenants: Vec<Tenant>,
    /// All callers, in the configuration's order.
    pub callers: Vec<Caller>,
    /// Every base URL that a call can go to, each once.
    pub origins: Vec<BaseUrl>,
    by_token: HashMap<u64, Vec<KnownToken>>,
    by_certificate: HashMap<String, (usize, usize)>,
    /// Names of all callers since the start, by number. Numbers are never reused: a slot in a budget outlives the
    /// configuration that had the caller.
    roster: Vec<String>,
}

struct KnownToken {
    digest: TokenDigest,
    caller: usize,
    token: usize,
}

/// The caller that a request identified, and the tenants that its credentials select. Evidence that a token or a
/// certificate was good.
#[derive(Clone, Copy)]
pub struct Principal<'d> {
    caller: usize,
    /// Position of the token or of the certificate's name in [`Caller::token_names`].
    pub token: usize,
    wanted: TenantsNamed<'d>,
}

impl Principal<'_> {
    /// Position of the caller in [`Directory::callers`].
    pub fn caller(&self) -> usize {
        self.caller
    }
}

#[derive(Clone, Copy)]
enum TenantsNamed<'d> {
    /// Bearer, a certificate, or Basic with an empty user: a header names the tenant, or the caller has only one.
    Unnamed,
    /// The user of Basic credentials selects these; empty if it selects none.
    Named(&'d [NamedTenant]),
}

/// Headers of a request that select the tenant and the credential.
#[derive(Clone, Copy, Debug, Default)]
pub struct TenantHints<'r> {
    /// Tenant name from `X-JPush-Tenant`.
    pub tenant: Option<&'r str>,
    /// Whether `X-JPush-Credential: dev` asks for the dev credential.
    pub as_dev: bool,
}

impl Directory {
    /// Resolves a checked configuration. A key that `budgets` knows already keeps its counts.
    pub fn new(config: &Config, budgets: &Budgets) -> Self {
        Self::after(None, config, budgets)
    }

    /// Resolves a checked configuration that replaces another: callers keep their numbers, and unchanged quotas keep
    /// their counts.
    pub fn after(previous: Option<&Self>, config: &Config, budgets: &Budgets) -> Self {
        resolve::directory(previous, config, budgets)
    }

    /// Position of the caller with this name in [`Self::callers`].
    pub fn caller_named(&self, name: &str) -> Option<usize> {
        self.callers.iter().position(|known| known.name == name)
    }

    /// Name of the caller with this number in the records of budgets, also if the configuration has it no more.
    pub fn name_of(&self, number: u16) -> Option<&str> {
        self.roster.get(usize::from(number)).map(String::as_str)
    }

    /// Every token of the configuration: its digest, its caller's position, and its own position there.
    pub fn tokens(&self) -> impl Iterator<Item = (&TokenDigest, usize, usize)> {
        let known = self.by_token.values().flatten();
        known.map(|known| (&known.digest, known.caller, known.token))
    }

    /// Positions of the caller that has a token, and of the token there. `None` if no caller has it.
    pub fn token_owner(&self, digest: &TokenDigest) -> Option<(usize, usize)> {
        let candidates = self.by_token.get(&digest.prefix())?;
        let known = candidates.iter().find(|known| known.digest.matches(digest))?;
        Some((known.caller, known.token))
    }

    /// Finds the caller of a token. `user` is the user of Basic credentials. `None` if no caller has the token.
    pub fn identify(&self, token: &[u8], user: Option<&str>) -> Option<Principal<'_>> {
        let (caller, token) = self.token_owner(&TokenDigest::of(token))?;
        Some(Principal { caller, token, wanted: self.wanted(caller, user) })
    }

    /// The principal that a caller of this name would be with its own token and this user: for `explain`, which has no
    /// token.
    pub fn principal_named(&self, caller: &str, user: Option<&str>) -> Option<Principal<'_>> {
        let caller = self.caller_named(caller)?;
        Some(Principal { caller, token: 0, wanted: self.wanted(caller, user) })
    }

    fn wanted(&self, caller: usize, user: Option<&str>) -> TenantsNamed<'_> {
        match user {
            None | Some("") => TenantsNamed::Unnamed,
            Some(user) => {
                TenantsNamed::Named(self.callers[caller].users.get(user).map_or(&[], Vec::as_slice))
            }
        }
    }

    /// Decides whether a caller may make a call, for which tenant and with which of its credentials.
    pub fn authorize(
        self: &Arc<Self>,
        principal: Principal<'_>,
        operation: OperationId,
        tenant_hints: TenantHints<'_>,
    ) -> Result<Grant, Denied> {
        let caller = &self.callers[principal.caller];
        let NamedTenant { tenant, as_dev } = self.pick(caller, principal.wanted, tenant_hints)?;
        if !caller.may(operation.scope) {
            return Err(Denied::Forbidden(MissingRight::Scope(operation.scope)));
        }
        let kind = match operation.credential {
            CredentialRule::App => CredentialKind::App,
            CredentialRule::Group => CredentialKind::Group,
            CredentialRule::AppOrDev if !as_dev && !tenant_hints.as_dev => CredentialKind::App,
            // A dev key reaches every app of the account, so it needs the wider scope as well.
            CredentialRule::AppOrDev if caller.may(Scope::Group) => CredentialKind::Dev,
            CredentialRule::AppOrDev => return Err(Denied::Forbidden(MissingRight::Scope(Scope::Group))),
        };
        if self.tenants[tenant].credential(kind).is_none() {
            return Err(Denied::Forbidden(MissingRight::Credential(kind)));
        }
        let origin = self.tenants[tenant].origin(operation.host).ok_or(Denied::HostOff)?;
        Ok(Grant { directory: Arc::clone(self), caller: principal.caller, tenant, kind, operation, origin })
    }

    fn pick(
        &self,
        caller: &Caller,
        wanted: TenantsNamed<'_>,
        tenant_hints: TenantHints<'_>,
    ) -> Result<NamedTenant, Denied> {
        let by_header =
            |tenant: usize| tenant_hints.tenant.is_none_or(|name| self.tenants[tenant].name == name);
        let unnamed = || caller.tenants.iter().map(|&tenant| NamedTenant { tenant, as_dev: false });
        let fits: Vec<NamedTenant> = match wanted {
            // The common cases allocate no list.
            TenantsNamed::Named(&[only]) if by_header(only.tenant) => return Ok(only),
            TenantsNamed::Unnamed if caller.tenants.len() == 1 && by_header(caller.tenants[0]) => {
                return Ok(NamedTenant { tenant: caller.tenants[0], as_dev: false });
            }
            TenantsNamed::Named(named) => {
                named.iter().copied().filter(|named| by_header(named.tenant)).collect()
            }
            TenantsNamed::Unnamed => unnamed().filter(|named| by_header(named.tenant)).collect(),
        };
        match fits[..] {
            [] => Err(Denied::Forbidden(MissingRight::Tenant)),
            [only] => Ok(only),
            [..] => Err(Denied::TenantRequired),
        }
    }
}

/// Evidence that a caller may make a call for a tenant with one of its credentials. Only [`Directory::authorize`] and
/// [`Grant::for_cids`] create one.
#[derive(Clone)]
pub struct Grant {
    directory: Arc<Directory>,
    caller: usize,
    tenant: usize,
    kind: CredentialKind,
    operation: OperationId,
    origin: OriginId,
}

impl Grant {
    /// The operation that may be called.
    pub fn operation(&self) -> OperationId {
        self.operation
    }

    /// The caller that makes the call.
    pub fn caller(&self) -> &Caller {
        &self.directory.callers[self.caller]
    }

    /// The tenant that the call is made for.
    pub fn tenant(&self) -> &Tenant {
        &self.directory.tenants[self.tenant]
    }

    /// Positions of the caller and the tenant in the directory.
    pub fn positions(&self) -> (usize, usize) {
        (self.caller, self.tenant)
    }

    /// The directory that issued the grant.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Kind of the key that the vendor sees.
    pub fn credential_kind(&self) -> CredentialKind {
        self.kind
    }

    /// The credential that the call is made with.
    pub fn credential(&self) -> &Credential {
        self.tenant().credential(self.kind).expect("authorize checked that the credential exists")
    }

    /// The tenant's app key, which prefixes its cids.
    pub fn app_key(&self) -> &str {
        self.tenant().credential(CredentialKind::App).map_or("", |credential| credential.key.as_str())
    }

    /// Position of the base URL that the call goes to.
    pub fn origin(&self) -> OriginId {
        self.origin
    }

    /// The identity under which the call asks for slots: the caller with its weight and its quota.
    pub fn requester(&self) -> Requester {
        let Caller { number, weight, quota, .. } = self.caller();
        Requester { caller: *number, weight: *weight, quota: quota.clone(), precedence: Precedence::InTurn }
    }
}
