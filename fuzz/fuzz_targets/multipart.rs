//! Any body and any boundary: forms are read in bounds, and a refusal never quotes much.

#![no_main]

use jpush_gateway::body::check;
use jpush_gateway::operation::{BodyRule, Verb};
use jpush_gateway_fuzz::{images, subject};
use libfuzzer_sys::fuzz_target;

// The first line is the Content-Type, the rest the body.
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
        if let Err(defect) = check(rule, &subject, body) {
            assert!(defect.message.len() < 300);
        }
    }
});
