//! Names the rules that bodies are checked by. `crate::body` implements them.

/// Rule that a body must satisfy before its call is sent to the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyRule {
    /// No body is expected: up to 64 KiB are read and dropped.
    None,
    /// No body is expected; the query says how many cids are asked for.
    CidQuery,
    /// The body is one JSON object, whose content is not checked.
    Json,
    /// The body is a push.
    Push,
    /// The body is a push on behalf of a group, whose cid is not checked.
    GroupPush,
    /// The body is a push to the devices of a target list.
    FilePush,
    /// The body is a push to a target list on behalf of a group, whose cid is not checked.
    GroupFilePush,
    /// The body lists pushes that the vendor makes from a template.
    TemplatePush,
    /// The body is a schedule; in an update, only the parts it contains are checked.
    Schedule,
    /// The body is a multipart form with a list of aliases or registration ids.
    TargetList,
    /// The body has URLs of pictures.
    ImageUrls,
    /// The body is a multipart form with pictures.
    ImageFiles,
    /// The body has URLs of pictures, in the form of the `EngageLab` API.
    ImageUrlsV4,
    /// The body holds up to 1,000 pushes.
    Batch,
}

impl BodyRule {
    /// Name in `explain` and in docs/bodies.md.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "–",
            Self::CidQuery => "cid query",
            Self::Json | Self::Batch => "JSON",
            Self::Push | Self::GroupPush => "push",
            Self::FilePush | Self::GroupFilePush => "file push",
            Self::TemplatePush => "template push",
            Self::Schedule => "schedule",
            Self::TargetList => "target list",
            Self::ImageUrls => "image urls",
            Self::ImageFiles => "image files",
            Self::ImageUrlsV4 => "v4 urls",
        }
    }
}
