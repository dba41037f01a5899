//! The part of a vendor's answer that the logs show.

use std::time::Duration;

/// The vendor's answer, as far as the logs need it.
pub struct VendorNote {
    /// HTTP status of the answer.
    pub status: u16,
    /// The code in its body, if it had one.
    pub code: Option<u32>,
    /// The digits of the message id in its body.
    pub msg_id: Option<Box<str>>,
    /// Time from dispatch to the end of the answer.
    pub took: Duration,
}
