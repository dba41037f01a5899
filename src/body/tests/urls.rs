use super::*;

const ICON: &str = "jgmedia-2-14b23451-0001-41ce-89d9-987b465122da";

fn create() -> Request {
    Request::new(BodyRule::ImageUrls)
}

fn urls(kind: &str, rest: &str) -> String {
    format!(r#"{{"image_type":{kind},{rest}}}"#)
}

#[test]
fn image_types() {
    for kind in ["1", "2", "3", "\"1\"", "2.0"] {
        create().passes(urls(kind, r#""image_url":"https://x/y.png""#));
    }
    for kind in ["0", "4", "\"\"", "\"big\"", "-1", "1.5", "true", "[1]", "{}", "1e99999"] {
        create().refuses(urls(kind, r#""image_url":"https://x/y.png""#), Rule::ImageType, 1103);
    }
    create().refuses(urls("null", r#""image_url":"https://x/y.png""#), Rule::ImageTypeMissing, 1102);
    create().refuses(r#"{"image_url":"https://x/y.png"}"#, Rule::ImageTypeMissing, 1102);
    create().refuses("[]", Rule::Json, 1103);
}

#[test]
fn some_address_is_needed() {
    for rest in [r#""x":1"#, r#""image_url":"""#, r#""oppo_image_url":null,"hmos_image_url":"""#] {
        create().refuses(urls("1", rest), Rule::ImageUrlMissing, 1102);
        Request::update(BodyRule::ImageUrls, ICON).refuses(urls("1", rest), Rule::ImageUrlMissing, 1102);
    }
    create().passes(urls("1", r#""brandnew_image_url":"anything""#));
}

#[test]
fn lengths_on_both_sides() {
    for field in ["image_url", "oppo_image_url", "hmos_image_url", "new_image_url"] {
        let url = |bytes: usize| format!(r#""{field}":"https://{}""#, "x".repeat(bytes - 8));
        create().passes(urls("2", &url(2048)));
        let message = create().refuses(urls("2", &url(2049)), Rule::ImageUrlLength, 1103);
        assert!(message.contains("2049") && message.contains(field), "{message}");
    }
}

/// The vendor's table of 2024-08-13, channel by channel: the outcome of each form of URL for types 1, 2 and 3. `?`
/// where the page has a dash: a new picture for that channel alone is refused, and an update keeps what was there.
#[test]
fn forms_by_channel() {
    let forms = [
        "http://x/y",
        "https://x/y",
        "dir/a:b.png",
        "ic_name",
        "/raw/pic",
        "ftp://x/y",
        "HTTPS://x",
        "javascript:x",
    ];
    let table: [(&str, [&str; 3]); 9] = [
        ("jiguang_image_url", ["+++++-+-", "+++++-++", "+++++-++"]),
        ("fcm_image_url", ["+++++-+-", "+++++-++", "????????"]),
        ("oppo_image_url", ["++----+-", "++----+-", "????????"]),
        ("xiaomi_image_url", ["++++++++", "++++++++", "++++++++"]),
        ("huawei_image_url", ["????????", "-+----+-", "----+---"]),
        ("honor_image_url", ["????????", "-+----+-", "----+---"]),
        ("hmos_image_url", ["++++++++", "++++++++", "++++++++"]),
        ("vivo_image_url", ["++++++++", "++++++++", "++++++++"]),
        ("image_url", ["++++++++", "++++++++", "++++++++"]),
    ];
    let ids = [
        "jgmedia-1-14b23451-0001-41ce-89d9-987b465122da",
        ICON,
        "jgmedia-3-14b23451-0001-41ce-89d9-987b465122da",
    ];
    let refused =
        |request: &Request, body: &str| request.check(body).err().map(|defect| (defect.rule, defect.code));
    for (field, types) in table {
        for (kind, (marks, id)) in types.into_iter().zip(ids).enumerate() {
            for (form, mark) in forms.into_iter().zip(marks.chars()) {
                let body = urls(&(kind + 1).to_string(), &format!(r#""{field}":"{form}""#));
                let (new, kept) = match mark {
                    '-' => (Some((Rule::ImageUrlForm, 1103)), Some((Rule::ImageUrlForm, 1103))),
                    '?' => (Some((Rule::ImageUrlChannel, 1103)), None),
                    _ => (None, None),
                };
                assert_eq!(refused(&create(), &body), new, "{field} {form} {}", kind + 1);
                assert_eq!(
                    refused(&Request::update(BodyRule::ImageUrls, id), &body),
                    kept,
                    "{field} {form} {}",
                    kind + 1
                );
                // Beside a channel that accepts the type, one that does not is left out.
                let beside = body.replacen('{', r#"{"jiguang_image_url":"http://x","#, 1);
                assert_eq!(refused(&create(), &beside), kept, "{field} {form} {}", kind + 1);
            }
        }
    }
    for beside in [r#""image_url":"x""#, r#""new_image_url":"x""#] {
        create()
            .passes(urls("1", &format!(r#""huawei_image_url":"https://x","honor_image_url":"x",{beside}"#)));
    }
    create().refuses(
        urls("1", r#""huawei_image_url":"https://x","honor_image_url":"x""#),
        Rule::ImageUrlChannel,
        1103,
    );
    create().refuses(urls("2", r#""oppo_image_url":7"#), Rule::ImageUrlForm, 1103);
    create().refuses(urls("2", r#""oppo_image_url":"https://""#), Rule::ImageUrlForm, 1103);
    // The inherited URL is checked for its length only, although Huawei accepts no http.
    create().passes(urls("2", r#""image_url":"http://x/y","huawei_image_url":"""#));
    // The type may come last, and both readings must pass.
    create().refuses(r#"{"huawei_image_url":"http://x","image_type":2}"#, Rule::ImageUrlForm, 1103);
    let twice = r#""huawei_image_url":"https://x","huawei_image_url":"http://x""#;
    create().refuses(urls("2", twice), Rule::ImageUrlForm, 1103);
}

#[test]
fn media_ids_of_updates() {
    let body = r#"{"jiguang_image_url":"http://x"}"#;
    let id = |id| Request::update(BodyRule::ImageUrls, id);
    id(ICON).passes(body);
    id("jgmedia%2D1-14b23451-0001-41ce-89d9-987b465122da").passes(body);
    let bad = ["", "x", "jgmedia-2", "jgmedia-4-14b23451-0001-41ce-89d9-987b465122da", "jgmedia-2-14b23451"];
    for value in
        bad.into_iter().chain(["jgmedia-2-14b23451-0001-41ce-89d9-987b465122dz", "14b23451-0001-41ce"])
    {
        id(value).refuses(body, Rule::MediaId, 1103);
    }
    // In an update, the media id alone gives the type.
    id(ICON).passes(r#"{"image_type":9,"jiguang_image_url":"http://x"}"#);
}

#[test]
fn oppo_pictures_are_counted() {
    let drawn = |kind: &str, rest: &str| {
        let facts = create().passes(urls(kind, rest));
        (facts.oppo_big, facts.oppo_icon)
    };
    for rest in [
        r#""oppo_image_url":"http://x""#,
        r#""image_url":"http://x""#,
        r#""image_url":"x","oppo_image_url":"""#,
        r#""oppoImageUrl":"http://x","hmos_image_url":"x""#,
    ] {
        assert_eq!(drawn("1", rest), (true, false), "{rest}");
        assert_eq!(drawn("2", rest), (false, true), "{rest}");
        let beside = format!(r#"{rest},"jiguang_image_url":"http://x""#);
        assert_eq!(drawn("3", &beside), (false, false), "{rest}");
    }
    assert_eq!(drawn("1", r#""jiguang_image_url":"http://x","oppo_image_url":"""#), (false, false));
    assert_eq!(drawn("1", r#""image_type":2,"oppo_image_url":"http://x""#), (true, true));
    let facts = Request::update(BodyRule::ImageUrls, ICON).passes(r#"{"oppo_image_url":"http://x"}"#);
    assert!(facts.oppo_icon && !facts.oppo_big);
}

#[test]
fn the_v4_form() {
    let v4 = Request::new(BodyRule::ImageUrlsV4);
    let facts = v4.passes(r#"{"big_picture_url":"https://x","small_picture_url":""}"#);
    assert!(facts.oppo_big && !facts.oppo_icon);
    let facts = v4.passes(r#"{"big_picture_url":"https://x","small_picture_url":"HTTP://y"}"#);
    assert!(facts.oppo_big && facts.oppo_icon);
    let facts = v4.passes(r#"{"big_picture_url":"https://x","smallPictureUrl":"https://y"}"#);
    assert!(facts.oppo_big && facts.oppo_icon);
    for missing in ["{}", r#"{"big_picture_url":"","small_picture_url":null}"#] {
        v4.refuses(missing, Rule::ImageUrlMissing, 23002);
    }
    for bad in ["\"ftp://x\"", "\"x\"", "7", "\"https://\"", "{}"] {
        v4.refuses(format!(r#"{{"small_picture_url":{bad}}}"#), Rule::ImageUrlForm, 21003);
    }
    v4.refuses("nonsense", Rule::Json, 21003);
}
