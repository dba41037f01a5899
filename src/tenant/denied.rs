//! Reasons why an identified caller may not make a call. The caller is told less than operators are.

use super::CredentialKind;
use crate::operation::Scope;

/// The reason why an identified caller may not make this call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A right is missing. The message is the same for each, so that a caller learns nothing about tenants it may not
    /// use.
    #[error(
        "this caller may not make this call for this tenant; ask the gateway's operators for the scope and the tenant"
    )]
    Forbidden(MissingRight),
    /// Several tenants fit the request.
    #[error("several tenants fit; name one in the header X-JPush-Tenant")]
    TenantRequired,
    /// The tenant has no base URL for the operation's host.
    #[error("unknown endpoint")]
    HostOff,
}

/// The right that is missing. `explain` shows it to operators; no answer does.
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
