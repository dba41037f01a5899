//! The call that fetches cids for a push: made on the push's behalf, by whoever may make the push.

use super::{CredentialKind, Grant};
use crate::operation::{Host, OperationId};

impl Grant {
    /// Leave to fetch cids for this call's tenant; `None` if the tenant's calls go nowhere.
    pub fn for_cids(&self) -> Option<Self> {
        let origin = self.tenant().origin(Host::Api)?;
        let operation = OperationId::named("push-cid")?;
        Some(Self { operation, origin, kind: CredentialKind::App, ..self.clone() })
    }
}
