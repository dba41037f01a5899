//! Why a known caller may not make a call: what the caller is told, and what only operators learn.

use super::CredentialKind;
use crate::operation::Scope;

/// Why a known caller may not make this call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// All alike, so that a caller learns nothing about what it may not use.
    #[error(
        "this caller may not make this call for this tenant; ask the gateway's operators for the scope and the tenant"
    )]
    Forbidden(MissingRight),
    /// Several tenants fit.
    #[error("several tenants fit; name one in the header X-JPush-Tenant")]
    TenantRequired,
    /// The tenant has no base URL for this host.
    #[error("unknown endpoint")]
    HostOff,
}

/// What a forbidden call would need. `explain` tells it to operators; no answer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingRight {
    /// A tenant of the caller's that goes by the name.
    Tenant,
    /// A right of the caller's.
    Scope(Scope),
    /// A credential of the tenant's.
    Credential(CredentialKind),
    /// The right to reach everybody.
    Broadcast,
}
