//! Calls with a key, as a place knows them that outlives this process: the store of the replicas, or the state file.

use std::time::Duration;

/// How long a key is remembered there: the vendor forgets a cid after a day (`docs/vendor.md`, V24), of which the pool may
/// have used half.
pub const KEY_LIFE: Duration = Duration::from_hours(12);

/// The longest answer that is kept there, in bytes.
const STORED_ANSWER_MAX: usize = 16 * 1024;

/// What is known there of a call. `C` is the claim to make it.
pub enum StoredCall<C> {
    /// Nothing: it is to be made.
    First(C),
    /// It may have been delivered, this long ago, and can be sent again with this cid; empty: with its own.
    Open(C, String, Duration),
    /// Another replica makes it.
    Wait,
    /// The key belongs to another call.
    Conflict,
    /// It was answered.
    Answered(Vec<u8>),
    /// It may have been delivered, and must not be sent again.
    Lost,
    /// There is no such place, or it does not answer: only this process knows of the key.
    Away,
}

impl<C> StoredCall<C> {
    /// The same with another kind of claim.
    pub fn map<D>(self, with: impl FnOnce(C) -> D) -> StoredCall<D> {
        match self {
            Self::First(claim) => StoredCall::First(with(claim)),
            Self::Open(claim, cid, ago) => StoredCall::Open(with(claim), cid, ago),
            Self::Wait => StoredCall::Wait,
            Self::Conflict => StoredCall::Conflict,
            Self::Answered(answer) => StoredCall::Answered(answer),
            Self::Lost => StoredCall::Lost,
            Self::Away => StoredCall::Away,
        }
    }
}

/// The end of a claimed call.
pub enum ClaimEnd {
    /// It had no effect: the key is free again.
    Nothing,
    /// It may have been delivered, and its cid makes it safe to send it again.
    Open,
    /// This answer is given again. Made by [`Self::answered`].
    Answered(Vec<u8>),
    /// It may have been delivered, and must not be sent again.
    Lost,
}

impl ClaimEnd {
    /// The end of a call with this answer. A long one is not kept: the key remembers that it is lost.
    pub fn answered(answer: Vec<u8>) -> Self {
        if answer.len() <= STORED_ANSWER_MAX { Self::Answered(answer) } else { Self::Lost }
    }
}
