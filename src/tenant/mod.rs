//! The directory of tenants, credentials and callers, which requests are authorized against.
//!
//! Prebuilt credential headers, budgets and base URLs are resolved once, when a configuration is activated. Pure: no
//! I/O. [`Directory::authorize`] returns a [`Grant`], the evidence that every later stage asks for.

mod caller;
mod certificates;
mod cids;
mod denied;
mod policy;
mod resolve;
mod roster;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::HeaderValue;
use smallvec::SmallVec;

use crate::budget::{Budget, Budgets, CallerNumber, Precedence, Requester};
use crate::config::{BaseUrl, Config, Region, Repeats, VendorKey};
use crate::operation::{BudgetName, CredentialRule, Host, OperationId, Scope};
use crate::secret::TokenDigest;

pub use caller::Caller;
use caller::bit;
pub use certificates::CertificateOwner;
pub use denied::{Denied, MissingRight};
pub use resolve::origins;
use roster::Roster;

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
    budgets: [Option<Arc<Budget>>; BudgetName::ALL.len()],
}

impl Credential {
    /// The `Authorization` value of requests to the vendor. Only the builder of those requests may ask for it.
    pub(crate) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// The budget of this name; `None` if it is off.
    pub fn budget(&self, name: BudgetName) -> Option<&Arc<Budget>> {
        self.budgets[name.index()].as_ref()
    }

    /// All budgets of the key that are on.
    pub fn budgets(&self) -> impl Iterator<Item = &Budget> {
        self.budgets.iter().flatten().map(|budget| &**budget)
    }
}

/// The tenants and callers of one configuration, resolved, for authorizing requests.
pub struct Directory {
    /// All tenants, in the configuration's order.
    pub tenants: Vec<Tenant>,
    /// All callers, in the configuration's order.
    pub callers: Vec<Caller>,
    /// Every base URL that a call can go to, each once.
    pub origins: Vec<BaseUrl>,
    by_token: KnownTokens,
    by_certificate: HashMap<String, (usize, usize)>,
    /// Positions of all callers, sorted by their names.
    by_name: Box<[usize]>,
    /// Users of Basic credentials, with the tenants that each selects.
    users: HashMap<String, SmallVec<[NamedTenant; 1]>>,
    /// The numbers of the callers.
    roster: Roster,
}

/// A tenant selected by a user name, and whether that name was its dev key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NamedTenant {
    tenant: usize,
    as_dev: bool,
}

/// Tokens by the beginning of their digests. The configuration alone puts something in, so that nobody can make many of
/// them meet in one place, and the hash may be a fast one.
type KnownTokens = HashMap<u64, SmallVec<[KnownToken; 1]>, foldhash::fast::RandomState>;

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
    /// The user of Basic credentials selects these, also those that the caller may not call for.
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
        resolve::directory(None, config, budgets)
    }

    /// Resolves a checked configuration that replaces this one: callers keep their numbers, and unchanged quotas keep
    /// their counts. `in_use` has the callers that anything still refers to; others are forgotten once they are gone.
    #[must_use]
    pub fn followed_by(&self, config: &Config, budgets: &Budgets, in_use: &HashSet<CallerNumber>) -> Self {
        resolve::directory(Some((self, in_use)), config, budgets)
    }

    /// Whether it remembers callers that the configuration has no more.
    pub fn has_gone_callers(&self) -> bool {
        self.roster.has_gone()
    }

    /// Position of the caller with this name in [`Self::callers`].
    pub fn caller_named(&self, name: &str) -> Option<usize> {
        let place = self.by_name.binary_search_by(|&caller| self.callers[caller].name.as_str().cmp(name));
        place.ok().map(|place| self.by_name[place])
    }

    /// Name of the caller with this number in the records of budgets, also if the configuration has it no more.
    pub fn name_of(&self, number: CallerNumber) -> Option<&str> {
        self.roster.name_of(number, &self.callers)
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
        Some(Principal { caller, token, wanted: self.wanted(user) })
    }

    /// The principal that a caller of this name would be with its own token and this user: for `explain`, which has no
    /// token.
    pub fn principal_named(&self, caller: &str, user: Option<&str>) -> Option<Principal<'_>> {
        let caller = self.caller_named(caller)?;
        Some(Principal { caller, token: 0, wanted: self.wanted(user) })
    }

    fn wanted(&self, user: Option<&str>) -> TenantsNamed<'_> {
        match user {
            None | Some("") => TenantsNamed::Unnamed,
            Some(user) => TenantsNamed::Named(self.selected_by(user)),
        }
    }

    /// The tenants that a user of Basic credentials selects, whether the caller may call for them or not.
    fn selected_by(&self, user: &str) -> &[NamedTenant] {
        self.users.get(user).map_or(&[], SmallVec::as_slice)
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
            CredentialRule::AppOrDev => CredentialKind::Dev,
        };
        if !caller.may_use(operation.credential, kind) {
            return Err(Denied::Forbidden(MissingRight::Scope(Scope::Group)));
        }
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
        let is_named =
            |tenant: usize| tenant_hints.tenant.is_none_or(|name| self.tenants[tenant].name == name);
        let named = match (wanted, tenant_hints.tenant) {
            (TenantsNamed::Named(named), _) => named,
            // A tenant's name is also a user that selects it, so nothing has to be searched here.
            (TenantsNamed::Unnamed, Some(name)) => self.selected_by(name),
            (TenantsNamed::Unnamed, None) => {
                return match caller.tenants[..] {
                    [] => Err(Denied::Forbidden(MissingRight::Tenant)),
                    [tenant] => Ok(NamedTenant { tenant, as_dev: false }),
                    [..] => Err(Denied::TenantRequired),
                };
            }
        };
        let fits = |named: &&NamedTenant| is_named(named.tenant) && caller.place_of(named.tenant).is_some();
        let mut fitting = named.iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (None, _) => Err(Denied::Forbidden(MissingRight::Tenant)),
            (Some(only), None) => Ok(*only),
            (Some(_), Some(_)) => Err(Denied::TenantRequired),
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
        let Caller { number, hash, weight, quota, .. } = self.caller();
        let (caller, hash, weight) = (*number, *hash, *weight);
        Requester { caller, hash, weight, quota: quota.clone(), precedence: Precedence::InTurn }
    }
}
