use proptest::prelude::*;

use super::*;

macro_rules! corpus {
    ($($name:literal $width:literal x $height:literal,)+) => {
        &[$(($name, include_bytes!(concat!("../../../tests/data/images/", $name)), ($width, $height)),)+]
    };
}

/// Pictures made by several tools; see the folder's README.
const CORPUS: &[(&str, &[u8], (u32, u32))] = corpus![
    "cjpeg-arithmetic-stray.jpg" 40 x 24,
    "cjpeg-arithmetic.jpg" 40 x 24,
    "cjpeg-gray.jpg" 40 x 24,
    "cjpeg-progressive-fill-stray.jpg" 40 x 24,
    "cjpeg-progressive-fill.jpg" 40 x 24,
    "cjpeg-progressive.jpg" 40 x 24,
    "jpegtran-arithmetic.jpg" 40 x 24,
    "jpegtran-rotated.jpg" 24 x 40,
    "magick-16bit.png" 40 x 24,
    "magick-420-stray-first.jpg" 40 x 24,
    "magick-420-tem.jpg" 40 x 24,
    "magick-420.jpg" 40 x 24,
    "magick-cmyk.jpg" 40 x 24,
    "magick-interlaced.png" 40 x 24,
    "magick-palette.png" 40 x 24,
    "magick-progressive.jpg" 40 x 24,
    "oppo-big-older.png" 876 x 324,
    "oppo-big.jpg" 984 x 369,
    "oppo-icon.png" 144 x 144,
    "optipng-interlaced.png" 40 x 24,
    "pillow-baseline-fill.jpg" 40 x 24,
    "pillow-baseline.jpg" 40 x 24,
    "pillow-bilevel.png" 40 x 24,
    "pillow-cmyk.jpg" 40 x 24,
    "pillow-comment.jpg" 40 x 24,
    "pillow-exif-fill-stray.jpg" 40 x 24,
    "pillow-exif-restart.jpg" 40 x 24,
    "pillow-exif-rotated.jpg" 40 x 24,
    "pillow-gray.jpg" 40 x 24,
    "pillow-gray.png" 40 x 24,
    "pillow-gray16.png" 40 x 24,
    "pillow-palette.png" 40 x 24,
    "pillow-progressive-stuffed.jpg" 40 x 24,
    "pillow-progressive.jpg" 40 x 24,
    "pillow-restart.jpg" 40 x 24,
    "pillow-rgb.png" 40 x 24,
    "pillow-rgba.png" 40 x 24,
    "pngcrush-palette.png" 40 x 24,
];

const BIG_ID: &str = "jgmedia-1-6d98e85f-d3a5-412a-bdec-de1b75bd3ad3";

fn picture(name: &str) -> Vec<u8> {
    CORPUS.iter().find(|(known, ..)| *known == name).map(|(_, bytes, _)| bytes.to_vec()).unwrap()
}

/// A PNG header with these dimensions.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut file = picture("oppo-icon.png");
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    file
}

fn padded(mut file: Vec<u8>, bytes: usize) -> Vec<u8> {
    file.resize(bytes, 0);
    file
}

fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in parts {
        body.extend_from_slice(
            format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").as_bytes(),
        );
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    [&body[..], b"--xyz--\r\n"].concat()
}

fn create() -> Request {
    Request::new(BodyRule::ImageFiles)
}

/// Checks the format only, with a rule for these dimensions.
fn dimensions_are(file: &[u8], size: (u32, u32)) -> PictureVerdict {
    let mut images = images();
    images.oppo_big.sizes = vec![size];
    check_picture(file, UploadChannel::Oppo, Some(ImageType::Big), &images)
}

#[test]
fn real_encodings_have_their_dimensions() {
    for (name, file, size) in CORPUS {
        assert!(file.len() < 4096, "{name}");
        assert_eq!(dimensions_are(file, *size), Ok(None), "{name}");
        let fault = dimensions_are(file, (1, 1)).unwrap_err();
        assert_eq!(fault.rule, Rule::OppoDimensions, "{name}");
        assert!(fault.message.contains(&format!("{}x{} pixels", size.0, size.1)), "{}", fault.message);
    }
}

#[test]
fn truncated_headers_are_refused() {
    for (name, file, size) in CORPUS {
        // The shortest accepted beginning ends after the dimensions; all shorter ones are refused.
        let whole =
            (1..=file.len()).find(|&bytes| dimensions_are(&file[..bytes], *size) == Ok(None)).unwrap();
        assert!(if name.ends_with("png") { whole == 33 } else { whole > 20 }, "{name} {whole}");
        for bytes in 1..whole {
            let rule = dimensions_are(&file[..bytes], *size).unwrap_err().rule;
            assert!(matches!(rule, Rule::PictureFormat | Rule::PictureHeader), "{name} {bytes}");
        }
    }
}

/// Splits a JPEG into its first bytes, its segments up to the pixels, and the rest.
fn segments(file: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let (mut segments, mut rest) = (vec![&file[..2]], &file[2..]);
    while rest[1] != 0xDA {
        let length = 2 + usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        segments.push(&rest[..length]);
        rest = &rest[length..];
    }
    (segments, rest)
}

/// Bytes that standard decoders skip between segments.
fn fillers() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        (0..20_usize).prop_map(|count| vec![0xFF; count]),
        Just(vec![0xFF, 0x01]),
        Just(vec![0xFF, 0x00]),
        (0xD0..=0xD7_u8).prop_map(|marker| vec![0xFF, marker]),
    ];
    // Stray bytes come first, because after a fill byte they would be a marker.
    let stray = proptest::collection::vec(0..0xFF_u8, 0..20);
    (stray, proptest::collection::vec(piece, 0..4))
        .prop_map(|(stray, pieces)| [stray, pieces.concat()].concat())
}

proptest! {
    #[test]
    fn what_stands_between_the_segments_of_a_jpeg_changes_nothing(
        fillers in proptest::collection::vec(fillers(), 20),
        at in any::<prop::sample::Index>(),
    ) {
        let jpegs: Vec<_> = CORPUS.iter().filter(|(name, ..)| is_plain_jpeg(name)).collect();
        let (name, file, size) = jpegs[at.index(jpegs.len())];
        let (segments, rest) = segments(file);
        let filled: Vec<_> = segments.iter().zip(&fillers).map(|(segment, filler)| [segment, &filler[..]].concat()).collect();
        let filled = [&filled.concat()[..], rest].concat();
        prop_assert_eq!(dimensions_are(&filled, *size), Ok(None), "{}", name);
        let read = jpeg::dimensions(&filled);
        for end in 0..filled.len() {
            let early = jpeg::dimensions(&filled[..end]);
            prop_assert!(early.is_none() || early == read);
        }
    }
}

/// JPEGs straight from an encoder.
fn is_plain_jpeg(name: &str) -> bool {
    let filled = ["-fill", "-stray", "-tem.", "-exif-restart", "-stuffed"];
    name.contains(".jpg") && !filled.iter().any(|part| name.contains(part))
}

#[test]
fn another_crate_reads_the_same_dimensions() {
    for (name, file, (width, height)) in
        CORPUS.iter().filter(|(name, ..)| is_plain_jpeg(name) || name.contains(".png"))
    {
        let size = imagesize::blob_size(file).expect(name);
        assert_eq!((size.width, size.height), (*width as usize, *height as usize), "{name}");
    }
}

#[test]
fn jpegs_that_no_decoder_reads_are_refused() {
    let frame = b"\xFF\xC0\0\x0B\x08\0\x18\0\x28\x01\x01\x11\0";
    let file = |pieces: &[&[u8]]| [&[&b"\xFF\xD8"[..]], pieces].concat().concat();
    assert_eq!(jpeg::dimensions(&file(&[frame])), Some((40, 24)));
    // A segment shorter than its own length field is skipped as libjpeg does.
    assert_eq!(jpeg::dimensions(&file(&[b"\xFF\xE0\0\0", frame])), Some((40, 24)));
    assert_eq!(jpeg::dimensions(&file(&[b"\xFF\xE0\0\x09\xFF\xC0\0\x0B\x08\0\0", frame])), Some((40, 24)));
    let bad: [&[&[u8]]; 7] = [
        &[],
        &[b"\xFF\xFF\xFF"],
        &[&frame[..12]],
        // Pixel data before the frame header.
        &[b"\xFF\xDA\0\x02", frame],
        // Another segment includes the frame header.
        &[b"\xFF\xE0\xFF\xFF", frame],
        // Tables are not frame headers.
        &[b"\xFF\xC4\0\x08\0\0\0\0\0\0"],
        &[b"\xFF\xC0\0\x06\0\0\0\0\0\0"],
    ];
    for pieces in bad {
        assert_eq!(jpeg::dimensions(&file(pieces)), None, "{pieces:?}");
        let rule = dimensions_are(&file(pieces), (40, 24)).unwrap_err().rule;
        assert_eq!(rule, Rule::PictureHeader, "{pieces:?}");
    }
}

#[test]
fn forms_with_pictures() {
    let big = picture("oppo-big.jpg");
    let facts = create().passes(form(&[("xiaomi_file", &big), ("oppo_file", &big), ("image_type", b"1")]));
    assert_eq!(facts, Facts { oppo_big: true, ..Facts::default() });
    let facts = create().passes(form(&[("image_type", b"2"), ("oppo_file", &picture("oppo-icon.png"))]));
    assert_eq!(facts, Facts { oppo_icon: true, ..Facts::default() });
    let facts = create().passes(form(&[("image_type", b"3"), ("xiaomi_file", &big)]));
    assert_eq!(facts, Facts::default());
    create().passes(form(&[("image_type", b" 1 "), ("oppo_file", &picture("oppo-big-older.png"))]));
    create().refuses(form(&[("oppo_file", &big)]), Rule::ImageTypeMissing, 1102);
    for kind in [&b"0"[..], b"4", b"", b"one", b"\xFF"] {
        create().refuses(form(&[("oppo_file", &big), ("image_type", kind)]), Rule::ImageType, 1103);
    }
    create().refuses(form(&[("image_type", b"1"), ("file", &big)]), Rule::PictureMissing, 1102);
    create().refuses(
        form(&[("image_type", b"1"), ("oppo_file", &big), ("oppo_file", &big)]),
        Rule::FormPartTwice,
        1103,
    );
    create().refuses(form(&[("image_type", b"1"), ("image_type", b"1")]), Rule::FormPartTwice, 1103);
    create().refuses("{}", Rule::Form, 1103);
}

#[test]
fn an_empty_file_beside_a_good_one_was_not_chosen() {
    let big = picture("oppo-big.jpg");
    let send = |oppo: &[u8], xiaomi: &[u8], kind: &[u8]| {
        form(&[("oppo_file", oppo), ("xiaomi_file", xiaomi), ("image_type", kind)])
    };
    assert_eq!(create().passes(send(b"", &big, b"1")), Facts::default());
    assert_eq!(create().passes(send(b"", &big, b"3")), Facts::default());
    assert!(create().passes(send(&big, b"", b"1")).oppo_big);
    create().refuses(send(b"", b"", b"1"), Rule::PictureMissing, 1102);
    create().refuses(send(b"", b"GIF89a", b"1"), Rule::PictureFormat, 1103);
}

#[test]
fn the_query_cannot_change_the_type() {
    let body = form(&[("oppo_file", &picture("oppo-big.jpg")), ("image_type", b"1")]);
    let ask = |query| Request { query: Some(query), ..create() };
    for query in ["", "image_type=1", "x=y&image_type=%31&image", "Image_type=2"] {
        assert!(ask(query).passes(&body).oppo_big, "{query}");
    }
    for query in ["image_type=2", "image_type", "a&image%5ftype=2", "image_type=1&image_type=2"] {
        ask(query).refuses(&body, Rule::ImageType, 1103);
    }
    let update = Request { query: Some("image_type=2"), ..Request::update(BodyRule::ImageFiles, BIG_ID) };
    assert!(update.passes(&body).oppo_big);
}

#[test]
fn updates_have_their_type_in_the_media_id() {
    let update = |id| Request::update(BodyRule::ImageFiles, id);
    let (big, icon) = (picture("oppo-big.jpg"), picture("oppo-icon.png"));
    assert!(update(BIG_ID).passes(form(&[("oppo_file", &big)])).oppo_big);
    update(BIG_ID).refuses(form(&[("oppo_file", &icon)]), Rule::OppoDimensions, 1103);
    let icon_id = "jgmedia-2-6d98e85f-d3a5-412a-bdec-de1b75bd3ad3";
    assert!(update(icon_id).passes(form(&[("oppo_file", &icon)])).oppo_icon);
    // A type that cannot be read is not checked, and counts as either.
    let facts = update("old-id").passes(form(&[("oppo_file", &picture("pillow-rgb.png"))]));
    assert!(facts.oppo_big && facts.oppo_icon);
    assert_eq!(update("old-id").passes(form(&[("xiaomi_file", &big)])), Facts::default());
    update(BIG_ID).refuses(form(&[("oppo_file", &big), ("image_type", b"9")]), Rule::ImageType, 1103);
    update(BIG_ID).refuses(form(&[("image_type", b"1")]), Rule::PictureMissing, 1102);
}

#[test]
fn files_on_both_sides_of_their_limits() {
    let send = |part, file: &[u8], kind: &[u8]| form(&[(part, file), ("image_type", kind)]);
    for part in ["oppo_file", "xiaomi_file"] {
        create().refuses(send(part, b"", b"1"), Rule::PictureMissing, 1102);
        let over = padded(picture("oppo-big.jpg"), 2 * 1024 * 1024 + 1);
        create().refuses(send(part, &over, b"1"), Rule::PictureSize, 1103);
        for renamed in [
            &b"GIF89a................"[..],
            b"BM..............",
            b"RIFF....WEBPVP8 ",
            b"x",
            b"\x89PNX\r\n\x1a\n",
        ] {
            create().refuses(send(part, renamed, b"1"), Rule::PictureFormat, 1103);
        }
        create().refuses(send(part, b"\xFF\xD8\xFF\xE0", b"1"), Rule::PictureHeader, 1103);
    }
    create().passes(send("xiaomi_file", &padded(picture("pillow-rgb.png"), 2 * 1024 * 1024), b"1"));
    for (file, kind, max) in [("oppo-big.jpg", &b"1"[..], 1024 * 1024), ("oppo-icon.png", b"2", 50 * 1024)] {
        create().passes(send("oppo_file", &padded(picture(file), max), kind));
        create().refuses(send("oppo_file", &padded(picture(file), max + 1), kind), Rule::OppoSize, 1103);
    }
    create().refuses(send("oppo_file", &picture("oppo-big.jpg"), b"2"), Rule::OppoDimensions, 1103);
    create().refuses(send("oppo_file", &picture("oppo-icon.png"), b"3"), Rule::OppoType, 1103);
}

#[test]
fn dimensions_on_both_sides_of_their_limits() {
    for (width, height) in [(1, 1), (65_535, 1), (1, 65_535)] {
        assert_eq!(dimensions_are(&png(width, height), (width, height)), Ok(None));
    }
    for (width, height) in [(0, 144), (144, 0), (65_536, 1), (1, 65_536), (u32::MAX, u32::MAX)] {
        let rule = dimensions_are(&png(width, height), (width, height)).unwrap_err().rule;
        assert_eq!(rule, Rule::PictureDimensions, "{width}x{height}");
    }
}

#[test]
fn oppo_rules_can_be_reported_only() {
    let mut request = create();
    request.images.oppo_big.mode = Mode::Report;
    let body = |file: &[u8], kind: &[u8]| form(&[("oppo_file", file), ("image_type", kind)]);
    let icon = picture("oppo-icon.png");
    assert_eq!(request.passes(body(&icon, b"1")).reported, Some(Rule::OppoDimensions));
    let heavy = padded(picture("oppo-big.jpg"), 1024 * 1024 + 1);
    assert_eq!(request.passes(body(&heavy, b"1")).reported, Some(Rule::OppoSize));
    request.refuses(body(&icon, b"3"), Rule::OppoType, 1103);
    request.refuses(body(b"x", b"1"), Rule::PictureFormat, 1103);
}
