//! Protection against sending a push twice: cids that make a repeat safe, and the memory of calls that may be repeated.
//!
//! The vendor recognizes a repeated push only by its cid. Pushes get one from a pool ([`CidPools`]) if their tenant is
//! configured so or the caller sends an `Idempotency-Key`. Without a cid, the gateway itself keeps repeats from the
//! vendor: by the caller's key ([`Keys`]), or because the caller's connection broke a moment ago ([`ResendGuard`]). All
//! of this is bounded, shared by all workers, kept over reloads and lost at a restart.

#![warn(clippy::wildcard_enum_match_arm)]

mod keys;
mod pool;
mod resend_guard;
mod saved;
#[cfg(test)]
mod tests;

pub use keys::{Claim, FirstCall, Kept, Keys, OPEN_MAX};
pub use pool::{CidPool, CidPools, CidWait, Fetch, TakenCid};
pub use resend_guard::{AbandonedCall, Fingerprint, ResendGuard};
pub use saved::{Saved, SavedEnding, Watch};

use std::fmt::Write;

use crate::budget::CallerNumber;

/// The SHA-256 that identifies a call or a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of several parts. Each part's length is included, so that moving bytes between parts changes it.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Self(context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// The digest in hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
            hex
        })
    }
}

/// The protection of the whole process against sending a push twice.
#[derive(Default)]
pub struct RepeatProtection {
    /// Cids for later use.
    pub pools: CidPools,
    /// Calls with a key of their caller.
    pub keys: Keys,
    /// Calls whose caller's connection broke.
    pub guard: ResendGuard,
}

impl RepeatProtection {
    /// The callers that it remembers anything of.
    pub fn callers(&self) -> impl Iterator<Item = CallerNumber> {
        self.keys.callers().into_iter().chain(self.guard.callers())
    }
}
