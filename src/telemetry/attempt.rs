//! Log lines about attempts at the vendor: failures with all of their causes, and every attempt at level `debug`.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Instant;

use tracing::field::display;

use super::sparing::Sparing;
use crate::causes::Causes;
use crate::operation::OperationId;
use crate::tenant::CredentialKind;

/// Limits the lines about failures, by kind and host. Shared by all workers.
#[derive(Default)]
pub struct AttemptFailures(Sparing<(&'static str, String)>);

/// The values that identify an attempt in the log.
#[derive(Clone, Copy)]
pub struct AttemptLabels<'a> {
    /// The id of the request.
    pub request_id: &'a str,
    /// The operation that is called.
    pub operation: OperationId,
    /// The name of the tenant.
    pub tenant: &'a str,
    /// The kind of credential.
    pub credential: CredentialKind,
    /// The vendor's host in the form of the `Host` header.
    pub host: &'a str,
    /// The address that was connected to, if it came that far.
    pub address: Option<SocketAddr>,
    /// The number of the attempt: 1 or 2.
    pub number: u8,
}

impl AttemptLabels<'_> {
    /// Logs an answer of the vendor at level `debug`.
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

    /// Logs a failed attempt that may be repeated, at level `debug`.
    pub fn is_repeated(&self, kind: &'static str, error: &(dyn Error + 'static)) {
        let Self { request_id, operation, tenant, credential, host, address, number } = *self;
        let (operation, credential, address) = (operation.name, credential.as_str(), address.map(display));
        tracing::debug!(
            kind, error = %Causes(error), host, address, tenant, credential, operation, request_id,
            attempt = number, "an attempt failed"
        );
    }

    /// Logs a failed attempt that fails the call as well.
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

    /// Logs that the vendor rejected our credential.
    pub fn was_rejected(&self, failures: &AttemptFailures) {
        let Self { request_id, operation, tenant, credential, host, .. } = *self;
        let (operation, credential) = (operation.name, credential.as_str());
        // Limited by credential, because an operator has to renew each one.
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
    /// Whether a failure of this kind and subject is to be logged now; returns the number of suppressed ones before it.
    pub fn admit(&self, kind: &'static str, of: String) -> Option<u64> {
        self.0.admit((kind, of), Instant::now())
    }

    /// Logs the suppressed failures that no later failure has reported.
    pub fn log_suppressed(&self, now: Instant) {
        for ((kind, of), suppressed) in self.0.overdue(now) {
            tracing::warn!(kind, of, suppressed, "there were more failures of this kind");
        }
    }
}
