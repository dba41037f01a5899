//! The host that a request is for (RFC 9112, 3.2; RFC 9113, 8.3.1). Pure.

use http::Version;

use super::head::{FieldName, Head, only};
use super::target::is_host;

/// The reason why a request does not name one valid host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHost {
    /// There are two `Host` fields.
    Repeated,
    /// No host is named.
    Missing,
    /// The target names another one than the field.
    Differs,
    /// The value cannot be a host.
    Malformed,
}

/// Whether a request names one host, the same wherever it is named, and a host by its form.
pub fn check_host<F: FieldName>(head: &Head<F>) -> Result<(), BadHost> {
    let host = only(head.hosts()).map_err(|_| BadHost::Repeated)?;
    let authority = head.target.authority().map(str::as_bytes);
    let named = match (host.as_deref(), authority) {
        (Some(host), Some(authority)) if !authority.eq_ignore_ascii_case(host) => {
            return Err(BadHost::Differs);
        }
        (Some(host), _) => host,
        // It stands in the place of the header (RFC 9113, 8.3.1).
        (None, Some(authority)) if head.version == Version::HTTP_2 => authority,
        (None, _) => return Err(BadHost::Missing),
    };
    // A header may say that there is none, a target with a scheme may not (RFC 9110, 4.2.1).
    let is_good = is_host(named) && authority.is_none_or(|authority| !authority.is_empty());
    if is_good { Ok(()) } else { Err(BadHost::Malformed) }
}
