//! What keeps a push from going out twice: cids to repeat it with, and the memory of calls that may come again.
//!
//! The vendor knows a repeated push by its cid alone. Pushes get one from a pool ([`CidPools`]) where a tenant wants
//! that or a caller sends an `Idempotency-Key`. Where there is none, a repeat is kept from the vendor here: under a
//! key of the caller's ([`Keys`]), or because its caller's connection broke a moment ago ([`ResendGuard`]). All of it
//! is bounded, shared by all workers, kept over reloads and lost at a restart.

#![warn(clippy::wildcard_enum_match_arm)]

mod keys;
mod pool;
mod resend_guard;
mod saved;
#[cfg(test)]
mod tests;

pub use keys::{Claim, FirstCall, Keys};
pub use pool::{CidPool, CidPools, CidWait, Fetch, TakenCid};
pub use resend_guard::{AbandonedCall, Fingerprint, ResendGuard};
pub use saved::{Saved, SavedEnding, Watch};

/// SHA-256 of what tells one call, or one key, from another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of several parts; where one ends and the next begins counts.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Self(context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// Everything that is remembered about calls that may come again.
#[derive(Default)]
pub struct Recall {
    /// Cids to be used.
    pub pools: CidPools,
    /// Calls under a key of their caller's.
    pub keys: Keys,
    /// Calls whose callers' connections broke.
    pub guard: ResendGuard,
}
