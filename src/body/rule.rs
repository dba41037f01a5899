//! The rules that a body can break, and the vendor's error codes for them.

use crate::operation::Family;

use super::{Defect, Verdict};

/// A broken rule, before the family of error codes is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BodyFault {
    /// The rule that is broken.
    pub rule: Rule,
    /// Says what is wrong, where, and what would be accepted.
    pub message: String,
}

impl BodyFault {
    /// A fault with the message for the caller.
    pub fn new(rule: Rule, message: impl Into<String>) -> Self {
        Self { rule, message: message.into() }
    }

    /// Turns the fault into a defect with the error code of this family.
    pub(super) fn worded_for(self, family: Family) -> Defect {
        Defect { rule: self.rule, code: code(family, self.rule.kind()), message: self.message }
    }
}

/// Keeps the first fault of several verdicts.
pub(super) fn note(fault: &mut Option<BodyFault>, verdict: Verdict) {
    if let Err(found) = verdict {
        fault.get_or_insert(found);
    }
}

/// Kind of a fault: most families have one code for missing values and one for bad ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefectKind {
    /// The value is absent or `null`.
    Missing,
    /// The value is present and wrong, empty, or not of the right form at all.
    Bad,
}

/// The vendor's documented codes (`docs/vendor.md`, V54).
const fn code(family: Family, kind: DefectKind) -> u32 {
    match (family, kind) {
        (Family::Push, DefectKind::Missing) => 1002,
        (Family::Push, DefectKind::Bad) => 1003,
        (Family::File | Family::Image, DefectKind::Missing) => 1102,
        (Family::File | Family::Image, DefectKind::Bad) => 1103,
        (Family::Schedule, _) => 8100,
        (Family::Device, _) => 7002,
        (Family::V4, DefectKind::Missing) => 23002,
        (Family::V4, DefectKind::Bad) => 21003,
    }
}

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $rule:ident = $kind:ident $name:literal,)+) => {
        /// The body rules, by names that metrics and logs use.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Rule { $($(#[doc = $doc])+ $rule,)+ }

        impl Rule {
            /// All rules, in the order of the list below.
            pub const ALL: &'static [Self] = &[$(Self::$rule,)+];

            /// Stable name in metrics and logs.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$rule => $name,)+ }
            }

            /// Whether a body that breaks the rule has something missing or something bad.
            pub const fn kind(self) -> DefectKind {
                match self { $(Self::$rule => DefectKind::$kind,)+ }
            }

            /// Whether the rule is about the query, so that it can be checked before the body arrives.
            pub const fn is_of_query(self) -> bool {
                matches!(self, Self::CidCount | Self::CidType)
            }
        }
    };
}

rules! {
    /// `count` of a cid query is not a whole number from 1 to 1,000.
    CidCount = Bad "cid_count",
    /// `type` of a cid query is neither `push` nor `schedule`.
    CidType = Bad "cid_type",
    /// The body is not UTF-8.
    JsonEncoding = Bad "json_encoding",
    /// The body is not one JSON object.
    Json = Bad "json",
    /// A push has no platform.
    PlatformMissing = Missing "platform_missing",
    /// A push has no audience.
    AudienceMissing = Missing "audience_missing",
    /// A kind of audience has more values than it may have.
    AudienceCount = Bad "audience_count",
    /// A tag or an alias is too long.
    AudienceValueLength = Bad "audience_value_length",
    /// An audience has a target list where none is accepted.
    AudienceFile = Bad "audience_file",
    /// A cid does not belong to this application.
    Cid = Bad "cid",
    /// A file push has no `audience.file`.
    FileMissing = Missing "file_missing",
    /// A file push has no `audience.file.file_id`.
    FileIdMissing = Missing "file_id_missing",
    /// The file of a file push is no object, or its id is empty or no string.
    FileId = Bad "file_id",
    /// A file push has another kind of audience.
    FileAudience = Bad "file_audience",
    /// The parameters of a template are no list of objects.
    TemplateParams = Bad "template_params",
    /// A schedule has no name.
    ScheduleNameMissing = Missing "schedule_name_missing",
    /// The name of a schedule is too long.
    ScheduleName = Bad "schedule_name",
    /// A schedule has no trigger.
    ScheduleTriggerMissing = Missing "schedule_trigger_missing",
    /// A trigger is not exactly one of `single` and `periodical`.
    ScheduleTrigger = Bad "schedule_trigger",
    /// A time does not have the documented form.
    ScheduleTime = Bad "schedule_time",
    /// A schedule has no push.
    SchedulePushMissing = Missing "schedule_push_missing",
    /// The push of a schedule is no object.
    SchedulePush = Bad "schedule_push",
    /// The body is not a multipart form that can be read in only one way.
    Form = Bad "form",
    /// A form has two parts of one name; which of them the vendor reads is unknown.
    FormPartTwice = Bad "form_part_twice",
    /// A target list is neither of aliases nor of registration ids.
    ListType = Bad "list_type",
    /// A form has no target list.
    ListMissing = Missing "list_missing",
    /// A target list has no bytes.
    ListEmpty = Bad "list_empty",
    /// A target list is too long.
    ListSize = Bad "list_size",
    /// The file name of a target list does not end in `.txt`.
    ListName = Bad "list_name",
    /// A target list is not UTF-8.
    ListEncoding = Bad "list_encoding",
    /// A line of a target list is too long.
    ListLine = Bad "list_line",
    /// A target list has blank lines only.
    ListBlank = Bad "list_blank",
    /// `ttl` of a target list is not a whole number of hours from 1 to 720.
    Ttl = Bad "ttl",
    /// The picture type is missing.
    ImageTypeMissing = Missing "image_type_missing",
    /// The picture type is unknown.
    ImageType = Bad "image_type",
    /// A body has no picture URL.
    ImageUrlMissing = Missing "image_url_missing",
    /// A picture URL is too long.
    ImageUrlLength = Bad "image_url_length",
    /// A picture URL has a form that its channel does not accept.
    ImageUrlForm = Bad "image_url_form",
    /// None of the given channels accepts pictures of this type.
    ImageUrlChannel = Bad "image_url_channel",
    /// A media id is malformed.
    MediaId = Bad "media_id",
    /// A form has no picture.
    PictureMissing = Missing "picture_missing",
    /// A picture has no bytes.
    PictureEmpty = Bad "picture_empty",
    /// A picture is larger than `images.max`.
    PictureSize = Bad "picture_size",
    /// A picture is neither PNG nor JPEG.
    PictureFormat = Bad "picture_format",
    /// The header of a picture is cut or malformed.
    PictureHeader = Bad "picture_header",
    /// A side of a picture has no pixels or absurdly many.
    PictureDimensions = Bad "picture_dimensions",
    /// A small icon is sent for OPPO, which has none.
    OppoType = Bad "oppo_type",
    /// A picture's dimensions are not accepted by OPPO.
    OppoDimensions = Bad "oppo_dimensions",
    /// A picture is larger than OPPO accepts for its type.
    OppoSize = Bad "oppo_size",
}
