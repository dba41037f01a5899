//! Reasons why an identified caller may not make a call. The caller is told less than operators are.

use super::CredentialKind;
use crate::operation::Scope;

/// The reason why an identified caller may not make this call.
/// One who may gets a [`Grant`](super::Grant), which later stages ask for.
///
/// ```
/// use std::path::Path;
/// use std::sync::Arc;
///
/// use jpush_gateway::budget::Budgets;
/// use jpush_gateway::config;
/// use jpush_gateway::operation::{OperationId, Scope};
/// use jpush_gateway::secret::TokenDigest;
/// use jpush_gateway::tenant::{Denied, Directory, MissingRight, TenantHints};
///
/// let yaml = format!(
///     r#"
///     listeners: [ {{ address: 127.0.0.1:8080 }} ]
///     tenants: {{ shop: {{ app: {{ key: 7d431e42dfa6a6d693ac2d04, secret: {{ value: a-master-secret }} }} }} }}
///     callers: {{ web: {{ tokens: [ {{ sha256: {} }} ], tenants: [ shop ], allow: [ push ] }} }}
///     "#,
///     TokenDigest::of(b"the token of web").to_hex(),
/// );
/// let config = config::parse(&yaml, Path::new("."), &config::System).expect("a good configuration");
/// let directory = Arc::new(Directory::new(&config, &Budgets::default()));
///
/// let authorize = |operation| {
///     let principal = directory.identify(b"the token of web", None).expect("a known token");
///     let operation = OperationId::named(operation).expect("a row of the table");
///     directory.authorize(principal, operation, TenantHints::default())
/// };
/// let grant = authorize("push").expect("it is in `allow`");
/// assert_eq!(grant.tenant().name, "shop");
/// let missing = MissingRight::Scope(Scope::Device);
/// assert_eq!(authorize("device-get").err(), Some(Denied::Forbidden(missing)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A right is missing.
    #[error("{}", .0.told())]
    Forbidden(MissingRight),
    /// Several tenants fit the request.
    #[error("several tenants fit; name one in the header X-JPush-Tenant")]
    TenantRequired,
    /// The tenant has no base URL for the operation's host.
    #[error("unknown endpoint")]
    HostOff,
}

/// The right that is missing. `explain` shows it to operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingRight {
    /// None of the caller's tenants has the name or key in the request.
    Tenant,
    /// The caller lacks this scope.
    Scope(Scope),
    /// The tenant has no credential of this kind.
    Credential(CredentialKind),
    /// The caller may not reach every device.
    Broadcast,
}

impl MissingRight {
    /// The message for the caller. It is the same for all rights that depend on the tenant, so that a caller learns
    /// nothing about tenants it may not use.
    const fn told(self) -> &'static str {
        match self {
            Self::Tenant | Self::Scope(_) | Self::Credential(_) => {
                "this caller may not make this call for this tenant; ask the gateway's operators for the scope and the tenant"
            }
            Self::Broadcast => {
                "this caller may not push to everybody, and this push may reach them; name a tag, an alias or a registration id in its audience, or ask the gateway's operators for broadcast"
            }
        }
    }
}
