//! What a call did to people, as far as its outcome tells.

use http::StatusCode;

/// What is known about a call that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The vendor judged the call: a repeat would be judged the same, or do it again.
    Final,
    /// It may have been delivered.
    Unknown,
    /// Certainly nothing was delivered, and a repeat may fare better.
    None,
}

impl Delivery {
    /// That of an answer of the vendor's. Who may not call, or calls too often, did not get as far as the push.
    pub fn of_answer(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => Self::None,
            _ if status.is_server_error() => Self::Unknown,
            _ => Self::Final,
        }
    }
}
