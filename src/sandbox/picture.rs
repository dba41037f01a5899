//! Reads a picture's size from its header. The gateway has a reader of its own, so that an error in one shows in the
//! other.

/// Width and height of a PNG or JPEG in pixels; `None` if its header does not have them.
pub(super) fn size(file: &[u8]) -> Option<(usize, usize)> {
    match file {
        [0x89, b'P', b'N', b'G', ..] => Some((number(file, 16, 4)?, number(file, 20, 4)?)),
        [0xFF, 0xD8, ..] => jpeg_size(file),
        _ => None,
    }
}

/// Whether a file starts like PNG or JPEG, the formats that the vendor accepts.
pub(super) fn is_known(file: &[u8]) -> bool {
    file.starts_with(b"\x89PNG\r\n\x1a\n") || file.starts_with(b"\xFF\xD8")
}

/// Looks for markers as libjpeg does, skipping fill bytes and stray bytes between segments.
fn jpeg_size(file: &[u8]) -> Option<(usize, usize)> {
    let mut at = 2;
    loop {
        let is_marker = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF);
        at += file.get(at..)?.windows(2).position(is_marker)? + 2;
        match file[at - 1] {
            0x01 | 0xD0..=0xD9 => continue,
            0xDA => return None,
            0xC4 | 0xC8 | 0xCC => {}
            0xC0..=0xCF => return Some((number(file, at + 5, 2)?, number(file, at + 3, 2)?)),
            _ => {}
        }
        at += number(file, at, 2)?.max(2);
    }
}

fn number(file: &[u8], at: usize, bytes: usize) -> Option<usize> {
    Some(file.get(at..at + bytes)?.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn pictures_of_real_tools_have_their_size() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/images");
        let mut pictures = 0;
        for file in std::fs::read_dir(folder).expect("the folder").flatten() {
            let name = file.file_name().into_string().expect("a plain name");
            let expected = match &*name {
                "README.md" => continue,
                "jpegtran-rotated.jpg" => (24, 40),
                "oppo-big.jpg" => (984, 369),
                "oppo-big-older.png" => (876, 324),
                "oppo-icon.png" => (144, 144),
                _ => (40, 24),
            };
            let picture = std::fs::read(file.path()).expect("a file");
            assert_eq!(size(&picture), Some(expected), "{name}");
            assert_eq!(size(&picture[..16]), None, "{name}");
            pictures += 1;
        }
        assert!(pictures > 30);
    }
}
