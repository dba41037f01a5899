//! Parses media ids, `jgmedia-{type}-{uuid}` (`docs/vendor.md`, V44), and the UUIDs in them and in cids.

use super::channel::ImageType;
use super::query::decode;

/// The picture type in a media id from a path; `None` if the id is malformed.
pub(super) fn image_type(value: &str) -> Option<ImageType> {
    let id = decode(value);
    let (kind, uuid) = id.strip_prefix("jgmedia-")?.split_once('-')?;
    ImageType::parse(kind).filter(|_| is_uuid(uuid))
}

/// Whether a text is 8-4-4-4-12 hexadecimal digits.
pub(super) fn is_uuid(text: &str) -> bool {
    let mut groups = text.split('-');
    let hex =
        |group: &str, digits| group.len() == digits && group.bytes().all(|byte| byte.is_ascii_hexdigit());
    [8, 4, 4, 4, 12].into_iter().all(|digits| groups.next().is_some_and(|group| hex(group, digits)))
        && groups.next().is_none()
}
