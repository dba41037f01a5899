//! Any body and any boundary: forms are read in bounds, a refusal never quotes much, what was looked at while the body
//! arrived changes no verdict, and no other parser finds a picture for OPPO in a form that passes without one.

#![no_main]

use std::convert::Infallible;
use std::future::ready;

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use jpush_gateway::body::{Prescan, check, check_rest};
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
        let mut prescan = Prescan::new(rule, &subject);
        (0..body.len()).step_by(at + 1).for_each(|length| prescan.scan(&body[..length]));
        assert_eq!(check_rest(rule, &subject, body, Some(&prescan)), verdict);
        match verdict {
            Ok(facts) if rule == BodyRule::ImageFiles => {
                let counted = facts.oppo_big || facts.oppo_icon;
                assert!(counted || has_oppo_file(&data[..at], body) != Some(true));
            }
            Ok(_) => {}
            Err(defect) => assert!(defect.message.len() < 300),
        }
    }
});

/// Whether `multer` finds a file for OPPO; `None`: it does not read the form to its end.
fn has_oppo_file(content_type: &[u8], body: &[u8]) -> Option<bool> {
    let boundary = multer::parse_boundary(std::str::from_utf8(content_type).ok()?).ok()?;
    let body = stream::once(ready(Ok::<_, Infallible>(Bytes::copy_from_slice(body))));
    let mut form = multer::Multipart::new(body, boundary);
    let mut found = false;
    while let Some(part) = form.next_field().now_or_never()?.ok()? {
        let named = part.name() == Some("oppo_file");
        found |= !part.bytes().now_or_never()?.ok()?.is_empty() && named;
    }
    Some(found)
}
