use proptest::prelude::*;

use super::*;

fn parse(raw: &str) -> Result<String, BadPath> {
    Path::parse(raw).map(|path| path.as_str().to_owned())
}

fn name_of(method: &str, raw: &str) -> Result<&'static str, NoMatch> {
    let path = Path::parse(raw).expect("the path of this row is unambiguous");
    find(method, &path).map(|hit| OPERATIONS[hit.operation.index()].name)
}

#[test]
fn paths_are_normalised_or_refused() {
    let good = [
        ("/v3/push", "/v3/push"),
        ("/v3//push/validate", "/v3/push/validate"),
        ("///v3///push//", "/v3/push"),
        ("/v3/schedules/", "/v3/schedules"),
        ("/", "/"),
        ("//", "/"),
        ("/v3/tags/...", "/v3/tags/..."),
        ("/v3/tags/.a", "/v3/tags/.a"),
        ("/v3/tags/%E4%BD%A0", "/v3/tags/%E4%BD%A0"),
        ("/v3/tags/a%20b", "/v3/tags/a%20b"),
        ("/v3/tags/...;x", "/v3/tags/...;x"),
        ("/v3/tags/a..;x", "/v3/tags/a..;x"),
        ("/v3/tags/ü", "/v3/tags/%C3%BC"),
        ("//v3/tags/安%e5/", "/v3/tags/%E5%AE%89%e5"),
    ];
    for (raw, expected) in good {
        assert_eq!(parse(raw).as_deref(), Ok(expected), "{raw}");
    }
    let bad = [
        ("v3/push", BadPath::Relative),
        ("", BadPath::Relative),
        ("/v3/./push", BadPath::DotSegment),
        ("/v3/../push", BadPath::DotSegment),
        ("/v3/push/..", BadPath::DotSegment),
        ("/v3/%2e/push", BadPath::DotSegment),
        ("/v3/.%2E/push", BadPath::DotSegment),
        ("/v3/%2e%2E", BadPath::DotSegment),
        ("/v3/tags/a%2Fb", BadPath::EncodedSeparator),
        ("/v3/tags/a%2fb", BadPath::EncodedSeparator),
        ("/v3/tags/a%5Cb", BadPath::EncodedSeparator),
        ("/v3/push/..;", BadPath::DotSegment),
        ("/v3/.;a=b/push", BadPath::DotSegment),
        ("/v3/%2e.%3B/push", BadPath::DotSegment),
        ("/v3/tags/a%00", BadPath::EncodedControl),
        ("/v3/tags/%0d%0aX", BadPath::EncodedControl),
        ("/v3/tags/a%1F", BadPath::EncodedControl),
        ("/v3/tags/a%7f", BadPath::EncodedControl),
        ("/v3/tags/a#b", BadPath::Fragment),
        ("/v3/tags/#", BadPath::Fragment),
        ("/v3/tags/a<b", BadPath::RawByte),
        ("/v3/tags/a\\b", BadPath::RawByte),
        ("/v3/tags/a\u{7f}", BadPath::RawByte),
        ("/v3/tags/a b", BadPath::RawByte),
        ("/v3/tags/%", BadPath::Escape),
        ("/v3/tags/%4", BadPath::Escape),
        ("/v3/tags/%zz", BadPath::Escape),
    ];
    for (raw, expected) in bad {
        assert_eq!(parse(raw), Err(expected), "{raw}");
    }
}

#[test]
fn literal_segments_win_and_values_keep_their_form() {
    assert_eq!(name_of("GET", "/v3/push/cid"), Ok("push-cid"));
    assert_eq!(name_of("DELETE", "/v3/push/18100287008546343"), Ok("push-withdraw"));
    assert_eq!(name_of("DELETE", "/v3/push/12a"), Err(NoMatch::UnknownEndpoint));
    assert_eq!(name_of("GET", "/v3/push/123"), Err(NoMatch::MethodNotAllowed { allow: "DELETE".into() }));
    assert_eq!(name_of("POST", "/v3/devices/status/"), Ok("device-status"));
    assert_eq!(name_of("POST", "/v3/devices/1a0018970a"), Ok("device-update"));
    assert_eq!(name_of("POST", "/v3/files/alias"), Ok("file-upload"));
    assert_eq!(name_of("GET", "/v3/files/alias"), Ok("file-get"));
    assert_eq!(name_of("GET", "/v3/tags/a/registration_ids/b"), Ok("tag-check"));
    assert_eq!(name_of("PUT", "/v3/push"), Err(NoMatch::MethodNotAllowed { allow: "POST".into() }));
    assert_eq!(name_of("post", "/v3/push"), Err(NoMatch::MethodNotAllowed { allow: "POST".into() }));
    assert_eq!(name_of("POST", "/v1/app"), Err(NoMatch::UnknownEndpoint));
    assert_eq!(name_of("GET", "/"), Err(NoMatch::UnknownEndpoint));
}

#[test]
fn every_row_is_found_by_its_own_path() {
    for id in OperationId::all() {
        let path = id.path.replace("{msg_id}", "42").replace(['{', '}'], "");
        assert_eq!(name_of(id.method.as_str(), &path), Ok(id.name));
        assert_eq!(OperationId::named(id.name), Some(id));
    }
}

#[test]
fn the_table_is_consistent() {
    for (position, row) in OPERATIONS.iter().enumerate() {
        assert!(OPERATIONS[..position].iter().all(|other| other.name != row.name), "{} twice", row.name);
        assert!(
            OPERATIONS[..position].iter().all(|other| (other.method, other.path) != (row.method, row.path)),
            "{} {} twice",
            row.method.as_str(),
            row.path
        );
        let bodiless = matches!(row.method, Verb::Get | Verb::Delete);
        assert_eq!(bodiless, matches!(row.body, BodyRule::None | BodyRule::CidQuery), "{}", row.name);
        assert_eq!(row.host == Host::ImageV4, row.path.starts_with("/v4/"), "{}", row.name);
    }
}

#[test]
fn calls_that_only_ask_have_no_effect() {
    let asking = OPERATIONS.iter().filter(|row| !row.has_effect() && row.method != Verb::Get);
    let asking: Vec<_> = asking.map(|row| row.name).collect();
    assert_eq!(asking, ["push-validate", "device-status", "report-message-status"]);
    assert!(OPERATIONS.iter().all(|row| row.method != Verb::Get || !row.has_effect()));
    let named = OPERATIONS.iter().filter(|row| row.names_vendor_id() && row.has_effect());
    let named: Vec<_> = named.map(|row| row.name).collect();
    let expected = [
        "push-withdraw",
        "schedule-update",
        "schedule-delete",
        "file-delete",
        "image-update-urls",
        "image-update-files",
    ];
    assert_eq!(named, expected);
}

fn percent_decoded(path: &str) -> Vec<u8> {
    let mut parts = path.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        decoded.push(u8::from_str_radix(&part[..2], 16).expect("two digits"));
        decoded.extend_from_slice(&part.as_bytes()[2..]);
    }
    decoded
}

#[test]
fn queries_are_sent_as_they_came_or_refused() {
    for good in ["", "a=%00&b=//..%2F\\", "安", "?"] {
        assert_eq!(check_query(good), Ok(()), "{good}");
    }
    for (bad, why) in [("a#", BadPath::Fragment), ("\"", BadPath::RawQueryByte), ("<", BadPath::RawQueryByte)]
    {
        assert_eq!(check_query(bad), Err(why), "{bad}");
    }
}

proptest! {
    /// A path that passes has nothing in it that could be read in two ways, whatever the input was.
    #[test]
    fn no_ambiguous_path_passes(raw in "(/|%2[eEfF]|%5[cC]|%[01]?[0-9a-f]|%7[fF]|%3[bB]|;|#|安|ü|%[0-9a-fA-Z]{0,2}|\\.|\\\\|[ -~]){0,24}") {
        if let Ok(path) = Path::parse(&raw) {
            let path = path.as_str();
            prop_assert!(path == "/" || (!path.contains("//") && !path.ends_with('/')));
            let decoded = percent_decoded(path);
            prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "{path}");
            prop_assert_eq!(decoded.split(|byte| *byte == b'/').count(), path.split('/').count());
            prop_assert!(!decoded.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\'), "{path}");
            for segment in decoded.split(|byte| *byte == b'/') {
                let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
                prop_assert!(name != b"." && name != b"..", "{path}");
            }
            prop_assert_eq!(parse(path), Ok(path.to_owned()), "what passes passes as it is");
            let collapsed = raw.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
            prop_assert_eq!(decoded, percent_decoded(&format!("/{collapsed}")), "nothing is lost");
        }
    }

    /// Normalising twice changes nothing more, and the number of slashes in the input does not affect matching.
    #[test]
    fn normalising_is_idempotent(segments in prop::collection::vec("[a-z0-9]{1,8}", 1..6), slashes in 1usize..4) {
        let slash = "/".repeat(slashes);
        let sloppy = format!("{slash}{}{slash}", segments.join(&slash));
        let once = parse(&sloppy).expect("only letters, digits and slashes");
        prop_assert_eq!(&once, &format!("/{}", segments.join("/")));
        prop_assert_eq!(parse(&once).expect("normalised"), once);
    }
}
