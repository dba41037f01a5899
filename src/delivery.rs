//! Whether a call may have been delivered, as far as its end tells. Retries, idempotency keys, the resend guard and the
//! audit log ask nothing else.

#![warn(clippy::wildcard_enum_match_arm)]

use http::StatusCode;

/// What is known about a call that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The vendor judged the call: a repeat would be judged the same, or do it again.
    Final,
    /// It may have been delivered.
    Unknown(Doubt),
    /// Certainly nothing was delivered, and a repeat may fare better.
    None,
}

/// Why it is not known whether a call was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// No answer came in time.
    TimedOut,
    /// The connection broke before the answer was whole.
    Interrupted,
    /// The answer does not say it: the vendor failed, or a page of its edge stands in place of an answer.
    VendorFailed,
    /// The gateway failed on the way.
    GatewayFailed,
}

impl Delivery {
    /// That of an answer of the vendor's. Who may not call, or calls too often, did not get as far as the push.
    pub fn of_answer(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => Self::None,
            _ if status.is_server_error() => Self::Unknown(Doubt::VendorFailed),
            _ => Self::Final,
        }
    }
}
