//! What a body must look like to be worth a call.
//!
//! Pure functions over a whole body: bytes in, [`Facts`] or a [`Defect`] out. The gateway refuses only what the
//! vendor certainly refuses; everything else passes untouched, and nothing is ever re-serialised.

mod ahead;
mod byte_mask;
mod channel;
mod cid;
mod form;
mod image_files;
mod image_urls;
mod json;
mod media_id;
mod newlines;
mod picture;
mod push;
mod query;
mod rule;
mod schedule;
mod skim;
mod target_list;
mod target_scan;
#[cfg(test)]
mod tests;

use crate::config::{Files, Images, Limits};
use crate::operation::{BodyRule, Family, Verb};

pub use ahead::Ahead;
pub use channel::{ImageType, UploadChannel};
pub use cid::Cid;
pub use json::members;
pub use picture::{PictureVerdict, check_picture};
pub use push::cid;
pub use rule::{Fault, Rule};
pub use skim::NotJson;
pub use target_list::check_name;
pub use target_scan::{BadLine, BrokenText, TargetScan, TargetSummary};

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
    /// `Content-Type`; tells a form's boundary and nothing else. Bytes: a header may hold any but control ones.
    pub content_type: Option<&'a [u8]>,
    /// `X-Encrypt-Type` was sent: nothing is refused, and only what stands outside the payload is known.
    pub encrypted: bool,
    /// The tenant's app key, which every cid starts with.
    pub app_key: &'a str,
    /// Rules for target lists.
    pub files: &'a Files,
    /// Rules for pictures.
    pub images: &'a Images,
}

/// What a checked body says about the call it asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each asked for by name")]
pub struct Facts {
    /// `"audience":"all"`, in any reading of the body.
    pub broadcast: bool,
    /// A schedule whose push goes to a target list: draws on the file budget too.
    pub audience_file: bool,
    /// Uploads a big OPPO picture.
    pub oppo_big: bool,
    /// Uploads an OPPO icon.
    pub oppo_icon: bool,
    /// The push carries a cid of its own, in every reading of the body.
    pub has_cid: bool,
    /// The push has a top-level `cid` key, whatever it holds: one written in front of it would lose or clash.
    pub names_cid: bool,
    /// `X-Encrypt-Type` was sent: what is inside the payload is not known.
    pub encrypted: bool,
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

/// Judges a whole body by its operation's rule.
///
/// An encrypted body is never refused, but what can be read of it counts: a readable `audience` decides whether it
/// is a broadcast. Its cid, if any, is inside the payload, so none is known. A query is no body: it stays readable.
pub fn check(rule: BodyRule, subject: &Subject<'_>, body: &[u8]) -> Result<Facts, Defect> {
    check_rest(rule, subject, body, None)
}

/// Judges a whole body of which some was looked at while it arrived. The verdict is that of [`check`].
pub fn check_rest(
    rule: BodyRule,
    subject: &Subject<'_>,
    body: &[u8],
    ahead: Option<&Ahead>,
) -> Result<Facts, Defect> {
    let mut facts = Facts::default();
    let encrypted = subject.encrypted && rule != BodyRule::CidQuery;
    let verdict = match rule {
        BodyRule::None => Ok(()),
        BodyRule::CidQuery => query::check(subject.query.unwrap_or_default()),
        BodyRule::Json | BodyRule::Batch => json::object(body, |_, _| {}),
        BodyRule::Push => push::check(push::Kind::Single { app_key: subject.app_key }, body, &mut facts),
        BodyRule::GroupPush => push::check(push::Kind::Group, body, &mut facts),
        BodyRule::FilePush => push::check(push::Kind::File { app_key: subject.app_key }, body, &mut facts),
        BodyRule::Schedule => schedule::check(subject.method, body, &mut facts),
        BodyRule::TargetList => target_list::check(subject, body, ahead, &mut facts),
        BodyRule::ImageUrls => image_urls::check(subject, body, &mut facts),
        BodyRule::ImageFiles => image_files::check(subject, body, ahead, &mut facts),
        BodyRule::ImageUrlsV4 => image_urls::check_v4(body, &mut facts),
    };
    match verdict {
        Err(fault) if !encrypted => Err(fault.worded_for(subject.family)),
        _ if encrypted => Ok(Facts { has_cid: false, encrypted, ..facts }),
        _ => Ok(facts),
    }
}

/// How many bytes a body may have before it is not even read. Forms get 64 KiB beyond their files.
pub fn limit_bytes(rule: BodyRule, limits: &Limits, files: &Files, images: &Images) -> usize {
    const SLACK_BYTES: usize = 64 * 1024;
    match rule {
        BodyRule::None | BodyRule::CidQuery => SLACK_BYTES,
        BodyRule::Batch => limits.batch_body_bytes,
        BodyRule::TargetList => files.max_bytes.saturating_add(SLACK_BYTES),
        BodyRule::ImageFiles => images.max_bytes.saturating_mul(2).saturating_add(SLACK_BYTES),
        BodyRule::Json
        | BodyRule::Push
        | BodyRule::GroupPush
        | BodyRule::FilePush
        | BodyRule::Schedule
        | BodyRule::ImageUrls
        | BodyRule::ImageUrlsV4 => limits.json_body_bytes,
    }
}

/// What a rule says of a body.
type Verdict = Result<(), Fault>;
