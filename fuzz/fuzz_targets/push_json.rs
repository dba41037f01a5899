//! Any bytes as JSON bodies: no panic; a plain `"audience":"all"` is always seen; what JSON is agrees with `serde`.

#![no_main]

use jpush_gateway::body::{Rule, check};
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
        subject.encrypted = true;
        assert!(check(rule, &subject, body).is_ok());
        subject.encrypted = false;
    }
    let Ok(value) = serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(body) else { return };
    subject.method = Verb::Post;
    let refused = check(BodyRule::Json, &subject, body).err().map(|defect| defect.rule);
    assert_eq!(refused, None::<Rule>);
    subject.encrypted = true;
    let facts = check(BodyRule::Push, &subject, body).expect("an encrypted body passes");
    assert!(facts.broadcast || value.get("audience").and_then(|all| all.as_str()) != Some("all"));
});
