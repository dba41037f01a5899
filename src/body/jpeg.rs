//! The dimensions in a JPEG's frame header.
//!
//! Written by hand: decoders ask for far more than the header, and of the crates that read no more, the kept-up one
//! stops at what libjpeg, Pillow and Java's `ImageIO` pass over: fill bytes, markers without content, and stray bytes
//! between segments. Source: ITU-T T.81, annex B; libjpeg's `next_marker`.

/// Width and height. `None`: the header breaks off, or pixels come before it.
pub(super) fn dimensions(file: &[u8]) -> Option<(usize, usize)> {
    let mut rest = file.strip_prefix(b"\xFF\xD8")?;
    loop {
        let (marker, behind) = next_marker(rest)?;
        rest = match marker {
            // Nothing belongs to them: TEM, restarts, and pictures that begin or end.
            0x01 | 0xD0..=0xD9 => behind,
            // Start of scan: libjpeg and Pillow give up, too.
            0xDA => return None,
            0xC4 | 0xC8 | 0xCC => segment(behind)?.1,
            0xC0..=0xCF => return frame(segment(behind)?.0),
            _ => segment(behind)?.1,
        };
    }
}

/// The next marker, past what is none, and what is behind it.
fn next_marker(mut bytes: &[u8]) -> Option<(u8, &[u8])> {
    loop {
        bytes = &bytes[memchr::memchr(0xFF, bytes)?..];
        let fill = bytes.iter().position(|&byte| byte != 0xFF)?;
        let (marker, behind) = (bytes[fill], &bytes[fill + 1..]);
        // FF 00 is a byte of data.
        if marker != 0 {
            return Some((marker, behind));
        }
        bytes = behind;
    }
}

/// A segment without its length, and what is behind it. One that says it is shorter than its length is empty.
fn segment(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)).saturating_sub(2))
}

/// What a frame says behind the precision of its samples.
fn frame(segment: &[u8]) -> Option<(usize, usize)> {
    let &[_, high, low, wide, narrow] = segment.first_chunk()?;
    let side = |bytes| usize::from(u16::from_be_bytes(bytes));
    Some((side([wide, narrow]), side([high, low])))
}
