//! What is logged of attempts at the vendor: failures with all of their causes, and with `debug` every one.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Instant;

use tracing::field::display;

use super::sparing::Sparing;
use crate::causes::Causes;
use crate::operation::OperationId;
use crate::tenant::CredentialKind;

/// When failures of each kind were last told, by kind and host. Shared by all workers.
#[derive(Default)]
pub struct AttemptFailures(Sparing<(&'static str, String)>);

/// Which attempt it is about.
#[derive(Clone, Copy)]
pub struct AttemptLabels<'a> {
    /// The id of the request.
    pub request_id: &'a str,
    /// Which call.
    pub operation: OperationId,
    /// For whom.
    pub tenant: &'a str,
    /// With which credential.
    pub credential: CredentialKind,
    /// Where, as the `Host` header says it.
    pub host: &'a str,
    /// Which address that was, as far as it came.
    pub address: Option<SocketAddr>,
    /// The first or the second.
    pub number: u8,
}

impl AttemptLabels<'_> {
    /// The vendor answered.
    pub fn answered(&self, status: u16) {
        let Self { request_id, operation, tenant, credential, host, address, number } = *self;
        let (operation, credential, address) = (operation.name, credential.as_str(), address.map(display));
        tracing::debug!(
            host,
            address,
            tenant,
            credential,
            operation,
            request_id,
            attempt = number,
            status,
            "the vendor answered"
        );
    }

    /// It failed, and what comes next may mend that.
    pub fn is_repeated(&self, kind: &'static str, error: &(dyn Error + 'static)) {
        let Self { request_id, operation, tenant, credential, host, address, number } = *self;
        let (operation, credential, address) = (operation.name, credential.as_str(), address.map(display));
        tracing::debug!(
            kind, error = %Causes(error), host, address, tenant, credential, operation, request_id,
            attempt = number, "an attempt failed"
        );
    }

    /// It failed, and the call with it.
    pub fn failed(&self, kind: &'static str, error: &(dyn Error + 'static), failures: &AttemptFailures) {
        let Self { request_id, operation, tenant, credential, host, address, number } = *self;
        let Some(suppressed) = failures.admit(kind, host.to_owned()) else {
            return self.is_repeated(kind, error);
        };
        let (operation, credential, address) = (operation.name, credential.as_str(), address.map(display));
        tracing::warn!(
            kind, error = %Causes(error), host, address, tenant, credential, operation, request_id,
            attempt = number, suppressed, "a call failed at the vendor"
        );
    }

    /// The vendor does not know our credential.
    pub fn was_rejected(&self, failures: &AttemptFailures) {
        let Self { request_id, operation, tenant, credential, host, .. } = *self;
        let (operation, credential) = (operation.name, credential.as_str());
        // Of each credential, which is what somebody has to renew.
        let which = format!("{host}, tenant {tenant}, credential {credential}");
        let Some(suppressed) = failures.admit("rejected-credential", which) else {
            return;
        };
        tracing::error!(
            host,
            tenant,
            credential,
            operation,
            request_id,
            suppressed,
            "the vendor rejected a credential of ours"
        );
    }
}

impl AttemptFailures {
    /// Whether a failure of this kind, of or at something, is to be told now, with the number of those that were not.
    pub fn admit(&self, kind: &'static str, of: String) -> Option<u64> {
        self.0.admit((kind, of), Instant::now())
    }

    /// Tells of failures that nobody was told of, where none came after them.
    pub fn tell_rest(&self, now: Instant) {
        for ((kind, of), suppressed) in self.0.overdue(now) {
            tracing::warn!(kind, of, suppressed, "there were more failures of this kind");
        }
    }
}
