use super::*;

fn push(rule: BodyRule) -> Request {
    Request::new(rule)
}

fn with_audience(audience: &str) -> String {
    format!(r#"{{"platform":"all","audience":{audience}}}"#)
}

fn list(key: &str, count: usize, value: &str) -> String {
    let values = vec![format!("\"{value}\""); count].join(",");
    with_audience(&format!(r#"{{"{key}":[{values}]}}"#))
}

#[test]
fn one_object_and_nothing_else() {
    let json = Request::new(BodyRule::Json);
    let good =
        ["{}", " {}\r\n", "\u{feff}{}", r#"{"a":1e999999}"#, r#"{"a":123456789012345678901234567890}"#];
    for body in good.into_iter().chain([r#"{"a":"\ud800"}"#, r#"{"\ud800":1}"#, r#"{"a":1,"a":2}"#]) {
        json.passes(body);
    }
    for body in [
        "",
        "null",
        "[]",
        "1",
        "\"a\"",
        "{",
        "{}{}",
        "{} x",
        "{'a':1}",
        "{\"a\":1,}",
        "{\"a\":01}",
        "\u{feff}",
    ] {
        json.refuses(body, Rule::Json, 1003);
        Request::new(BodyRule::Batch).refuses(body, Rule::Json, 1003);
    }
    let message = Request::new(BodyRule::Batch).refuses(b"{\"a\":\"\xFF\"}", Rule::JsonEncoding, 1003);
    assert!(message.contains("byte 6"), "{message}");
    json.refuses(b"\xFF\xFE{\0}\0", Rule::JsonEncoding, 1003);
}

#[test]
fn depth_costs_no_stack() {
    for (open, close, push_rule) in [("[", "]", Rule::SchedulePush), ("{\"a\":", "}", Rule::PlatformMissing)]
    {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        for key in ["x", "notification", "platform"] {
            let body = format!(r#"{{"platform":1,"audience":{{}},"{key}":{deep}}}"#);
            push(BodyRule::Push).passes(body);
        }
        push(BodyRule::Push).passes(with_audience(&format!(r#"{{"tag":[{deep}],"alias":{deep}}}"#)));
        Request::new(BodyRule::Schedule).refuses(
            format!(r#"{{"name":"n","push":{deep},"trigger":{deep}}}"#),
            push_rule,
            8100,
        );
    }
}

#[test]
fn platform_and_audience() {
    let request = push(BodyRule::Push);
    request.passes(
        r#"{"platform":"all","audience":{"tag":["a"]},"notification":{"ai_opportunity":false},"x":null}"#,
    );
    request.refuses("{}", Rule::PlatformMissing, 1002);
    request.refuses(r#"{"platform":null,"audience":"all"}"#, Rule::PlatformMissing, 1002);
    request.refuses(r#"{"platform":"all"}"#, Rule::AudienceMissing, 1002);
    request.refuses(r#"{"platform":"all","audience":null}"#, Rule::AudienceMissing, 1002);
    // The key occurs twice, once as `null`: some parsers find it.
    request.passes(r#"{"platform":"all","audience":null,"audience":{"tag":["a"]},"platform":null}"#);
}

#[test]
fn lists_on_both_sides_of_their_limits() {
    let request = push(BodyRule::Push);
    for (key, max) in
        [("tag", 20), ("tag_and", 20), ("tag_not", 20), ("alias", 1000), ("registration_id", 1000)]
            .into_iter()
            .chain([("segment", 1), ("abtest", 1)])
    {
        request.passes(list(key, max, "a"));
        let message = request.refuses(list(key, max + 1, "a"), Rule::AudienceCount, 1003);
        assert!(message.contains(&format!("{} values", max + 1)) && message.contains(key), "{message}");
    }
    for key in ["tag", "tag_and", "tag_not", "alias"] {
        request.passes(list(key, 1, &"a".repeat(40)));
        request.passes(list(key, 1, &"张".repeat(13)));
        request.passes(list(key, 1, &"\\u5f20".repeat(13)));
        request.refuses(list(key, 1, &"a".repeat(41)), Rule::AudienceValueLength, 1003);
        request.refuses(list(key, 1, &"张".repeat(14)), Rule::AudienceValueLength, 1003);
        request.refuses(list(key, 1, &"\\u5f20".repeat(14)), Rule::AudienceValueLength, 1003);
    }
    request.passes(list("registration_id", 1, &"a".repeat(41)));
    request.passes(list("tag_new", 21, &"a".repeat(41)));
    request.passes(with_audience(&format!(r#"{{"tag":[{}"a"]}}"#, "null,".repeat(30))));
    // Both readings must pass.
    let twice = format!(r#"{{"tag":["a"],"tag":["{}"]}}"#, "a".repeat(41));
    request.refuses(with_audience(&twice), Rule::AudienceValueLength, 1003);
    let message = request.refuses(list("alias", 1, &"secret ".repeat(9)), Rule::AudienceValueLength, 1003);
    assert!(!message.contains("secret"), "{message}");
}

#[test]
fn files_belong_on_file_pushes() {
    let file = r#"{"file":{"file_id":"8103a4c628a0b98994ec1949-374004a2-bc6c-4abc-bde5-9f1a9671d307"}}"#;
    for rule in [BodyRule::Push, BodyRule::GroupPush] {
        push(rule).refuses(with_audience(file), Rule::AudienceFile, 1003);
        push(rule).passes(with_audience(r#"{"file":null,"tag":["a"]}"#));
    }
    for request in [push(BodyRule::FilePush), push(BodyRule::GroupFilePush)] {
        // The operation itself takes the scope and a slot of `file`.
        let named = Facts { reach: Reach::Named, ..Facts::default() };
        assert_eq!(request.passes(with_audience(file)), named);
        request.passes(with_audience(r#"{"tag":null,"file":{"file_id":"x","y":1}}"#));
        request.refuses("{}", Rule::PlatformMissing, 1002);
        request.refuses(r#"{"audience":{"file":{"file_id":"x"}}}"#, Rule::PlatformMissing, 1002);
        request.refuses(r#"{"platform":"all"}"#, Rule::AudienceMissing, 1002);
        for missing in ["{}", r#"{"file":null}"#] {
            request.refuses(with_audience(missing), Rule::FileMissing, 1002);
        }
        for missing in [r#"{"file":{}}"#, r#"{"file":{"file_id":null}}"#] {
            request.refuses(with_audience(missing), Rule::FileIdMissing, 1002);
        }
        for bad in
            [r#"{"file":{"file_id":""}}"#, r#"{"file":{"file_id":7}}"#, r#"{"file":"x"}"#, r#"{"file":[]}"#]
        {
            request.refuses(with_audience(bad), Rule::FileId, 1003);
        }
        for bad in [r#"{"file":{"file_id":"x"},"tag":["a"]}"#, r#"{"tag":["a"]}"#, r#""all""#, "7"] {
            request.refuses(with_audience(bad), Rule::FileAudience, 1003);
        }
    }
}

#[test]
fn cids_are_the_applications_own() {
    let file = r#"{"file":{"file_id":"x"}}"#;
    for (rule, group, audience) in
        [(BodyRule::Push, BodyRule::GroupPush, "{}"), (BodyRule::FilePush, BodyRule::GroupFilePush, file)]
    {
        cids_of(&push(rule), &push(group), audience);
    }
}

fn cids_of(request: &Request, group: &Request, audience: &str) {
    let with_cid = |cid: &str| format!(r#"{{"cid":{cid},"platform":"all","audience":{audience}}}"#);
    let own = format!("\"{APP_KEY}-{UUID}\"");
    let facts = request.passes(with_cid(&own));
    assert!(facts.has_cid && facts.names_cid);
    let facts = request.passes(with_cid("null"));
    assert!(!facts.has_cid && facts.names_cid);
    let facts = request.passes(with_audience(audience));
    assert!(!facts.has_cid && !facts.names_cid);
    let facts = request.passes(with_cid(&format!("{own},\"cid\":null")));
    assert!(!facts.has_cid && facts.names_cid);
    let foreign = format!("\"8103a4c628a0b98994ec1949-{UUID}\"");
    let bad = [
        foreign.clone(),
        format!("\"{APP_KEY}{UUID}\""),
        format!("\"{APP_KEY}-{UUID}0\""),
        "\"\"".into(),
        "7".into(),
    ];
    for cid in bad.into_iter().chain([format!("{own},\"cid\":{foreign}"), format!("{foreign},\"cid\":{own}")])
    {
        request.refuses(with_cid(&cid), Rule::Cid, 1003);
    }
    assert!(group.passes(with_cid(&foreign)).has_cid);
    assert!(!group.passes(with_cid("\"\"")).has_cid);
}
