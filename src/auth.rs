//! Who calls: the `Authorization` header of a request becomes a [`Principal`], or a reason why not.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use http::header::{AUTHORIZATION, HeaderMap};

use crate::tenant::{Directory, Principal};

/// Credentials longer than this are no caller's: an app key and a token have 24 characters each.
const CREDENTIALS_BYTES_MAX: usize = 1024;

/// Standard base64; some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why nobody could be identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unidentified {
    /// No credentials, or none that can be read.
    #[error(
        "no usable credentials; send Authorization: Basic with an app key (or tenant name) as user and the caller's token as password, or Authorization: Bearer with the token"
    )]
    Missing,
    /// A token nobody has.
    #[error(
        "the token is not known here; the password of Basic credentials is the caller's token, not the vendor's master secret"
    )]
    Wrong,
}

/// Identifies the caller of a request.
pub fn identify<'d>(directory: &'d Directory, headers: &HeaderMap) -> Result<Principal<'d>, Unidentified> {
    let header = headers.get(AUTHORIZATION).ok_or(Unidentified::Missing)?;
    let (scheme, credentials) = split_scheme(header.as_bytes()).ok_or(Unidentified::Missing)?;
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

/// `scheme SP credentials` (RFC 9110, 11.4), with more than one blank tolerated.
fn split_scheme(header: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = memchr::memchr(b' ', header)?;
    Some((&header[..blank], header[blank..].trim_ascii()))
}
