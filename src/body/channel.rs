//! The phone makers' channels, and the forms of picture URLs that each accepts.
//!
//! Source: `docs/vendor.md`, V46.

/// Use of a picture in a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageType {
    /// A big picture (`1`).
    Big,
    /// A large icon (`2`).
    Icon,
    /// A small icon (`3`).
    SmallIcon,
}

impl ImageType {
    /// Parses `1`, `2` or `3`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "1" => Some(Self::Big),
            "2" => Some(Self::Icon),
            "3" => Some(Self::SmallIcon),
            _ => None,
        }
    }
}

/// Channels that accept pictures as files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadChannel {
    /// OPPO. It has rules of its own for dimensions and file size.
    Oppo,
    /// Xiaomi. Only format and size are checked: it ended dynamic pictures in 2023-08.
    Xiaomi,
}

impl UploadChannel {
    /// All channels that accept files.
    pub const ALL: [Self; 2] = [Self::Oppo, Self::Xiaomi];

    /// Name of the channel's part in a form.
    pub const fn part(self) -> &'static str {
        match self {
            Self::Oppo => "oppo_file",
            Self::Xiaomi => "xiaomi_file",
        }
    }

    /// Parses the name on the command line, `oppo` or `xiaomi`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "oppo" => Some(Self::Oppo),
            "xiaomi" => Some(Self::Xiaomi),
            _ => None,
        }
    }
}

/// A form that a picture URL can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UrlForm {
    Http,
    Https,
    /// A path on the device's memory card, with a file suffix: anything but a URL of another scheme.
    Card,
    /// The path of a drawable resource, without a file suffix. Nearly any text fits, because its full name has a colon.
    Drawable,
    /// A path that starts with `/raw/`.
    Raw,
}

impl UrlForm {
    pub(super) fn fits(self, url: &str) -> bool {
        match self {
            Self::Http => has_scheme(url, "http://"),
            Self::Https => has_scheme(url, "https://"),
            Self::Card => !has_any_scheme(url),
            Self::Drawable => !url.contains("://"),
            Self::Raw => url.starts_with("/raw/"),
        }
    }

    /// Description in refusal messages.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http://",
            Self::Https => "https://",
            Self::Card => "a path on the card",
            Self::Drawable => "the path of a drawable",
            Self::Raw => "a path that starts with /raw/",
        }
    }
}

/// Whether the URL has this scheme, in any case, and something after it.
fn has_scheme(url: &str, scheme: &str) -> bool {
    url.len() > scheme.len()
        && url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// Whether a text begins with a scheme's name and a colon (RFC 3986, 3.1). No path on a memory card does.
fn has_any_scheme(url: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    url.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.as_bytes().iter().all(inner)
    })
}

/// The forms that a field's channel accepts for a picture type; empty where the page has a dash. `None` if the page
/// does not have the channel, if the field is the default that other channels inherit, and for Xiaomi: the page has
/// dashes, and says that old devices lose these pictures gradually (`docs/vendor.md`, V50).
pub(super) fn forms(field: &str, kind: ImageType) -> Option<&'static [UrlForm]> {
    use ImageType::{Big, Icon, SmallIcon};
    use UrlForm::{Card, Drawable, Http, Https, Raw};
    Some(match (field, kind) {
        ("jiguang_image_url" | "fcm_image_url", Big) => &[Http, Https, Card],
        ("jiguang_image_url", Icon | SmallIcon) | ("fcm_image_url", Icon) => &[Http, Https, Drawable],
        ("oppo_image_url", Big | Icon) => &[Http, Https],
        ("huawei_image_url" | "honor_image_url", Icon) => &[Https],
        ("huawei_image_url" | "honor_image_url", SmallIcon) => &[Raw],
        ("huawei_image_url" | "honor_image_url", Big) | ("oppo_image_url" | "fcm_image_url", SmallIcon) => {
            &[]
        }
        _ => return None,
    })
}
