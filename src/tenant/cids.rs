//! Authorizes the call that fetches cids for a push. A caller that may make the push may fetch cids for it.

use super::{CredentialKind, Grant};
use crate::operation::{Host, OperationId};

impl Grant {
    /// A grant to fetch cids for this call's tenant; `None` if the tenant has no base URL for the push API.
    pub fn for_cids(&self) -> Option<Self> {
        let origin = self.tenant().origin(Host::Api)?;
        let operation = OperationId::named("push-cid")?;
        Some(Self { operation, origin, kind: CredentialKind::App, ..self.clone() })
    }
}
