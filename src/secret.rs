//! Types for secrets: values that cannot be printed, are compared in constant time, and are wiped from memory.

use zeroize::Zeroizing;

/// A secret text. It has no `Debug`, `Display`, `Serialize` or `Clone`, and its memory is wiped on drop.
///
/// ```
/// use jpush_gateway::secret::Secret;
///
/// let secret = Secret::new("a master secret\n".into()).expect("not empty");
/// assert_eq!(secret.expose(), "a master secret");
/// ```
///
/// These do not compile:
///
/// ```compile_fail,E0277
/// # let secret = jpush_gateway::secret::Secret::new("a master secret".into()).expect("not empty");
/// format!("{secret:?}");
/// ```
/// ```compile_fail,E0277
/// # let secret = jpush_gateway::secret::Secret::new("a master secret".into()).expect("not empty");
/// format!("{secret}");
/// ```
/// ```compile_fail,E0277
/// # let secret = jpush_gateway::secret::Secret::new("a master secret".into()).expect("not empty");
/// serde_json::to_string(&secret);
/// ```
/// ```compile_fail,E0599
/// # let secret = jpush_gateway::secret::Secret::new("a master secret".into()).expect("not empty");
/// secret.clone();
/// ```
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of a text. Trailing newlines, which editors and `echo` leave in files, are not part of the
    /// secret. `None` if nothing else is left.
    pub fn new(text: String) -> Option<Self> {
        let text = Zeroizing::new(text);
        let trimmed = text.trim_end_matches(['\n', '\r']);
        (!trimmed.is_empty()).then(|| Self(Zeroizing::new(trimmed.to_owned())))
    }

    /// Whether two secrets are equal, compared in constant time.
    pub fn is_same_as(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), other.0.as_bytes()).is_ok()
    }

    /// The text itself, for checking it and for building a credential from it; never for a message.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// SHA-256 of a caller's token: what the configuration holds in its place.
///
/// Only [`TokenDigest::to_hex`] writes it, where a person asked for it. These do not compile:
///
/// ```compile_fail,E0277
/// # let digest = jpush_gateway::secret::TokenDigest::of(b"a token");
/// format!("{digest:?}");
/// ```
/// ```compile_fail,E0277
/// # let digest = jpush_gateway::secret::TokenDigest::of(b"a token");
/// format!("{digest}");
/// ```
/// ```compile_fail,E0277
/// # let digest = jpush_gateway::secret::TokenDigest::of(b"a token");
/// serde_json::to_string(&digest);
/// ```
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Computes the digest of a token as it was received.
    pub fn of(token: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token);
        Self(digest.as_ref().try_into().expect("SHA-256 gives 32 bytes"))
    }

    /// Parses 64 hexadecimal digits in either case; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        Some(Self(digest))
    }

    /// The digest as 64 hexadecimal digits in lower case.
    pub fn to_hex(self) -> String {
        use std::fmt::Write;
        self.0.iter().fold(String::with_capacity(64), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
            hex
        })
    }

    /// The first eight bytes, a key for looking up candidates in a table. Equal prefixes do not mean equal digests.
    pub fn prefix(&self) -> u64 {
        u64::from_be_bytes(self.0[..8].try_into().expect("eight of 32 bytes"))
    }

    /// Whether two digests are equal, compared in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_newlines_are_not_part_of_a_secret() {
        assert_eq!(Secret::new("abc\r\n\n".into()).expect("not empty").expose(), "abc");
        assert_eq!(Secret::new(" abc ".into()).expect("not empty").expose(), " abc ");
        assert!(Secret::new("\n".into()).is_none());
        assert!(Secret::new(String::new()).is_none());
    }

    #[test]
    fn digests_are_those_of_sha256() {
        let empty = TokenDigest::of(b"");
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(empty.to_hex(), hex);
        let read = TokenDigest::from_hex(&hex.to_uppercase()).expect("64 digits");
        assert!(read.matches(&empty) && read.prefix() == empty.prefix());
        assert!(!read.matches(&TokenDigest::of(b"a")));
        assert!(TokenDigest::from_hex("zz").is_none() && TokenDigest::from_hex(&hex[1..]).is_none());
    }
}
