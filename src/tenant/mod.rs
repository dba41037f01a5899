//! Tenants, their credentials, and who may use which: the directory a request is authorized against.
//!
//! Everything a request needs is resolved here once, when the configuration is taken in use: prebuilt credential
//! headers, budgets, base URLs. Pure; the result of [`Directory::authorize`] is a [`Grant`], the evidence every
//! later stage asks for.

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

pub use certificates::Holder;
pub use denied::{Denied, MissingRight};
pub use resolve::origins;

/// One vendor application, ready to be called.
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Which paths the vendor uses for it.
    pub region: Region,
    /// How its pushes are kept from going out twice.
    pub repeats: Repeats,
    origins: [Option<OriginId>; Host::ALL.len()],
    credentials: [Option<Credential>; CredentialKind::ALL.len()],
}

impl Tenant {
    /// One of its credentials.
    pub fn credential(&self, kind: CredentialKind) -> Option<&Credential> {
        self.credentials[kind as usize].as_ref()
    }

    /// Where a host's calls go; `None` if they are off.
    pub fn origin(&self, host: Host) -> Option<OriginId> {
        self.origins[host as usize]
    }
}

/// Position of a base URL in [`Directory::origins`]: vendor connections are pooled by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginId(pub usize);

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// One app.
    App,
    /// Every app of the account.
    Dev,
    /// A group of apps.
    Group,
}

impl CredentialKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::App, Self::Dev, Self::Group];

    /// Name in `explain` and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Dev => "dev",
            Self::Group => "group",
        }
    }
}

/// A vendor key with what a call needs of it.
pub struct Credential {
    /// The key, as the vendor counts it.
    pub key: VendorKey,
    /// `Basic …`, marked sensitive.
    authorization: HeaderValue,
    budgets: [Option<&'static Budget>; BudgetName::ALL.len()],
}

impl Credential {
    /// The header that proves to the vendor who we are. Only the builder of vendor requests asks for it.
    pub(crate) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// One of its budgets; `None` if it is off.
    pub fn budget(&self, name: BudgetName) -> Option<&'static Budget> {
        self.budgets[name.index()]
    }

    /// All of its budgets that are on.
    pub fn budgets(&self) -> impl Iterator<Item = &'static Budget> {
        self.budgets.into_iter().flatten()
    }
}

/// One internal program.
pub struct Caller {
    /// Its name.
    pub name: String,
    /// May push to every device.
    pub broadcast: bool,
    /// Its number in the books, which no reload changes.
    pub number: u16,
    scopes: u8,
    tenants: Vec<usize>,
    /// What it may write as the user of Basic credentials, and which of its tenants that names.
    users: HashMap<String, Vec<Named>>,
    quota: Option<Arc<Quota>>,
    weight: u32,
    /// How long its requests wait for a budget unless they say otherwise.
    pub wait: Duration,
    token_names: Vec<String>,
}

/// A tenant as a user name names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named {
    tenant: usize,
    as_dev: bool,
}

impl Caller {
    /// Whether it has this right.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes & bit(scope) != 0
    }

    /// Names of its tokens, then those of its certificates, in the configuration's order.
    pub fn token_names(&self) -> &[String] {
        &self.token_names
    }

    /// Its share of the budgets, if it has one.
    pub fn quota(&self) -> Option<&Arc<Quota>> {
        self.quota.as_ref()
    }
}

const fn bit(scope: Scope) -> u8 {
    1 << scope as u8
}

/// Everything requests are authorized against: one configuration, resolved.
pub struct Directory {
    /// Every tenant.
    pub tenants: Vec<Tenant>,
    /// Every caller.
    pub callers: Vec<Caller>,
    /// Every base URL a call can go to, each once.
    pub origins: Vec<BaseUrl>,
    by_token: HashMap<u64, Vec<Enrolled>>,
    by_certificate: HashMap<String, (usize, usize)>,
    /// Names of all callers there ever were, by number: a slot in a budget's books outlives the configuration.
    roster: Vec<String>,
}

struct Enrolled {
    digest: TokenDigest,
    caller: usize,
    token: usize,
}

/// Who calls, and whom the credentials name. Evidence that a token was good.
#[derive(Clone, Copy)]
pub struct Principal<'d> {
    caller: usize,
    /// Position of the token, or of the certificate's name, among the caller's.
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
    /// Bearer, or Basic with an empty user: the header names the tenant, or the caller has only one.
    Unnamed,
    /// The user of Basic credentials fits these.
    Named(&'d [Named]),
}

/// What a request says about the tenant besides its credentials.
#[derive(Clone, Copy, Debug, Default)]
pub struct TenantHints<'r> {
    /// `X-JPush-Tenant`
    pub tenant: Option<&'r str>,
    /// `X-JPush-Credential: dev`
    pub as_dev: bool,
}

impl Directory {
    /// Resolves a checked configuration, finding the budgets of known keys again.
    pub fn new(config: &Config, budgets: &Budgets) -> Self {
        Self::after(None, config, budgets)
    }

    /// Resolves a checked configuration that follows another: callers keep their numbers, and quotas that did not
    /// change go on where they stood.
    pub fn after(previous: Option<&Self>, config: &Config, budgets: &Budgets) -> Self {
        resolve::directory(previous, config, budgets)
    }

    /// A caller by its name.
    pub fn caller_named(&self, name: &str) -> Option<usize> {
        self.callers.iter().position(|known| known.name == name)
    }

    /// The name behind a number in the books of budgets, also of a caller that is gone.
    pub fn name_of(&self, number: u16) -> Option<&str> {
        self.roster.get(usize::from(number)).map(String::as_str)
    }

    /// Every token of the configuration: its digest, its caller, and its position there.
    pub fn tokens(&self) -> impl Iterator<Item = (&TokenDigest, usize, usize)> {
        let enrolled = self.by_token.values().flatten();
        enrolled.map(|enrolled| (&enrolled.digest, enrolled.caller, enrolled.token))
    }

    /// The caller that has a token, and the token's position there.
    pub fn holder(&self, digest: &TokenDigest) -> Option<(usize, usize)> {
        let candidates = self.by_token.get(&digest.prefix())?;
        let enrolled = candidates.iter().find(|enrolled| enrolled.digest.matches(digest))?;
        Some((enrolled.caller, enrolled.token))
    }

    /// Finds the caller of a token. `user` is the user of Basic credentials.
    pub fn identify(&self, token: &[u8], user: Option<&str>) -> Option<Principal<'_>> {
        let (caller, token) = self.holder(&TokenDigest::of(token))?;
        Some(Principal { caller, token, wanted: self.wanted(caller, user) })
    }

    /// A caller by its name, as its own token and this user would identify it: for `explain`.
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

    /// Decides whether this caller may make this call, for which tenant and with which of its credentials.
    pub fn authorize(
        self: &Arc<Self>,
        principal: Principal<'_>,
        operation: OperationId,
        tenant_hints: TenantHints<'_>,
    ) -> Result<Grant, Denied> {
        let caller = &self.callers[principal.caller];
        let Named { tenant, as_dev } = self.pick(caller, principal.wanted, tenant_hints)?;
        if !caller.may(operation.scope) {
            return Err(Denied::Forbidden(MissingRight::Scope(operation.scope)));
        }
        let kind = match operation.credential {
            CredentialRule::App => CredentialKind::App,
            CredentialRule::Group => CredentialKind::Group,
            CredentialRule::AppOrDev if !as_dev && !tenant_hints.as_dev => CredentialKind::App,
            // A dev key reaches every app of the account, so it needs the wider right as well.
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
    ) -> Result<Named, Denied> {
        let by_header =
            |tenant: usize| tenant_hints.tenant.is_none_or(|name| self.tenants[tenant].name == name);
        let unnamed = || caller.tenants.iter().map(|&tenant| Named { tenant, as_dev: false });
        let fits: Vec<Named> = match wanted {
            // The common cases need no list.
            TenantsNamed::Named(&[only]) if by_header(only.tenant) => return Ok(only),
            TenantsNamed::Unnamed if caller.tenants.len() == 1 && by_header(caller.tenants[0]) => {
                return Ok(Named { tenant: caller.tenants[0], as_dev: false });
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

/// Evidence that a caller may make a call for a tenant, and with which credential.
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
    /// The call.
    pub fn operation(&self) -> OperationId {
        self.operation
    }

    /// Who makes it.
    pub fn caller(&self) -> &Caller {
        &self.directory.callers[self.caller]
    }

    /// For whom.
    pub fn tenant(&self) -> &Tenant {
        &self.directory.tenants[self.tenant]
    }

    /// Positions of the caller and the tenant in the directory.
    pub fn positions(&self) -> (usize, usize) {
        (self.caller, self.tenant)
    }

    /// The directory it was given from.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Whose key the vendor sees.
    pub fn credential_kind(&self) -> CredentialKind {
        self.kind
    }

    /// The key with its secret and its budgets.
    pub fn credential(&self) -> &Credential {
        self.tenant().credential(self.kind).expect("authorize saw the credential")
    }

    /// The tenant's app key, which its cids start with.
    pub fn app_key(&self) -> &str {
        self.tenant().credential(CredentialKind::App).map_or("", |credential| credential.key.as_str())
    }

    /// Where the call goes.
    pub fn origin(&self) -> OriginId {
        self.origin
    }

    /// Who asks the budgets.
    pub fn requester(&self) -> Requester {
        let Caller { number, weight, quota, .. } = self.caller();
        Requester { caller: *number, weight: *weight, quota: quota.clone(), precedence: Precedence::InTurn }
    }
}
