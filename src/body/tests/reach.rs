//! Tests of the reach of pushes, and of pushes to a target list.

use crate::operation::Audience;

use super::*;

const FILE: &str = r#"{"file":{"file_id":"x"}}"#;

/// A body that passes its rule, with an audience where the row says that it stands.
fn body(row: &Operation, audience: &str) -> String {
    let push = format!(r#"{{"platform":"all","audience":{audience}}}"#);
    match row.audience {
        Audience::Nobody | Audience::Body => push,
        Audience::Push => {
            let trigger = r#""trigger":{"single":{"time":"2030-01-01 00:00:00"}}"#;
            format!(r#"{{"name":"n",{trigger},"push":{push}}}"#)
        }
        Audience::Params => format!(r#"{{"id":"t","params":[{push}]}}"#),
        Audience::Targets => format!(r#"{{"pushlist":{{"{APP_KEY}-{UUID}":{push}}}}}"#),
    }
}

fn reach(rule: BodyRule, body: impl AsRef<[u8]>) -> Reach {
    Request::new(rule).passes(body).reach
}

fn of_audience(audience: &str) -> Reach {
    reach(BodyRule::Push, format!(r#"{{"platform":"all","audience":{audience}}}"#))
}

/// The audience column and the body rule of each row agree: the rule reads the audience that the column names.
#[test]
fn every_row_reads_the_audience_where_it_says_that_it_stands() {
    for row in OPERATIONS.iter().filter(|row| row.audience != Audience::Nobody) {
        let request = Request { method: row.method, ..Request::new(row.body) };
        let only_files = matches!(row.body, BodyRule::FilePush | BodyRule::GroupFilePush);
        if only_files {
            assert_eq!(request.passes(body(row, FILE)).reach, Reach::Named, "{}", row.name);
            request.refuses(body(row, "\"all\""), Rule::FileAudience, 1003);
            continue;
        }
        for (audience, reach) in [
            (r#""all""#, Reach::Everybody),
            (r#"{"all":true}"#, Reach::Everybody),
            (r#"{"tag_not":["a"]}"#, Reach::Open),
            (r#"{"tag":["a"]}"#, Reach::Named),
        ] {
            let facts = request.passes(body(row, audience));
            assert_eq!((facts.reach, facts.audience_file), (reach, false), "{} {audience}", row.name);
        }
        let file = request.check(body(row, FILE));
        assert!(file.is_err() || file.unwrap().audience_file, "{}", row.name);
    }
}

#[test]
fn everybody_is_seen_in_any_reading() {
    for audience in [
        r#""all""#,
        r#""ALL""#,
        r#"" all ""#,
        r#""\u0061ll""#,
        r#"{"tag":["a"]},"audience":"all""#,
        r#""all","audience":{"tag":["a"]}"#,
        r#"{"tag":["a"]},"Audience":"all""#,
        r#"{"tag":["a"]},"audıence":"all""#,
        r#"{"tag":["a"]},"AUDİENCE":"all""#,
        r#"{"tag":["a"]},"audi_ence":"all""#,
        r#"{"tag":["a"]},"aud\u0131ence":{"a_ll":true}"#,
        r#""\u0001all\u0000""#,
        r#"{"all":true,"file":null}"#,
        r#"{"all":1,"tag":["a"]}"#,
        r#"{"ALL":"true","tag":["a"]}"#,
        r#"{"all":false,"all":true}"#,
    ] {
        assert_eq!(of_audience(audience), Reach::Everybody, "{audience}");
    }
    assert_eq!(reach(BodyRule::Push, r#"{"platform":1,"a\u0075dience":"all"}"#), Reach::Everybody);
    for audience in [r#"{"tag":["all"]}"#, r#"{"all":false,"tag":["a"]}"#, r#"{"all":null,"alias":["a"]}"#] {
        assert_eq!(of_audience(audience), Reach::Named, "{audience}");
    }
    let elsewhere = r#"{"platform":1,"audience":{"tag":["a"]},"x":{"audience":"all"}}"#;
    assert_eq!(reach(BodyRule::Push, elsewhere), Reach::Named);
}

#[test]
fn an_audience_is_narrow_only_if_a_known_kind_names_somebody() {
    for kind in ["tag", "tag_and", "alias", "registration_id", "segment", "abtest"] {
        for values in [r#"["a"]"#, r#"[null,"a"]"#, "[7]", r#""a""#, "-7"] {
            let beside = format!(r#"{{"{kind}":{values},"tag_not":["b"],"new":["c"]}}"#);
            assert_eq!(of_audience(&beside), Reach::Named, "{beside}");
        }
        for values in ["[]", "[null]", r#"[" "]"#, r#""""#, "null", "{}", "true", r#"["a"],"KIND":[]"#]
            .into_iter()
            .chain([r#"["\u0000"]"#, r#"["\u001f "]"#, r#"["a"],"KI-ND":[]"#])
        {
            let other = format!("{}_{}", &kind[..1], &kind[1..]);
            let void = format!(r#"{{"{kind}":{values},"tag_not":["b"]}}"#);
            let void = void.replace("KIND", kind).replace("KI-ND", &other);
            assert_eq!(of_audience(&void), Reach::Open, "{void}");
        }
        let other_case = format!(r#"{{"{}":["a"]}}"#, kind.to_ascii_uppercase());
        assert_eq!(of_audience(&other_case), Reach::Open, "{other_case}");
    }
    assert_eq!(of_audience(r#"{"alias":["a"],"aliaſ":[]}"#), Reach::Open);
    assert_eq!(of_audience(r#"{"live_activity_id":"id"}"#), Reach::Named);
    assert_eq!(
        of_audience(r#"{"tag":[],"alias":["a"]}"#),
        Reach::Named,
        "an empty kind beside one that names"
    );
    for open in ["{}", r#"{"tag_not":["a"]}"#, r#"{"new":["a"]}"#, r#""al""#, r#"["all"]"#, "7", "false"] {
        assert_eq!(of_audience(open), Reach::Open, "{open}");
    }
}

#[test]
fn what_stands_beside_an_encrypted_payload_counts_and_is_never_refused() {
    for rule in [BodyRule::Push, BodyRule::GroupPush] {
        let read = |body: &[u8]| {
            let facts = Request::encrypted(rule).passes(body);
            assert!(facts.encrypted && !facts.has_cid);
            (facts.reach, facts.audience_file)
        };
        let beside =
            |audience: &str| read(format!(r#"{{"audience":{audience},"payload":"AAAA"}}"#).as_bytes());
        assert_eq!(beside(r#""all""#), (Reach::Everybody, false));
        assert_eq!(beside(r#"{"all":true,"file":false}"#), (Reach::Everybody, false));
        assert_eq!(beside(r#"{"tag":["a"]}"#), (Reach::Named, false));
        let java = r#"{"all":false,"file":false,"targets":[{"audienceType":"TAG","values":["a"]}]}"#;
        assert_eq!(beside(java), (Reach::Open, false));
        assert_eq!(beside(r#"{"all":false,"file":true,"targets":[]}"#), (Reach::Open, true));
        assert_eq!(beside(FILE), (Reach::Named, true));
        // The recipients of these cannot be read.
        let named = r#"{"audience":{"tag":["a"]},"payload":"AAAA"}"#;
        let utf16: Vec<u8> = named.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let bad_byte = [named.as_bytes(), b"\xFF"].concat();
        let unseen: [&[u8]; 8] = [
            br#"{"Audience":{"tag":["a"]},"payload":"AAAA"}"#,
            br#"{"payload":"AAAA"}"#,
            br#"{"audience":null,"payload":"AAAA"}"#,
            br#"{"audience":{"tag":["a"]},"payload":"AAAA" /* comment */}"#,
            br#"{"audience":{"tag":["a"]},"payload":"#,
            b"",
            &utf16,
            &bad_byte,
        ];
        for body in unseen {
            assert_eq!(read(body), (Reach::Everybody, false), "{}", String::from_utf8_lossy(body));
        }
    }
}

#[test]
fn a_target_list_is_seen_in_a_schedule_in_any_reading() {
    let schedule = |push: &str| Request::update(BodyRule::Schedule, "17349f00").passes(push).audience_file;
    assert!(schedule(&format!(r#"{{"push":{{"audience":{FILE}}}}}"#)));
    assert!(schedule(&format!(r#"{{"push":{{"audience":{{"tag":["a"]}},"Audience":{FILE}}}}}"#)));
    assert!(schedule(&format!(r#"{{"push":{{}},"Push":{{"audience":{FILE}}}}}"#)));
    assert!(schedule(r#"{"push":{"audience":{"tag":["a"],"File":"x"}}}"#));
    assert!(schedule(&format!(r#"{{"puſh":{{"audience":{FILE}}}}}"#)));
    assert!(schedule(r#"{"push":{"audience":{"tag":["a"],"fıle":"x"}}}"#));
    assert!(!schedule(r#"{"push":{"audience":{"tag":["a"],"file":null}}}"#));
    assert!(!schedule(r#"{"name":"file"}"#));
    assert_eq!(Request::update(BodyRule::Schedule, "x").passes("{}").reach, Reach::Nobody);
}

#[test]
fn an_update_of_a_push_without_an_audience_may_keep_everybody() {
    let update = |body: &str| Request::update(BodyRule::Schedule, "x").passes(body).reach;
    let named = r#""audience":{"tag":["a"]}"#;
    for open in [
        r#"{"push":{}}"#,
        r#"{"push":{"platform":"all","notification":{"alert":"a"}}}"#,
        r#"{"push":{"audience":null}}"#,
        &format!(r#"{{"push":{{{named},"audience":null}}}}"#),
        &format!(r#"{{"push":{{"platform":"all"}},"push":{{{named}}}}}"#),
        &format!(r#"{{"push":{{{named}}},"Push":{{}}}}"#),
    ] {
        assert_eq!(update(open), Reach::Open, "{open}");
    }
    assert_eq!(update(&format!(r#"{{"push":{{{named}}}}}"#)), Reach::Named);
    for without in [r#"{"name":"n"}"#, r#"{"enabled":true}"#, r#"{"push":null}"#] {
        assert_eq!(update(without), Reach::Nobody, "{without}");
    }
}

#[test]
fn templates_are_judged_push_by_push() {
    let request = Request::new(BodyRule::TemplatePush);
    let params = |params: &str| format!(r#"{{"id":"t","params":{params}}}"#);
    for (good, reach) in [
        (r#"[{"audience":{"registration_id":["a"]}},{"audience":{"registration_id":["b"]}}]"#, Reach::Named),
        (r#"[{"audience":{"tag":["a"]}},{"audience":"all"}]"#, Reach::Everybody),
        (r#"[{"audience":{"tag":["a"]}},{"audience":{"tag_not":["a"]}}]"#, Reach::Open),
        (r#"[{"audience":{"tag":["a"]}}],"Params":[{"audience":"all"}]"#, Reach::Everybody),
        (r#"[{"audience":{"tag":["a"]}}],"paramſ":[{"audience":"all"}]"#, Reach::Everybody),
        // A push without an audience in every reading: the template may have one.
        (r#"[{"audience":{"tag":["a"]}},{"trace_id":"1"}]"#, Reach::Everybody),
        (r#"[{"audience":{"tag":["a"]},"audience":null}]"#, Reach::Everybody),
        (r#"[{"audience":{"tag":["a"]}}],"params":null"#, Reach::Everybody),
        ("[]", Reach::Everybody),
        ("null", Reach::Everybody),
    ] {
        let facts = request.passes(params(good));
        assert_eq!((facts.reach, facts.audience_file), (reach, false), "{good}");
    }
    assert_eq!(request.passes(r#"{"id":"t"}"#).reach, Reach::Everybody);
    let file = request.passes(params(&format!(r#"[{{"audience":{FILE}}}]"#)));
    assert_eq!((file.reach, file.audience_file), (Reach::Named, true));
    let tags = vec![r#""t""#; 21].join(",");
    for (bad, rule, code) in [
        ("{}", Rule::TemplateParams, 1003),
        ("\"x\"", Rule::TemplateParams, 1003),
        ("[7]", Rule::TemplateParams, 1003),
        (r#"[{"audience":{"tag":["a"]}},"x"]"#, Rule::TemplateParams, 1003),
        (&format!(r#"[{{"audience":{{"tag":[{tags}]}}}}]"#), Rule::AudienceCount, 1003),
        (r#"[{"audience":{"file":{}}}]"#, Rule::FileIdMissing, 1002),
        (r#"[{"audience":{"file":{"file_id":"x"},"tag":["a"]}}]"#, Rule::FileAudience, 1003),
    ] {
        request.refuses(params(bad), rule, code);
    }
    request.refuses("[]", Rule::Json, 1003);
}

proptest::proptest! {
    /// However an audience is spelled, a push that names everybody somewhere in it never counts as a narrow one.
    #[test]
    fn no_spelling_hides_everybody(
        kinds in proptest::collection::vec("(tag|tag_not|alias|new|File|all|Tag)", 0..4),
        values in proptest::collection::vec(r#"(\[\]|\["a"\]|"a"|null|true|false|\{\}|7)"#, 4),
        place in 0_usize..4,
    ) {
        let mut entries: Vec<_> =
            kinds.iter().zip(&values).map(|(kind, value)| format!(r#""{kind}":{value}"#)).collect();
        entries.insert(place.min(entries.len()), r#""all":true"#.to_owned());
        let audience = format!("{{{}}}", entries.join(","));
        let facts = Request::encrypted(BodyRule::Push).passes(format!(r#"{{"audience":{audience}}}"#));
        proptest::prop_assert_eq!(facts.reach, Reach::Everybody, "{}", audience);
    }

    /// A push that counts as narrow is narrow for a parser that keeps the first of two equal keys, and for one that
    /// keeps the last.
    #[test]
    fn what_passes_as_narrow_is_narrow_for_any_parser(
        kinds in proptest::collection::vec("(tag|tag_not|alias|segment|live_activity_id|new|all|ALIAS)", 0..5),
        values in proptest::collection::vec(r#"(\[\]|\["a"\]|\[null,""\]|\[" ","b"\]|"a"|" "|null|true|false|\{\}|7)"#, 5),
    ) {
        let entries: Vec<_> =
            kinds.iter().zip(&values).map(|(kind, value)| format!(r#""{kind}":{value}"#)).collect();
        let audience = format!("{{{}}}", entries.join(","));
        // Without encryption, a list that is too long would be refused before its reach matters.
        let facts = Request::encrypted(BodyRule::Push).passes(format!(r#"{{"audience":{audience}}}"#));
        if facts.reach == Reach::Named {
            for entries in [entries.clone(), entries.into_iter().rev().collect()] {
                let read: serde_json::Value = serde_json::from_str(&format!("{{{}}}", entries.join(","))).expect("JSON");
                proptest::prop_assert!(is_narrow(&read), "{} read as {}", audience, read);
            }
        }
    }
}

/// Reads the audience with another parser.
fn is_narrow(audience: &serde_json::Value) -> bool {
    let names = |value: &serde_json::Value| {
        value.is_number() || value.as_str().is_some_and(|text| !text.trim().is_empty())
    };
    let set = |name: &str| audience.get(name).filter(|value| !value.is_null());
    let all = set("all").is_some_and(|all| all != false);
    !all && ["tag", "tag_and", "alias", "registration_id", "segment", "abtest", "live_activity_id"]
        .iter()
        .any(|kind| {
            set(kind).is_some_and(|value| {
                names(value) || value.as_array().is_some_and(|list| list.iter().any(names))
            })
        })
}
