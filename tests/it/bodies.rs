//! Tests of body rules in the running gateway: a body that breaks a rule is refused, costs no slot and never reaches
//! the vendor.

use crate::support::{Answer, Config, Gateway, Keys, PUSH, Request, Simulator, Stub, Tokens};

/// A call with bodies that its rule accepts and refuses.
struct Case {
    request: Request,
    good: Vec<String>,
    /// Body, error code, and a word of the message.
    bad: Vec<(String, u64, &'static str)>,
}

impl Case {
    fn new(method: &str, path: &str, good: &[&str], bad: &[(&str, u64, &'static str)]) -> Self {
        let good = good.iter().map(|body| (*body).to_owned()).collect();
        let bad = bad.iter().map(|(body, code, words)| ((*body).to_owned(), *code, *words)).collect();
        Self { request: Request::new(method, path).bearer(Tokens::ORDERS), good, bad }
    }
}

const SCHEDULE: &str = r#"{"name":"n","enabled":true,"trigger":{"single":{"time":"2030-11-22 18:00:00"}},"push":{"platform":"all","audience":{"tag":["a"]},"notification":{"alert":"x"}}}"#;
const FILE_AUDIENCE: &str =
    r#"{"file":{"file_id":"e61b4d98b57de4ff4a0d3a11-5a2ff3b3-8fb2-4d2a-9c6b-0d2b9ab2fd53"}}"#;

fn file_push() -> String {
    PUSH.replace(r#"{"alias":["anna"]}"#, FILE_AUDIENCE)
}

/// Pushes; `own` is a cid that the vendor gave out.
fn pushes(own: &str) -> Vec<Case> {
    let tags = |count: usize| {
        let tags = vec![r#""t""#; count].join(",");
        PUSH.replace(r#"{"alias":["anna"]}"#, &format!(r#"{{"tag":[{tags}]}}"#))
    };
    let alias = |bytes: usize| PUSH.replace("anna", &"a".repeat(bytes));
    let cid = |cid: &str| PUSH.replacen('{', &format!(r#"{{"cid":"{cid}","#), 1);
    let own = cid(own);
    let foreign = cid(&format!("{}-374004a2-bc6c-4abc-bde5-9f1a9671d307", Keys::MARKET_APP));
    let (no_audience, no_platform) = (r#"{"platform":"all"}"#, r#"{"audience":"all","platform":null}"#);
    let mut push = Case::new(
        "POST",
        "/v3/push",
        &[PUSH, &tags(20), &alias(40), &own],
        &[
            ("", 1003, "one JSON object"),
            ("[]", 1003, "one JSON object"),
            (no_audience, 1002, "no audience"),
            (no_platform, 1002, "no platform"),
            (&tags(21), 1003, "audience.tag has 21 values; up to 20 pass"),
            (&alias(41), 1003, "value 1 of audience.alias has 41 bytes; up to 40 pass"),
            (&foreign, 1003, "{app key}-{uuid}"),
            (&file_push(), 1003, "file pushes only"),
        ],
    );
    push.request = push.request.header("Content-Type", "text/plain");
    let file = file_push();
    let broken = |from: &str, to: &str| file.replace(from, to);
    let only_file_id = FILE_AUDIENCE.strip_prefix(r#"{"file":"#).and_then(|rest| rest.strip_suffix('}'));
    let only_file_id = only_file_id.expect("the audience of a file push");
    let to_list = Case::new(
        "POST",
        "/v3/push/file",
        &[&file],
        &[
            (r#"{"platform":"all"}"#, 1002, "no audience"),
            (&broken(r#""platform":"all","#, ""), 1002, "no platform"),
            (&broken(FILE_AUDIENCE, "{}"), 1002, "no file"),
            (&broken(only_file_id, "{}"), 1002, "no file_id"),
            (&broken(only_file_id, r#"{"file_id":""}"#), 1003, "file_id is empty"),
            (&broken(r#"{"file":{"#, r#"{"tag":["a"],"file":{"#), 1003, "nothing else"),
        ],
    );
    let group = Case::new("POST", "/v3/grouppush", &[PUSH], &[(no_audience, 1002, "no audience")]);
    vec![push, to_list, group]
}

fn schedules() -> Case {
    let with = |from: &str, to: &str| SCHEDULE.replace(from, to);
    let single = r#"{"single":{"time":"2030-11-22 18:00:00"}}"#;
    Case::new(
        "POST",
        "/v3/schedules",
        &[SCHEDULE],
        &[
            (&with("\"name\":\"n\",", ""), 8100, "no name"),
            (&with("\"n\"", &format!("\"{}\"", "n".repeat(256))), 8100, "256 bytes; up to 255 pass"),
            (&with(single, "{}"), 8100, "exactly one of single and periodical"),
            (&with("18:00:00", "18:00"), 8100, "YYYY-MM-DD HH:MM:SS"),
            (&with(r#""platform":"all","#, ""), 8100, "no platform"),
        ],
    )
}

fn others() -> Vec<Case> {
    let media = "/v3/images/byurls/jgmedia-2-14b23451-0001-41ce-89d9-987b465122da";
    let device = Case::new(
        "POST",
        "/v3/devices/r1",
        &[r#"{"alias":"a","tags":{"add":["t"]}}"#],
        &[("nonsense", 7002, "one JSON object"), ("{}{}", 7002, "one JSON object")],
    );
    let urls = Case::new(
        "POST",
        "/v3/images/byurls",
        &[r#"{"image_type":1,"image_url":"https://x.example/y.png"}"#],
        &[
            (r#"{"image_url":"https://x.example/y.png"}"#, 1102, "image_type is missing"),
            (r#"{"image_type":4,"image_url":"https://x.example/y.png"}"#, 1103, "1, 2 or 3"),
            (r#"{"image_type":1,"image_url":""}"#, 1102, "at least one"),
            (r#"{"image_type":2,"huawei_image_url":"http://x.example/y"}"#, 1103, "https://"),
            (
                r#"{"image_type":1,"huawei_image_url":"https://x.example/y.png"}"#,
                1103,
                "no channel that is named",
            ),
            (
                r#"{"image_type":3,"oppo_image_url":"https://x/y","fcm_image_url":"https://x/y"}"#,
                1103,
                "no channel",
            ),
            (r#"{"image_type":1,"fcm_image_url":"javascript:alert(1)"}"#, 1103, "a path on the card"),
        ],
    );
    let update = Case::new(
        "PUT",
        media,
        &[],
        &[(r#"{"image_url":""}"#, 1102, "at least one"), (r#"{"oppo_image_url":"x"}"#, 1103, "http://")],
    );
    let malformed = Case::new(
        "PUT",
        "/v3/images/byurls/jgmedia-9",
        &[],
        &[(r#"{"image_url":"https://x.example/y"}"#, 1103, "media id")],
    );
    let v4 = Case::new(
        "POST",
        "/v4/image/oppo",
        &[r#"{"big_picture_url":"https://x.example/y.png"}"#],
        &[("{}", 23002, "is given"), (r#"{"small_picture_url":"ftp://x"}"#, 21003, "http://")],
    );
    vec![device, urls, update, malformed, v4]
}

#[track_caller]
fn assert_invalid(answer: &Answer, code: u64, words: &str) {
    answer.assert_refused(400, "invalid-body", code);
    let json = answer.json();
    let message = json["error"]["message"].as_str().expect("a message");
    assert!(message.contains(words), "{words:?} is not in {message:?}");
}

#[test]
fn every_json_rule_on_both_sides() {
    let vendor = Simulator::start();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let given = gateway.call(&Request::get("/v3/push/cid?count=1").bearer(Tokens::ORDERS)).json();
    let own = given["cidlist"][0].as_str().expect("a cid");
    let cases = pushes(own).into_iter().chain([schedules()]).chain(others());
    for Case { request, good, bad } in cases {
        for body in good {
            let before = vendor.journal().len();
            let answer = gateway.call(&request.clone().body(body.clone()));
            assert!(
                answer.status == 200 && !answer.has("X-JPush-Gateway-Reason"),
                "{body}: {}",
                answer.text()
            );
            assert_eq!(vendor.journal().len(), before + 1);
        }
        let (sent, mut remaining) = (vendor.journal().len(), None);
        for (body, code, words) in bad {
            let answer = gateway.call(&request.clone().body(body));
            assert_invalid(&answer, code, words);
            let left = answer.number("X-Rate-Limit-Remaining");
            assert_eq!(*remaining.get_or_insert(left), left, "a refused body costs nothing");
        }
        assert_eq!(vendor.journal().len(), sent, "a refused body is not sent");
    }
}

#[test]
fn cid_queries_are_bad_requests() {
    let vendor = Simulator::start();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let ask = |query: &str| Request::get(&format!("/v3/push/cid?{query}")).bearer(Tokens::ORDERS);
    assert_eq!(gateway.call(&ask("count=2&type=push")).status, 200);
    for query in ["count=0", "count=1001", "type=x"] {
        gateway.call(&ask(query)).assert_refused(400, "bad-request", 1003);
        let encrypted = ask(query).header("X-Encrypt-Type", "SM2");
        gateway.call(&encrypted).assert_refused(400, "bad-request", 1003);
    }
    assert_eq!((vendor.journal().len(), gateway.used("app", "push")), (1, 1));
}

#[test]
fn broadcasts_need_the_right_and_have_a_budget_of_their_own() {
    let budgets = "broadcast: { limit: 2, window: 24h }";
    let vendor = Simulator::start();
    let mut config = Config::new(&vendor.url());
    config.budgets = budgets.into();
    config.orders = "broadcast: false".into();
    let gateway = Gateway::start(&config);
    let everybody = PUSH.replace(r#"{"alias":["anna"]}"#, "\"all\"");
    let push = |path: &str, token: &str| gateway.call(&Request::post(path, &everybody).basic("shop", token));
    for path in ["/v3/push", "/v3/grouppush"] {
        push(path, Tokens::ORDERS).assert_refused(403, "forbidden", 2007);
    }
    let scheduled = SCHEDULE.replace(r#"{"tag":["a"]}"#, "\"all\"");
    let schedule = |token: &str| Request::post("/v3/schedules", &scheduled).basic("shop", token);
    gateway.call(&schedule(Tokens::ORDERS)).assert_refused(403, "forbidden", 2007);
    assert_eq!(
        (gateway.used("app", "push"), gateway.used("app", "broadcast"), vendor.journal().len()),
        (0, 0, 0)
    );
    assert_eq!(push("/v3/push", Tokens::BOTH).status, 200);
    // A validation reaches nobody, so it costs no slot of `broadcast`.
    assert_eq!(push("/v3/push/validate", Tokens::BOTH).status, 200);
    assert_eq!(gateway.call(&schedule(Tokens::BOTH)).status, 200);
    let refused = push("/v3/push", Tokens::BOTH);
    refused.assert_refused(429, "budget-exhausted", 2008);
    assert!(refused.number("Retry-After") >= 1);
    gateway.call(&schedule(Tokens::BOTH)).assert_refused(429, "budget-exhausted", 2008);
    assert_eq!((gateway.used("app", "push"), gateway.used("app", "schedule")), (2, 1));
    assert_eq!(vendor.journal().len(), 3);
    // Other pushes are not affected, and a group key has a budget of its own.
    assert_eq!(gateway.call(&Request::post("/v3/push", PUSH).basic("shop", Tokens::BOTH)).status, 200);
    assert_eq!(push("/v3/grouppush", Tokens::BOTH).status, 200);
}

#[test]
fn a_scheduled_file_push_draws_on_two_budgets_or_none() {
    let vendor = Stub::good();
    let mut config = Config::new(&vendor.url());
    config.budgets = "file: { limit: 2, window: 60s }".into();
    let gateway = Gateway::start(&config);
    let body = SCHEDULE.replace(r#"{"tag":["a"]}"#, FILE_AUDIENCE);
    let create = Request::post("/v3/schedules", &body).bearer(Tokens::ORDERS);
    assert_eq!(gateway.call(&create).status, 200);
    let push = format!(r#"{{"push":{{"audience":{FILE_AUDIENCE}}}}}"#);
    let update =
        Request::new("PUT", "/v3/schedules/17349f00-0852-11e6-91b1-0021f653c902").bearer(Tokens::ORDERS);
    assert_eq!(gateway.call(&update.clone().body(push)).status, 200);
    let used = || (gateway.used("app", "schedule"), gateway.used("app", "file"));
    assert_eq!(used(), (2, 2));
    gateway.call(&create).assert_refused(429, "budget-exhausted", 2002);
    assert_eq!(used(), (2, 2));
    // A schedule without a target list takes a slot of `schedule` only.
    assert_eq!(gateway.call(&update.body(r#"{"name":"n"}"#)).status, 200);
    assert_eq!((used(), vendor.requests().len()), ((3, 2), 3));
}
