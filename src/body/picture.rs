//! Checks one picture by its first bytes, its dimensions and its file size; pixels are never decoded.

use crate::config::{ImageRule, Images, Mode};

use super::channel::{ImageType, UploadChannel};
use super::{BodyFault, Rule, Verdict, jpeg};

/// Upper bound of a side, in pixels: the most that a JPEG can have. A larger PNG is no picture for a notification and
/// could exhaust a decoder's memory.
const SIDE_PIXELS_MAX: usize = 65_535;

const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Length and name of the chunk that must come first.
const PNG_FIRST_CHUNK: &[u8] = b"\0\0\0\x0dIHDR";
/// Bytes of the signature and of the first chunk with its checksum.
const PNG_HEADER_BYTES: usize = 33;
/// The start-of-image marker. Most files have the next marker right after it, but libjpeg skips bytes between them.
const JPEG_SIGNATURE: &[u8] = b"\xFF\xD8";

/// Verdict on a picture: an error refuses it; `Ok` holds the fault that a rule in `report` mode found, if any.
pub type PictureVerdict = Result<Option<BodyFault>, BodyFault>;

/// Checks a picture for a channel. If `kind` is `None`, the type is unknown and only what holds for all types is
/// checked.
pub fn check_picture(
    file: &[u8],
    channel: UploadChannel,
    kind: Option<ImageType>,
    images: &Images,
) -> PictureVerdict {
    let part = channel.part();
    check_size(file, part, images.max_bytes)?;
    let (width, height) = dimensions(file, part)?;
    let rule = match (channel, kind) {
        (UploadChannel::Oppo, Some(ImageType::Big)) => &images.oppo_big,
        (UploadChannel::Oppo, Some(ImageType::Icon)) => &images.oppo_icon,
        (UploadChannel::Oppo, Some(ImageType::SmallIcon)) => {
            let what = "OPPO has no small icons; leave oppo_file away for image_type 3";
            return Err(BodyFault::new(Rule::OppoType, what));
        }
        (UploadChannel::Oppo, None) | (UploadChannel::Xiaomi, _) => return Ok(None),
    };
    match (check_rule(rule, file.len(), (width, height)), rule.mode) {
        (Ok(()), _) => Ok(None),
        (Err(fault), Mode::Report) => Ok(Some(fault)),
        (Err(fault), Mode::Enforce) => Err(fault),
    }
}

fn check_size(file: &[u8], part: &str, bytes_max: usize) -> Verdict {
    if file.is_empty() {
        return Err(BodyFault::new(Rule::PictureEmpty, format!("{part} is empty")));
    }
    if file.len() > bytes_max {
        let what = format!("{part} has {} bytes; up to {bytes_max} pass", file.len());
        return Err(BodyFault::new(Rule::PictureSize, what));
    }
    Ok(())
}

/// Width and height in pixels, each within 1 to [`SIDE_PIXELS_MAX`].
fn dimensions(file: &[u8], part: &str) -> Result<(usize, usize), BodyFault> {
    let png = file.starts_with(PNG_SIGNATURE);
    if !png && !file.starts_with(JPEG_SIGNATURE) {
        let what = format!("{part} is neither PNG nor JPEG by its first bytes, whatever its name says");
        return Err(BodyFault::new(Rule::PictureFormat, what));
    }
    let size = if png { png_dimensions(file) } else { jpeg::dimensions(file) };
    let Some((width, height)) = size else {
        let what = format!("the header of {part} breaks off or makes no sense");
        return Err(BodyFault::new(Rule::PictureHeader, what));
    };
    let sensible = 1..=SIDE_PIXELS_MAX;
    if !sensible.contains(&width) || !sensible.contains(&height) {
        let what = format!("{part} is {width}x{height} pixels; 1 to {SIDE_PIXELS_MAX} a side pass");
        return Err(BodyFault::new(Rule::PictureDimensions, what));
    }
    Ok((width, height))
}

/// Width and height in the first chunk, which must be complete.
fn png_dimensions(file: &[u8]) -> Option<(usize, usize)> {
    let header = file.get(..PNG_HEADER_BYTES)?.strip_prefix(PNG_SIGNATURE)?.strip_prefix(PNG_FIRST_CHUNK)?;
    let (width, rest) = header.split_first_chunk()?;
    let side = |bytes: &[u8; 4]| usize::try_from(u32::from_be_bytes(*bytes)).ok();
    Some((side(width)?, side(rest.first_chunk()?)?))
}

fn check_rule(rule: &ImageRule, bytes: usize, (width, height): (usize, usize)) -> Verdict {
    let fits = |&(wide, high): &(u32, u32)| (wide as usize, high as usize) == (width, height);
    if !rule.sizes.iter().any(fits) {
        let known = rule.sizes.iter().map(|(width, height)| format!("{width}x{height}")).collect::<Vec<_>>();
        let what = format!("oppo_file is {width}x{height} pixels; {} pass", known.join(" and "));
        return Err(BodyFault::new(Rule::OppoDimensions, what));
    }
    if bytes > rule.max_bytes {
        let what = format!("oppo_file has {bytes} bytes; up to {} pass for its type", rule.max_bytes);
        return Err(BodyFault::new(Rule::OppoSize, what));
    }
    Ok(())
}
