//! What a body must look like to be worth a call.
//!
//! Pure functions over a whole body: bytes in, [`Facts`] or a [`Defect`] out. The gateway refuses only what the
//! vendor certainly refuses; everything else passes untouched, and nothing is ever re-serialised.

use crate::config::Limits;
use crate::config::{Files, Images};
use crate::operation::{BodyRule, Family, Verb};

/// What is known about a request besides its body.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The request's method: an update is judged by what it contains only.
    pub method: Verb,
    /// Error codes differ by family.
    pub family: Family,
    /// The query, as sent, without `?`.
    pub query: Option<&'a str>,
    /// The last `{…}` of the path, as sent: an upload's type, a picture's media id.
    pub value: Option<&'a str>,
    /// `Content-Type`; tells a form's boundary and nothing else.
    pub content_type: Option<&'a str>,
    /// `X-Encrypt-Type` was sent: the payload is not looked into.
    pub encrypted: bool,
    /// The tenant's app key, which every cid and file id starts with.
    pub app_key: &'a str,
    /// Rules for target lists.
    pub files: &'a Files,
    /// Rules for pictures.
    pub images: &'a Images,
}

/// What a checked body says about the call it asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `"audience":"all"`.
    pub broadcast: bool,
    /// A schedule whose push goes to a target list: draws on the file budget too.
    pub audience_file: bool,
    /// Uploads a big OPPO picture.
    pub oppo_big: bool,
    /// Uploads an OPPO icon.
    pub oppo_icon: bool,
    /// The push carries a cid of its own.
    pub has_cid: bool,
    /// A rule in `report` mode would have refused the body.
    pub reported: Option<Rule>,
}

/// What was wrong with a body: why it would have been a wasted call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Defect {
    /// The rule that was broken.
    pub rule: Rule,
    /// The vendor's code for it.
    pub code: u32,
    /// What was wrong, where, and what would pass. Quotes no more of the body than a short key or a number.
    pub message: String,
}

/// Names of the body rules, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Not one JSON object.
    Json,
}

/// x
pub fn check(_rule: BodyRule, _subject: &Subject<'_>, _body: &[u8]) -> Result<Facts, Defect> {
    Ok(Facts::default())
}
/// x
pub fn limit_bytes(_rule: BodyRule, limits: &Limits, _files: &Files, _images: &Images) -> usize {
    limits.batch_body_bytes
}
