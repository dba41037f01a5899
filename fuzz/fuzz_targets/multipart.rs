//! Any body and any boundary: forms are read in bounds, a refusal never quotes much, and what was looked at while the
//! body arrived changes no verdict.

#![no_main]

use jpush_gateway::body::{Ahead, check, check_rest};
use jpush_gateway::operation::{BodyRule, Verb};
use jpush_gateway_fuzz::{images, subject};
use libfuzzer_sys::fuzz_target;

// The first line is the Content-Type, the rest the body; it arrives in pieces as long as that line.
fuzz_target!(|data: &[u8]| {
    let images = images();
    let at = data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len());
    let mut subject = subject(&images);
    subject.content_type = Some(&data[..at]);
    let body = data.get(at + 1..).unwrap_or_default();
    for (rule, value, method) in [
        (BodyRule::TargetList, "alias", Verb::Post),
        (BodyRule::ImageFiles, "jgmedia-1-6d98e85f-d3a5-412a-bdec-de1b75bd3ad3", Verb::Put),
        (BodyRule::ImageFiles, "", Verb::Post),
    ] {
        subject.value = Some(value);
        subject.method = method;
        let verdict = check(rule, &subject, body);
        let mut ahead = Ahead::new(rule, &subject);
        (0..body.len()).step_by(at + 1).for_each(|length| ahead.look(&body[..length]));
        assert_eq!(check_rest(rule, &subject, body, Some(&ahead)), verdict);
        if let Err(defect) = verdict {
            assert!(defect.message.len() < 300);
        }
    }
});
