//! Reads a picture's dimensions from a JPEG's frame header.
//!
//! Written by hand: decoders need far more than the header, and the maintained crate that reads only headers stops at
//! things that libjpeg, Pillow and Java's `ImageIO` skip: fill bytes, markers without content, and stray bytes between
//! segments. Source: ITU-T T.81, annex B; libjpeg's `next_marker`.

/// Width and height in pixels. `None` if the header is cut, or if pixel data comes before it.
pub(super) fn dimensions(file: &[u8]) -> Option<(usize, usize)> {
    let mut rest = file.strip_prefix(b"\xFF\xD8")?;
    loop {
        let (marker, behind) = next_marker(rest)?;
        rest = match marker {
            // Markers without content: TEM, restarts, start and end of an image.
            0x01 | 0xD0..=0xD9 => behind,
            // Start of scan: libjpeg and Pillow fail here, too.
            0xDA => return None,
            0xC4 | 0xC8 | 0xCC => segment(behind)?.1,
            0xC0..=0xCF => return frame(segment(behind)?.0),
            _ => segment(behind)?.1,
        };
    }
}

/// The next marker, skipping bytes that are none, and the bytes after it.
fn next_marker(mut bytes: &[u8]) -> Option<(u8, &[u8])> {
    loop {
        bytes = &bytes[memchr::memchr(0xFF, bytes)?..];
        let fill = bytes.iter().position(|&byte| byte != 0xFF)?;
        let (marker, behind) = (bytes[fill], &bytes[fill + 1..]);
        // FF 00 is an escaped byte of pixel data, no marker.
        if marker != 0 {
            return Some((marker, behind));
        }
        bytes = behind;
    }
}

/// The content of a segment, and the bytes after it. A segment whose length is less than its own two bytes is empty.
fn segment(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)).saturating_sub(2))
}

/// Width and height in a frame header. The first byte is the precision of samples.
fn frame(segment: &[u8]) -> Option<(usize, usize)> {
    let &[_, high, low, wide, narrow] = segment.first_chunk()?;
    let side = |bytes| usize::from(u16::from_be_bytes(bytes));
    Some((side([wide, narrow]), side([high, low])))
}
