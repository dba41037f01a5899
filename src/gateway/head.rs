//! Reads the head of a request.

use crate::operation::{BadPath, Path};
use crate::refusal::Refusal;
use crate::request::{Field, RequestHead, is_probe, judge};
use crate::strict;
use crate::tenant::TenantHints;

/// The kind of a request whose head can be read in one way only.
pub enum RequestKind<'h> {
    /// A health probe: `GET /` or `HEAD /`.
    Probe,
    /// A call, if its path is valid. The caller is authenticated before it is told that the path is not.
    Call(Result<Path<'h>, BadPath>),
}

/// Reads a head. This is the first decision about a request, also for `explain`.
pub fn read(head: &RequestHead) -> Result<RequestKind<'_>, Refusal> {
    strict::check(head)?;
    Ok(if is_probe(head) { RequestKind::Probe } else { RequestKind::Call(judge(&head.target)) })
}

/// Whether a request says how its body is encrypted. An empty value says nothing.
pub(super) fn names_encryption(head: &RequestHead) -> bool {
    head.all(Field::EncryptType).any(|value| !value.bytes().trim_ascii().is_empty())
}

/// The tenant and the credential a request asks for by header.
pub(super) fn tenant_hints(head: &RequestHead) -> Result<TenantHints<'_>, Refusal> {
    let one = |field, name| {
        let refused = || Refusal::BadRequest(format!("the header {name} must be sent once, in ASCII").into());
        let value = head.one(field).map_err(|_| refused())?;
        value.map(|value| value.text().ok_or_else(refused)).transpose()
    };
    let as_dev = match one(Field::JpushCredential, "x-jpush-credential")? {
        None | Some("app") => false,
        Some("dev") => true,
        Some(_) => {
            return Err(Refusal::BadRequest("the header X-JPush-Credential takes 'app' or 'dev'".into()));
        }
    };
    Ok(TenantHints { tenant: one(Field::JpushTenant, "x-jpush-tenant")?, as_dev })
}
