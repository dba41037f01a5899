//! Authentication: finds the [`Principal`] of a request by its `Authorization` header or its connection's client
//! certificate.

use std::sync::Arc;

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use crate::request::{Field, RequestHead};
use crate::tenant::{CertificateOwner, Directory, Principal};

/// Longer credentials cannot be valid: an app key and a token have 24 characters each.
const CREDENTIALS_BYTES_MAX: usize = 1024;

/// Standard base64; padding is optional, because some clients leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The reason why no caller could be identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unidentified {
    /// No credentials, or unreadable ones.
    #[error(
        "no usable credentials; send Authorization: Basic with an app key (or tenant name) as user and the caller's token as password, or Authorization: Bearer with the token"
    )]
    Missing,
    /// A token that no caller has.
    #[error(
        "the token is not known here; the password of Basic credentials is the caller's token, not the vendor's master secret"
    )]
    Wrong,
    /// A certificate of another caller than the token's, or of several callers.
    #[error(
        "the client certificate is another caller's than the credentials, or lists names of several callers"
    )]
    OtherCaller,
    /// A certificate that was valid when its connection was opened, but no longer is.
    #[error(
        "the client certificate of this connection has expired, or those who signed it are no longer trusted; open a new connection with a good one"
    )]
    Ended,
}

/// The names in the client certificate of a connection; cheap to clone.
#[derive(Clone, Debug)]
pub struct ClientCertificate(Option<Arc<[Box<str>]>>);

impl ClientCertificate {
    /// A certificate that is no longer valid: it identifies nobody.
    pub const ENDED: Self = Self(None);

    /// Takes the names of a verified certificate.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(Some(names.into_iter().map(Box::from).collect()))
    }

    fn owner<'d>(&self, directory: &'d Directory) -> CertificateOwner<'d> {
        directory.certified(self.0.iter().flat_map(|names| names.iter()).map(|name| &**name))
    }
}

/// Identifies the caller of a request by its credentials, if it has any, else by the certificate of its connection.
pub fn identify<'d>(
    directory: &'d Directory,
    head: &RequestHead,
    certificate: Option<&ClientCertificate>,
) -> Result<Principal<'d>, Unidentified> {
    let credentials =
        head.first(Field::Authorization).map(|header| by_credentials(directory, &header)).transpose()?;
    let owner = certificate.map_or(CertificateOwner::Nobody, |certificate| certificate.owner(directory));
    match (credentials, owner) {
        (None, CertificateOwner::Nobody)
            if certificate.is_some_and(|certificate| certificate.0.is_none()) =>
        {
            Err(Unidentified::Ended)
        }
        (None, CertificateOwner::Nobody) => Err(Unidentified::Missing),
        (Some(principal), CertificateOwner::Nobody) | (None, CertificateOwner::One(principal)) => {
            Ok(principal)
        }
        (Some(principal), CertificateOwner::One(owner)) if owner.caller() == principal.caller() => {
            Ok(principal)
        }
        (_, CertificateOwner::One(_) | CertificateOwner::Several) => Err(Unidentified::OtherCaller),
    }
}

fn by_credentials<'d>(directory: &'d Directory, header: &[u8]) -> Result<Principal<'d>, Unidentified> {
    let (scheme, credentials) = split_scheme(header).ok_or(Unidentified::Missing)?;
    if credentials.len() > CREDENTIALS_BYTES_MAX {
        return Err(Unidentified::Wrong);
    }
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return directory.identify(credentials, None).ok_or(Unidentified::Wrong);
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return Err(Unidentified::Missing);
    }
    let mut buffer = [0; CREDENTIALS_BYTES_MAX];
    let length = BASE64.decode_slice(credentials, &mut buffer).map_err(|_| Unidentified::Missing)?;
    let pair = &buffer[..length];
    let colon = memchr::memchr(b':', pair).ok_or(Unidentified::Missing)?;
    let user = std::str::from_utf8(&pair[..colon]).map_err(|_| Unidentified::Missing)?;
    directory.identify(&pair[colon + 1..], Some(user)).ok_or(Unidentified::Wrong)
}

/// `scheme SP credentials` (RFC 9110, 11.4); more than one space is tolerated.
pub(crate) fn split_scheme(header: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = memchr::memchr(b' ', header)?;
    Some((&header[..blank], header[blank..].trim_ascii()))
}
