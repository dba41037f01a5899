//! The rules that bodies are judged by. What each refuses is in `crate::body`.

/// What a body must look like to be worth a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyRule {
    /// No body: up to 64 KiB are read and dropped.
    None,
    /// No body; the query asks for cids.
    CidQuery,
    /// One JSON object.
    Json,
    /// A push.
    Push,
    /// A push on behalf of a group, whose cid is not checked.
    GroupPush,
    /// A push to the devices of a target list.
    FilePush,
    /// The same on behalf of a group, whose cid is not checked.
    GroupFilePush,
    /// Pushes made from a template.
    TemplatePush,
    /// A schedule; on an update only what it contains is judged.
    Schedule,
    /// A multipart form with a list of aliases or registration ids.
    TargetList,
    /// Addresses of pictures.
    ImageUrls,
    /// A multipart form with pictures.
    ImageFiles,
    /// Addresses of pictures, `EngageLab` form.
    ImageUrlsV4,
    /// Up to 1,000 pushes in one body.
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
