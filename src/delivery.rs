//! Whether a call may have been delivered, as far as its end tells. Retries, idempotency keys, the resend guard and the
//! audit log ask nothing else.

#![warn(clippy::wildcard_enum_match_arm)]

use http::StatusCode;

/// The knowledge about a call that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The vendor judged the call: a repeat would be judged the same, or do it again.
    Final,
    /// The call may have been delivered.
    Unknown(Doubt),
    /// Certainly nothing was delivered; a repeat may succeed.
    None,
}

/// The reason why it is not known whether a call was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// No answer came in time.
    TimedOut,
    /// The connection broke before the answer was whole.
    Interrupted,
    /// The answer does not tell: the vendor failed, or its edge sent a page in place of an answer.
    VendorFailed,
    /// The gateway failed on the way.
    GatewayFailed,
}

impl Delivery {
    /// Judges an answer of the vendor's. A call that it refused for its credential or its rate was not executed.
    pub fn of_answer(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => Self::None,
            _ if status.is_server_error() => Self::Unknown(Doubt::VendorFailed),
            _ => Self::Final,
        }
    }
}
