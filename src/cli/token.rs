//! The command `token new`: prints a fresh caller token.

use std::process::ExitCode;

use super::{BAD, GOOD, print};
use crate::secret::TokenDigest;

/// Length of a token. SDKs of the vendor accept exactly 24 letters and digits as a secret (`docs/vendor.md`, V6).
const LENGTH: usize = 24;
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

pub(super) fn run() -> ExitCode {
    let Some(token) = fresh() else { return ExitCode::from(BAD) };
    let digest = TokenDigest::of(token.as_bytes()).to_hex();
    print(&format!("token:  {token}\nsha256: {digest}\n"));
    GOOD
}

/// Draws a token of 142 random bits. Bytes from the last, incomplete multiple of 62 are drawn again, so that every
/// letter is equally likely. `None` if the random source fails.
fn fresh() -> Option<String> {
    let mut token = String::with_capacity(LENGTH);
    while token.len() < LENGTH {
        let mut byte = [0];
        aws_lc_rs::rand::fill(&mut byte).ok()?;
        let [byte] = byte;
        if usize::from(byte) < 256 / LETTERS.len() * LETTERS.len() {
            token.push(char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
        }
    }
    Some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_what_every_sdk_accepts() {
        let (one, other) = (fresh().expect("random numbers"), fresh().expect("random numbers"));
        assert!(one.len() == LENGTH && one.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(one, other);
    }
}
