//! The reasons a body can be refused for, and the vendor's codes for them.

use crate::operation::Family;

use super::Defect;

/// A broken rule, before it is known whose error codes apply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BodyFault {
    /// The rule that was broken.
    pub rule: Rule,
    /// What was wrong, where, and what would pass.
    pub message: String,
}

impl BodyFault {
    /// Names a broken rule.
    pub fn new(rule: Rule, message: impl Into<String>) -> Self {
        Self { rule, message: message.into() }
    }

    /// The refusal, with the code the vendor's family of calls uses.
    pub(super) fn worded_for(self, family: Family) -> Defect {
        Defect { rule: self.rule, code: code(family, self.rule.lack()), message: self.message }
    }
}

/// Whether something is not there or not right: most families have a code for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Absent or `null`.
    Missing,
    /// Present and wrong, empty, or not of the form at all.
    Bad,
}

/// Codes of the vendor's documentation (`docs/vendor.md`, V54).
const fn code(family: Family, lack: Lack) -> u32 {
    match (family, lack) {
        (Family::Push, Lack::Missing) => 1002,
        (Family::Push, Lack::Bad) => 1003,
        (Family::File | Family::Image, Lack::Missing) => 1102,
        (Family::File | Family::Image, Lack::Bad) => 1103,
        (Family::Schedule, _) => 8100,
        (Family::Device, _) => 7002,
        (Family::V4, Lack::Missing) => 23002,
        (Family::V4, Lack::Bad) => 21003,
    }
}

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $rule:ident = $lack:ident $name:literal,)+) => {
        /// Names of the body rules, for metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Rule { $($(#[doc = $doc])+ $rule,)+ }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$rule,)+];

            /// Stable name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$rule => $name,)+ }
            }

            /// Whether breaking it means that something is missing or bad.
            pub const fn lack(self) -> Lack {
                match self { $(Self::$rule => Lack::$lack,)+ }
            }

            /// Whether it is about the query, which stands in the request's head.
            pub const fn is_of_query(self) -> bool {
                matches!(self, Self::CidCount | Self::CidType)
            }
        }
    };
}

rules! {
    /// `count` of a cid query.
    CidCount = Bad "cid_count",
    /// `type` of a cid query.
    CidType = Bad "cid_type",
    /// Not UTF-8.
    JsonEncoding = Bad "json_encoding",
    /// Not one JSON object.
    Json = Bad "json",
    /// A push without platform.
    PlatformMissing = Missing "platform_missing",
    /// A push without audience.
    AudienceMissing = Missing "audience_missing",
    /// More values than a kind of audience takes.
    AudienceCount = Bad "audience_count",
    /// A tag or an alias over its bytes.
    AudienceValueLength = Bad "audience_value_length",
    /// A target list where none is taken.
    AudienceFile = Bad "audience_file",
    /// A cid that is not this application's.
    Cid = Bad "cid",
    /// A file push without `audience.file`.
    FileMissing = Missing "file_missing",
    /// A file push without `audience.file.file_id`.
    FileIdMissing = Missing "file_id_missing",
    /// A file push whose file or file id is no such thing.
    FileId = Bad "file_id",
    /// A file push with another kind of audience.
    FileAudience = Bad "file_audience",
    /// A template's parameters that are no list of objects.
    TemplateParams = Bad "template_params",
    /// A schedule without name.
    ScheduleNameMissing = Missing "schedule_name_missing",
    /// A schedule's name over its bytes.
    ScheduleName = Bad "schedule_name",
    /// A schedule without trigger.
    ScheduleTriggerMissing = Missing "schedule_trigger_missing",
    /// A trigger that is not exactly one of the kinds.
    ScheduleTrigger = Bad "schedule_trigger",
    /// A time that is not of its form.
    ScheduleTime = Bad "schedule_time",
    /// A schedule without push.
    SchedulePushMissing = Missing "schedule_push_missing",
    /// A schedule's push that is no object.
    SchedulePush = Bad "schedule_push",
    /// Not a multipart form.
    Form = Bad "form",
    /// A part that stands twice: which one counts is unknown.
    FormPartTwice = Bad "form_part_twice",
    /// A target list that is neither of aliases nor of registration ids.
    ListType = Bad "list_type",
    /// No target list in the form.
    ListMissing = Missing "list_missing",
    /// A target list of no bytes.
    ListEmpty = Bad "list_empty",
    /// A target list over its bytes.
    ListSize = Bad "list_size",
    /// A file name without `.txt`.
    ListName = Bad "list_name",
    /// A target list that is not UTF-8.
    ListEncoding = Bad "list_encoding",
    /// A line over its bytes.
    ListLine = Bad "list_line",
    /// A target list of blank lines only.
    ListBlank = Bad "list_blank",
    /// How long a target list is kept.
    Ttl = Bad "ttl",
    /// No picture type.
    ImageTypeMissing = Missing "image_type_missing",
    /// A picture type that is not known.
    ImageType = Bad "image_type",
    /// No address of a picture.
    ImageUrlMissing = Missing "image_url_missing",
    /// An address over its bytes.
    ImageUrlLength = Bad "image_url_length",
    /// An address of a form that its channel does not take.
    ImageUrlForm = Bad "image_url_form",
    /// No channel that is named takes pictures of the type.
    ImageUrlChannel = Bad "image_url_channel",
    /// A media id that is none.
    MediaId = Bad "media_id",
    /// No picture in the form.
    PictureMissing = Missing "picture_missing",
    /// A picture of no bytes.
    PictureEmpty = Bad "picture_empty",
    /// A picture over its bytes.
    PictureSize = Bad "picture_size",
    /// Neither PNG nor JPEG.
    PictureFormat = Bad "picture_format",
    /// A picture whose header breaks off or makes no sense.
    PictureHeader = Bad "picture_header",
    /// A picture of no or absurd dimensions.
    PictureDimensions = Bad "picture_dimensions",
    /// A small icon for OPPO, which has none.
    OppoType = Bad "oppo_type",
    /// Dimensions that OPPO does not take.
    OppoDimensions = Bad "oppo_dimensions",
    /// More bytes than OPPO takes.
    OppoSize = Bad "oppo_size",
}
