use super::*;

const PUSH: &str = r#"{"platform":"all","audience":{"tag":["a"]}}"#;
const SINGLE: &str = r#"{"single":{"time":"2026-11-22 18:00:00"}}"#;
const PERIODICAL: &str = r#"{"periodical":{"start":"2026-11-22 00:00:00","end":"2026-12-22 00:00:00","time":"18:05:00","time_unit":"day","frequency":1}}"#;

fn schedule(name: &str, trigger: &str, push: &str) -> String {
    format!(r#"{{"name":{name},"enabled":true,"trigger":{trigger},"push":{push}}}"#)
}

fn create() -> Request {
    Request::new(BodyRule::Schedule)
}

fn update() -> Request {
    Request::update(BodyRule::Schedule, "17349f00-0852-11e6-91b1-0021f653c902")
}

#[test]
fn what_a_new_one_needs() {
    create().passes(schedule("\"n\"", SINGLE, PUSH));
    create().passes(schedule("\"n\"", PERIODICAL, PUSH));
    create().refuses(schedule("null", SINGLE, PUSH), Rule::ScheduleNameMissing, 8100);
    create().refuses(schedule("\"n\"", "null", PUSH), Rule::ScheduleTriggerMissing, 8100);
    create().refuses(schedule("\"n\"", SINGLE, "null"), Rule::SchedulePushMissing, 8100);
    create().refuses("[]", Rule::Json, 8100);
    update().refuses("", Rule::Json, 8100);
    for body in ["{}", r#"{"name":"n"}"#, r#"{"push":{"platform":"all"}}"#, r#"{"trigger":{"single":{}}}"#] {
        update().passes(body);
    }
}

#[test]
fn names_on_both_sides_of_their_limit() {
    for (name, fits) in
        [("n".repeat(255), true), ("n".repeat(256), false), ("张".repeat(85), true), ("张".repeat(86), false)]
    {
        let body = schedule(&format!("\"{name}\""), SINGLE, PUSH);
        for request in [create(), update()] {
            if fits {
                request.passes(&body);
            } else {
                request.refuses(&body, Rule::ScheduleName, 8100);
            }
        }
    }
}

#[test]
fn triggers_are_one_of_two() {
    let both = r#"{"single":{"time":"2026-11-22 18:00:00"},"periodical":{}}"#;
    for request in [create(), update()] {
        for trigger in
            [r#"{"single":null,"periodical":null}"#, "{}", "7", "[]", r#"{"intelligent":{}}"#, both]
        {
            request.refuses(schedule("\"n\"", trigger, PUSH), Rule::ScheduleTrigger, 8100);
        }
        request.passes(schedule(
            "\"n\"",
            r#"{"single":{"time":"2026-11-22 18:00:00"},"periodical":null}"#,
            PUSH,
        ));
    }
}

#[test]
fn times_have_their_form() {
    let single = |time: &str| format!(r#"{{"single":{{"time":{time}}}}}"#);
    let bad = [
        "\"\"",
        "\"2026-11-22\"",
        "\"2026-11-22T18:00:00\"",
        "\"2026-11-22 18:00\"",
        "\"2026-11-2 18:00:00\"",
        "7",
    ];
    for request in [create(), update()] {
        for time in bad.into_iter().chain(["\"2026-11-22 18:00:00 \"", "\"２026-11-22 18:00:00\"", "{}"]) {
            request.refuses(schedule("\"n\"", &single(time), PUSH), Rule::ScheduleTime, 8100);
        }
        for (good, wrong) in
            [("2026-11-22 00:00:00", "x"), ("2026-12-22 00:00:00", "18:05:00"), ("18:05:00", "8:05:00")]
        {
            let message = request.refuses(
                schedule("\"n\"", &PERIODICAL.replace(good, wrong), PUSH),
                Rule::ScheduleTime,
                8100,
            );
            assert!(message.contains("HH:MM:SS"), "{message}");
        }
        request.refuses(schedule("\"n\"", r#"{"single":"18:00"}"#, PUSH), Rule::ScheduleTime, 8100);
    }
    create().refuses(schedule("\"n\"", &single("null"), PUSH), Rule::ScheduleTime, 8100);
    create().refuses(schedule("\"n\"", r#"{"periodical":{}}"#, PUSH), Rule::ScheduleTime, 8100);
    update().passes(schedule("\"n\"", r#"{"periodical":{"time":"18:05:00"}}"#, PUSH));
}

#[test]
fn the_push_inside_is_judged() {
    let file = r#"{"platform":"all","audience":{"file":{"file_id":"x"}}}"#;
    let with_file = PUSH.replace(r#"{"tag":["a"]}"#, r#"{"file":{"file_id":"x"}}"#);
    assert_eq!(
        create().passes(schedule("\"n\"", SINGLE, &with_file)),
        Facts { reach: Reach::Named, audience_file: true, ..Facts::default() }
    );
    assert!(update().passes(format!(r#"{{"push":{file}}}"#)).audience_file);
    // The vendor ignores a cid inside the push, so it is not checked.
    create().passes(schedule("\"n\"", SINGLE, &PUSH.replace("{\"platform\"", "{\"cid\":\"x\",\"platform\"")));
    create().refuses(schedule("\"n\"", SINGLE, r#"{"audience":{}}"#), Rule::PlatformMissing, 8100);
    create().refuses(schedule("\"n\"", SINGLE, r#"{"platform":"all"}"#), Rule::AudienceMissing, 8100);
    assert!(create().passes(schedule("\"n\"", SINGLE, file)).audience_file);
    let bare = file.replace(r#""platform":"all","#, "");
    create().refuses(schedule("\"n\"", SINGLE, &bare), Rule::PlatformMissing, 8100);
    for request in [create(), update()] {
        for push in ["7", "[]", "\"all\"", "true"] {
            request.refuses(schedule("\"n\"", SINGLE, push), Rule::SchedulePush, 8100);
        }
    }
    let long = PUSH.replace("[\"a\"]", &format!("[\"{}\"]", "a".repeat(41)));
    for request in [create(), update()] {
        request.refuses(schedule("\"n\"", SINGLE, &long), Rule::AudienceValueLength, 8100);
        let empty = PUSH.replace(r#"{"tag":["a"]}"#, r#"{"file":{"file_id":""}}"#);
        request.refuses(schedule("\"n\"", SINGLE, &empty), Rule::FileId, 8100);
        let mixed = PUSH.replace(r#"{"tag":["a"]}"#, r#"{"file":{"file_id":"x"},"tag":["a"]}"#);
        request.refuses(schedule("\"n\"", SINGLE, &mixed), Rule::FileAudience, 8100);
    }
}
