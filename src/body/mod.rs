//! Checks request bodies against the rules of their operation, before the call costs a slot.
//!
//! Pure functions over a whole body: bytes in, [`Facts`] or a [`Defect`] out. The gateway refuses only what the vendor
//! certainly refuses. Every other body is sent unchanged; none is serialised again.

mod audience;
mod byte_mask;
mod channel;
mod cid;
mod delimiters;
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
mod spelling;
mod target_list;
mod target_scan;
mod template;
#[cfg(test)]
mod tests;

use crate::config::{Files, Images, Limits};
use crate::operation::{BodyRule, Family, Verb};

use audience::AllowedAudience;

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

/// Properties of a request, besides its body, that rules depend on.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Method of the request. For `PUT`, an update, only what the body contains is checked.
    pub method: Verb,
    /// Family of the operation, which decides the error codes.
    pub family: Family,
    /// Query as sent, without `?`.
    pub query: Option<&'a str>,
    /// Value of the path's last `{…}`, as sent: the type of an upload, or the media id of a picture.
    pub value: Option<&'a str>,
    /// `Content-Type`, if exactly one was sent. Only a form's boundary is read from it. Bytes, because a header may
    /// hold any but control characters.
    pub content_type: Option<&'a [u8]>,
    /// Whether the body is an encrypted push. Such a body is never refused, and only what stands beside the payload is
    /// known.
    pub encrypted: bool,
    /// App key of the tenant, which prefixes its cids.
    pub app_key: &'a str,
    /// Configured rules for target lists.
    pub files: &'a Files,
    /// Configured rules for pictures.
    pub images: &'a Images,
}

/// Facts about a call, read from its body, that decide rights and budgets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each asked for by name")]
pub struct Facts {
    /// Widest audience of its pushes.
    pub reach: Reach,
    /// Whether a push goes to a target list in an operation that does not imply one. This takes the scope and a slot of
    /// `file`.
    pub audience_file: bool,
    /// Whether it uploads a big OPPO picture.
    pub oppo_big: bool,
    /// Whether it uploads an OPPO icon.
    pub oppo_icon: bool,
    /// Whether the push carries a valid cid in every reading of the body.
    pub has_cid: bool,
    /// Whether the push has a top-level key `cid`, whatever its value. Another cid written in front of it would clash
    /// with it.
    pub names_cid: bool,
    /// Whether the push is encrypted, so that its payload is not known.
    pub encrypted: bool,
    /// The rule in `report` mode that the body breaks, if there is one.
    pub reported: Option<Rule>,
}

/// A defect for which the vendor would refuse the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Defect {
    /// The rule that is broken.
    pub rule: Rule,
    /// Error code that the vendor documents for it.
    pub code: u32,
    /// Says what is wrong, where, and what would be accepted. Quotes no more of the body than a short key or a number.
    pub message: String,
}

/// Checks a whole body by its operation's rule.
///
/// An encrypted push is never refused. Facts that can be read count all the same: an `audience` beside the payload.
pub fn check(rule: BodyRule, subject: &Subject<'_>, body: &[u8]) -> Result<Facts, Defect> {
    check_rest(rule, subject, body, None)
}

/// Checks a whole body, a part of which was scanned while it arrived. The verdict is that of [`check`].
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
            push::check(push::PushKind { allowed: AllowedAudience::Devices, cid_of: own }, body, &mut facts)
        }
        BodyRule::GroupPush => {
            push::check(push::PushKind { allowed: AllowedAudience::Devices, cid_of: None }, body, &mut facts)
        }
        BodyRule::FilePush => {
            push::check(push::PushKind { allowed: AllowedAudience::File, cid_of: own }, body, &mut facts)
        }
        BodyRule::GroupFilePush => {
            push::check(push::PushKind { allowed: AllowedAudience::File, cid_of: None }, body, &mut facts)
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

/// Upper bound of a body's length in bytes; longer ones are not read. Forms may have 64 KiB more than their files.
pub fn limit_bytes(rule: BodyRule, limits: &Limits, files: &Files, images: &Images) -> usize {
    const SLACK_BYTES: usize = 64 * 1024;
    match rule {
        BodyRule::None | BodyRule::CidQuery => SLACK_BYTES,
        BodyRule::Batch | BodyRule::TemplatePush => limits.batch_body_bytes,
        BodyRule::TargetList => files.max_bytes.saturating_add(SLACK_BYTES),
        BodyRule::ImageFiles => images.max_bytes.saturating_mul(2).saturating_add(SLACK_BYTES),
        BodyRule::Json
        | BodyRule::Push
        | BodyRule::GroupPush
        | BodyRule::FilePush
        | BodyRule::GroupFilePush
        | BodyRule::Schedule
        | BodyRule::ImageUrls
        | BodyRule::ImageUrlsV4 => limits.json_body_bytes,
    }
}

/// The verdict of a rule on a body.
type Verdict = Result<(), BodyFault>;
