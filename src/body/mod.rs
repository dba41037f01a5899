//! What a body must look like to be worth a call.
//!
//! Pure functions over a whole body: bytes in, [`Facts`] or a [`Defect`] out. The gateway refuses only what the
//! vendor certainly refuses; everything else passes untouched, and nothing is ever re-serialised.

mod audience;
mod byte_mask;
mod channel;
mod cid;
mod form;
mod image_files;
mod image_urls;
mod jpeg;
mod json;
mod json_scan;
mod media_id;
mod newlines;
mod parameters;
mod part_head;
mod picture;
mod prescan;
mod push;
mod query;
mod rule;
mod schedule;
mod target_list;
mod target_scan;
mod template;
#[cfg(test)]
mod tests;

use crate::config::{Files, Images, Limits};
use crate::operation::{BodyRule, Family, Verb};

use audience::Takes;

pub use audience::Reach;
pub use channel::{ImageType, UploadChannel};
pub use cid::Cid;
pub use json::members;
pub use json_scan::NotJson;
pub use picture::{PictureVerdict, check_picture};
pub use prescan::Prescan;
pub use push::cid;
pub use rule::{BodyFault, Rule};
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
    /// `Content-Type`, if it was sent once; tells a form's boundary and nothing else. Bytes: a header may hold any but
    /// control ones.
    pub content_type: Option<&'a [u8]>,
    /// The body is an encrypted push: nothing is refused, and only what stands outside the payload is known.
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
    /// How far its pushes reach.
    pub reach: Reach,
    /// A push goes to a target list, where the operation does not say so already: takes the right and a slot of files.
    pub audience_file: bool,
    /// Uploads a big OPPO picture.
    pub oppo_big: bool,
    /// Uploads an OPPO icon.
    pub oppo_icon: bool,
    /// The push carries a cid of its own, in every reading of the body.
    pub has_cid: bool,
    /// The push has a top-level `cid` key, whatever it holds: one written in front of it would lose or clash.
    pub names_cid: bool,
    /// It is an encrypted push: what is inside the payload is not known.
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
/// An encrypted push is never refused, but what can be read of it counts: an `audience` beside the payload.
pub fn check(rule: BodyRule, subject: &Subject<'_>, body: &[u8]) -> Result<Facts, Defect> {
    check_rest(rule, subject, body, None)
}

/// Judges a whole body of which some was looked at while it arrived. The verdict is that of [`check`].
pub fn check_rest(
    rule: BodyRule,
    subject: &Subject<'_>,
    body: &[u8],
    prescan: Option<&Prescan>,
) -> Result<Facts, Defect> {
    let mut facts = Facts::default();
    let own = Some(subject.app_key);
    let verdict = match rule {
        BodyRule::Push | BodyRule::GroupPush if subject.encrypted => {
            push::read_encrypted(body, &mut facts);
            Ok(())
        }
        BodyRule::None => Ok(()),
        BodyRule::CidQuery => query::check(subject.query.unwrap_or_default()),
        BodyRule::Json => json::object(body, |_, _| {}),
        BodyRule::Batch => push::check_batch(body, &mut facts),
        BodyRule::Push => {
            push::check(push::PushKind { takes: Takes::Devices, cid_of: own }, body, &mut facts)
        }
        BodyRule::GroupPush => {
            push::check(push::PushKind { takes: Takes::Devices, cid_of: None }, body, &mut facts)
        }
        BodyRule::FilePush => {
            push::check(push::PushKind { takes: Takes::File, cid_of: own }, body, &mut facts)
        }
        BodyRule::GroupFilePush => {
            push::check(push::PushKind { takes: Takes::File, cid_of: None }, body, &mut facts)
        }
        BodyRule::TemplatePush => template::check(body, &mut facts),
        BodyRule::Schedule => schedule::check(subject.method, body, &mut facts),
        BodyRule::TargetList => target_list::check(subject, body, prescan, &mut facts),
        BodyRule::ImageUrls => image_urls::check(subject, body, &mut facts),
        BodyRule::ImageFiles => image_files::check(subject, body, prescan, &mut facts),
        BodyRule::ImageUrlsV4 => image_urls::check_v4(body, &mut facts),
    };
    verdict.map(|()| facts).map_err(|fault| fault.worded_for(subject.family))
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
        | BodyRule::GroupFilePush
        | BodyRule::TemplatePush
        | BodyRule::Schedule
        | BodyRule::ImageUrls
        | BodyRule::ImageUrlsV4 => limits.json_body_bytes,
    }
}

/// What a rule says of a body.
type Verdict = Result<(), BodyFault>;
