//! The audit line of one call: fixed fields in a fixed order.

use std::io::Write;
use std::time::Duration;

use super::json_text::{number, plain, time, word};
use super::vendor_note::VendorNote;
use crate::delivery::{Delivery, Doubt};

/// The longest value from a request that is written, in characters.
const VALUE_MAX: usize = 128;

/// The subject of a call, recorded when it is dispatched.
#[derive(Debug, Default)]
pub struct AuditedCall {
    /// The vendor's id of the object that is changed, if the path names one: as received, still percent-encoded.
    pub object: Option<Box<str>>,
    /// The id by which the vendor recognizes a push that it gets twice.
    pub cid: Option<Box<str>>,
}

/// The outcome of a dispatched call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallOutcome {
    /// The vendor answered; the status tells whether the call had its effect.
    Answered,
    /// No answer in time: the call may have had its effect.
    TimedOut,
    /// The connection broke: the call may have had its effect.
    Interrupted,
    /// The process stopped or the call panicked: the call may have had its effect.
    Abandoned,
}

impl CallOutcome {
    /// The outcome by the vendor's answer and the delivery of a refused call; `None` if nothing was sent.
    pub(super) fn of(vendor: Option<&VendorNote>, refused: Option<Delivery>) -> Option<Self> {
        match (refused, vendor) {
            // Checked first: the answer to a second attempt does not undo what the first one may have done.
            (Some(Delivery::Unknown(Doubt::TimedOut)), _) => Some(Self::TimedOut),
            (Some(Delivery::Unknown(Doubt::Interrupted)), _) => Some(Self::Interrupted),
            (Some(Delivery::Unknown(Doubt::GatewayFailed)), _) | (None, None) => Some(Self::Abandoned),
            (Some(Delivery::Unknown(Doubt::VendorFailed) | Delivery::Final), _) | (_, Some(_)) => {
                Some(Self::Answered)
            }
            (Some(Delivery::None), None) => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::TimedOut => "timed-out",
            Self::Interrupted => "interrupted",
            Self::Abandoned => "abandoned",
        }
    }
}

/// The values of one line.
pub(super) struct EffectLine<'r> {
    /// The time since 1970.
    pub(super) time: Duration,
    pub(super) request_id: &'r str,
    pub(super) caller: Option<&'r str>,
    pub(super) token: Option<&'r str>,
    pub(super) tenant: Option<&'r str>,
    pub(super) operation: &'static str,
    pub(super) effect: &'r AuditedCall,
    pub(super) outcome: CallOutcome,
    pub(super) vendor: Option<&'r VendorNote>,
    pub(super) took: Duration,
}

impl EffectLine<'_> {
    /// Appends one JSON object without a newline. Each key stands here by itself, so that it is copied without a call.
    pub(super) fn write(&self, buffer: &mut Vec<u8>) {
        let vendor = self.vendor;
        let msg_id = vendor.and_then(|vendor| vendor.msg_id.as_deref());
        let object = self.effect.object.as_deref();
        // The path of a withdrawal contains the message id of the push.
        let (msg_id, object) =
            if self.operation == "push-withdraw" { (object, None) } else { (msg_id, object) };
        buffer.reserve(512);
        buffer.extend_from_slice(b"{\"time\":");
        time(buffer, self.time);
        buffer.extend_from_slice(b",\"request_id\":");
        text(buffer, Some(self.request_id));
        buffer.extend_from_slice(b",\"caller\":");
        text(buffer, self.caller);
        buffer.extend_from_slice(b",\"token\":");
        text(buffer, self.token);
        buffer.extend_from_slice(b",\"tenant\":");
        text(buffer, self.tenant);
        buffer.extend_from_slice(b",\"operation\":");
        word(buffer, Some(self.operation));
        buffer.extend_from_slice(b",\"object\":");
        text(buffer, object);
        buffer.extend_from_slice(b",\"msg_id\":");
        text(buffer, msg_id);
        buffer.extend_from_slice(b",\"cid\":");
        text(buffer, self.effect.cid.as_deref());
        buffer.extend_from_slice(b",\"outcome\":");
        word(buffer, Some(self.outcome.as_str()));
        buffer.extend_from_slice(b",\"vendor_status\":");
        number(buffer, vendor.map(|vendor| vendor.status.into()));
        buffer.extend_from_slice(b",\"vendor_code\":");
        number(buffer, vendor.and_then(|vendor| vendor.code).map(u64::from));
        buffer.extend_from_slice(b",\"duration_ms\":");
        number(buffer, u32::try_from(self.took.as_millis()).ok().map(u64::from));
        buffer.push(b'}');
    }
}

/// Appends a JSON string of printable ASCII only, so that no value can end its line, forge a field or send a command to
/// a terminal.
fn text(buffer: &mut Vec<u8>, value: Option<&str>) {
    let Some(value) = value else { return buffer.extend_from_slice(b"null") };
    if value.len() <= VALUE_MAX && plain(buffer, value) {
        return;
    }
    buffer.push(b'"');
    for character in value.chars().take(VALUE_MAX) {
        if matches!(character, ' '..='~') && !matches!(character, '"' | '\\') {
            buffer.push(character as u8);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(buffer, "\\u{unit:04x}").expect("writing to memory cannot fail");
        }
    }
    buffer.push(b'"');
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::budget::Exhausted;
    use crate::refusal::Refusal;

    fn line(request_id: &str, effect: &AuditedCall, vendor: Option<&VendorNote>) -> Vec<u8> {
        let mut buffer = Vec::new();
        let line = EffectLine {
            time: Duration::ZERO,
            request_id,
            caller: Some("orders"),
            token: Some("2026-11"),
            tenant: Some("shop"),
            operation: "push",
            effect,
            outcome: CallOutcome::of(vendor, vendor.is_none().then(|| Refusal::VendorTimeout.delivery()))
                .expect("dispatched"),
            vendor,
            took: Duration::from_millis(12),
        };
        line.write(&mut buffer);
        buffer
    }

    fn json(line: &[u8]) -> Value {
        serde_json::from_slice(line).expect("one JSON object")
    }

    #[test]
    fn a_line_has_its_fields() {
        let note = VendorNote {
            status: 200,
            code: None,
            msg_id: Some("58546795264977810".into()),
            took: Duration::from_millis(3),
        };
        let effect = AuditedCall { object: None, cid: Some("key-1".into()) };
        let expected = serde_json::json!({
            "time": "1970-01-01T00:00:00.000Z", "request_id": "r-1", "caller": "orders", "token": "2026-11",
            "tenant": "shop", "operation": "push", "object": null, "msg_id": "58546795264977810", "cid": "key-1",
            "outcome": "answered", "vendor_status": 200, "vendor_code": null, "duration_ms": 12,
        });
        assert_eq!(json(&line("r-1", &effect, Some(&note))), expected);
        let without = json(&line("r-1", &AuditedCall::default(), None));
        assert_eq!(without["outcome"], "timed-out");
        assert!(
            without["vendor_status"].is_null() && without["cid"].is_null() && without["msg_id"].is_null()
        );
    }

    #[test]
    fn what_was_not_sent_had_no_effect() {
        let (limit, window) = (1, Duration::from_mins(1));
        let exhausted = Exhausted::Quota { limit, window, wait: window }.into();
        for refusal in [
            Refusal::VendorUnreachable,
            Refusal::Draining,
            exhausted,
            Refusal::Overloaded { what: "requests" },
        ] {
            assert_eq!(CallOutcome::of(None, Some(refusal.delivery())), None, "{refusal:?}");
        }
        assert_eq!(CallOutcome::of(None, None), Some(CallOutcome::Abandoned));
    }

    #[test]
    fn a_second_answer_does_not_end_the_doubt_about_the_first_attempt() {
        let note = VendorNote { status: 429, code: None, msg_id: None, took: Duration::ZERO };
        for (refusal, outcome) in [
            (Refusal::VendorTimeout, CallOutcome::TimedOut),
            (Refusal::VendorInterrupted, CallOutcome::Interrupted),
            (Refusal::VendorErrorPage { status: StatusCode::BAD_GATEWAY }, CallOutcome::Answered),
            (Refusal::VendorRejectedCredential, CallOutcome::Answered),
        ] {
            assert_eq!(CallOutcome::of(Some(&note), Some(refusal.delivery())), Some(outcome), "{refusal:?}");
        }
    }

    proptest! {
        /// For any value the log has one line, of printable ASCII, from which the value can be read.
        #[test]
        fn no_value_breaks_out_of_its_field(id in "\\PC{0,140}|[\\x00-\\xff\u{2028}\"\\\\]{0,40}", cid in any::<String>()) {
            let effect = AuditedCall { object: Some(id.as_str().into()), cid: Some(cid.as_str().into()) };
            let line = line(&id, &effect, None);
            prop_assert!(line.iter().all(|byte| matches!(byte, b' '..=b'~')));
            let json = json(&line);
            let cut = |text: &str| text.chars().take(VALUE_MAX).collect::<String>();
            prop_assert_eq!(json["request_id"].as_str(), Some(&*cut(&id)));
            prop_assert_eq!(json["object"].as_str(), Some(&*cut(&id)));
            prop_assert_eq!(json["cid"].as_str(), Some(&*cut(&cid)));
            prop_assert_eq!(json.as_object().map(serde_json::Map::len), Some(13));
        }
    }
}
