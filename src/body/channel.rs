//! Vendor channels, and which forms of a picture's address each takes.
//!
//! Source: `docs/vendor.md`, V46.

/// What a picture is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageType {
    /// 1: a big picture.
    Big,
    /// 2: a large icon.
    Icon,
    /// 3: a small icon.
    SmallIcon,
}

impl ImageType {
    /// Reads `1`, `2` or `3`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "1" => Some(Self::Big),
            "2" => Some(Self::Icon),
            "3" => Some(Self::SmallIcon),
            _ => None,
        }
    }
}

/// The channels that take pictures as files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadChannel {
    /// Judged by its own dimensions and weights, too.
    Oppo,
    /// Format and size only: it ended dynamic pictures in 2023-08.
    Xiaomi,
}

impl UploadChannel {
    /// Every channel.
    pub const ALL: [Self; 2] = [Self::Oppo, Self::Xiaomi];

    /// Name of the form's part.
    pub const fn part(self) -> &'static str {
        match self {
            Self::Oppo => "oppo_file",
            Self::Xiaomi => "xiaomi_file",
        }
    }

    /// Reads the name on a command line.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "oppo" => Some(Self::Oppo),
            "xiaomi" => Some(Self::Xiaomi),
            _ => None,
        }
    }
}

/// A form an address can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UrlForm {
    Http,
    Https,
    /// A path on the device's card, with its suffix: anything but an address of another scheme.
    Card,
    /// The path of a drawable, without a suffix: nearly anything, as the full name of one has a colon.
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

    /// How a refusal names it.
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

/// A scheme in any case, and something behind it.
fn has_scheme(url: &str, scheme: &str) -> bool {
    url.len() > scheme.len()
        && url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// Whether an address begins with the name of a scheme and a colon (RFC 3986, 3.1). No path on a card does.
fn has_any_scheme(url: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    url.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.as_bytes().iter().all(inner)
    })
}

/// The forms that the channel of a field takes for a picture type: none where the page has a dash. `None`: the channel
/// is not on the page, or the field is the default that others inherit.
pub(super) fn forms(field: &str, kind: ImageType) -> Option<&'static [UrlForm]> {
    use ImageType::{Big, Icon, SmallIcon};
    use UrlForm::{Card, Drawable, Http, Https, Raw};
    Some(match (field, kind) {
        ("jiguang_image_url" | "fcm_image_url", Big) => &[Http, Https, Card],
        ("jiguang_image_url", Icon | SmallIcon) | ("fcm_image_url", Icon) => &[Http, Https, Drawable],
        ("oppo_image_url", Big | Icon) => &[Http, Https],
        ("huawei_image_url" | "honor_image_url", Icon) => &[Https],
        ("huawei_image_url" | "honor_image_url", SmallIcon) => &[Raw],
        ("huawei_image_url" | "honor_image_url", Big)
        | ("oppo_image_url" | "fcm_image_url", SmallIcon)
        | ("xiaomi_image_url", _) => &[],
        _ => return None,
    })
}
