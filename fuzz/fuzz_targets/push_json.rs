//! Any bytes as JSON bodies: no panic; an audience of everybody is always seen; what JSON is agrees with `serde`.

#![no_main]

use jpush_gateway::body::{Reach, Rule, check};
use jpush_gateway::operation::{BodyRule, Verb};
use jpush_gateway_fuzz::{images, subject};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let images = images();
    let mut subject = subject(&images);
    for (rule, method) in [
        (BodyRule::Push, Verb::Post),
        (BodyRule::GroupPush, Verb::Post),
        (BodyRule::FilePush, Verb::Post),
        (BodyRule::GroupFilePush, Verb::Post),
        (BodyRule::TemplatePush, Verb::Post),
        (BodyRule::Batch, Verb::Post),
        (BodyRule::Schedule, Verb::Post),
        (BodyRule::Schedule, Verb::Put),
        (BodyRule::ImageUrls, Verb::Post),
        (BodyRule::ImageUrls, Verb::Put),
        (BodyRule::ImageUrlsV4, Verb::Post),
    ] {
        subject.method = method;
        subject.value = (method == Verb::Put).then_some("jgmedia-2-14b23451-0001-41ce-89d9-987b465122da");
        if let Err(defect) = check(rule, &subject, body) {
            assert!(defect.message.len() < 300);
        }
        if matches!(rule, BodyRule::Push | BodyRule::GroupPush) {
            subject.encrypted = true;
            let facts = check(rule, &subject, body).expect("an encrypted push passes");
            assert!(facts.encrypted && facts.reach > Reach::Nobody && !facts.has_cid);
            subject.encrypted = false;
        }
    }
    let Ok(value) = serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(body) else { return };
    subject.method = Verb::Post;
    let refused = check(BodyRule::Json, &subject, body).err().map(|defect| defect.rule);
    assert_eq!(refused, None::<Rule>);
    let everybody = |push: &serde_json::Value| match push.get("audience") {
        Some(serde_json::Value::Object(kinds)) => kinds.get("all") == Some(&true.into()),
        audience => audience.and_then(|all| all.as_str()) == Some("all"),
    };
    let value = serde_json::Value::Object(value);
    subject.encrypted = true;
    let facts = check(BodyRule::Push, &subject, body).expect("an encrypted push passes");
    assert!(facts.reach == Reach::Everybody || !everybody(&value));
    subject.encrypted = false;
    if let Ok(facts) = check(BodyRule::TemplatePush, &subject, body) {
        let pushes = value.get("params").and_then(|params| params.as_array());
        assert!(facts.reach == Reach::Everybody || !pushes.into_iter().flatten().any(everybody));
    }
});
