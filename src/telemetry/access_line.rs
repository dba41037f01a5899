//! The access line: fixed fields in a fixed order, formatted by hand.
//!
//! Every request writes one, and most values need no escaping: numbers, and names that the configuration restricts.
//! Formatting it with `serde_json` cost three thousand instructions more per request.

use std::time::Duration;

use super::json_text::{number, plain, three_digits, time, word};
use super::vendor_note::VendorNote;
use crate::config::BaseUrl;

/// The values of one line.
pub(super) struct AccessLine<'r> {
    /// The time since 1970.
    pub(super) time: Duration,
    pub(super) request_id: &'r str,
    pub(super) caller: Option<&'r str>,
    pub(super) tenant: Option<&'r str>,
    pub(super) operation: Option<&'static str>,
    pub(super) status: u16,
    pub(super) reason: Option<&'static str>,
    pub(super) vendor: Option<&'r VendorNote>,
    pub(super) took: Duration,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) peer: Option<&'r str>,
    pub(super) token: Option<&'r str>,
    pub(super) rule: Option<&'static str>,
    pub(super) attempts: u8,
    pub(super) host: Option<&'r BaseUrl>,
    pub(super) trace_id: Option<&'r str>,
}

impl AccessLine<'_> {
    /// Appends one JSON object without a newline. Each key stands here by itself, so that it is copied without a call.
    pub(super) fn write(&self, buffer: &mut Vec<u8>) {
        buffer.reserve(768);
        buffer.extend_from_slice(b"{\"time\":");
        time(buffer, self.time);
        buffer.extend_from_slice(b",\"request_id\":");
        text(buffer, Some(self.request_id));
        buffer.extend_from_slice(b",\"caller\":");
        text(buffer, self.caller);
        buffer.extend_from_slice(b",\"tenant\":");
        text(buffer, self.tenant);
        buffer.extend_from_slice(b",\"operation\":");
        word(buffer, self.operation);
        buffer.extend_from_slice(b",\"status\":");
        number(buffer, Some(self.status.into()));
        buffer.extend_from_slice(b",\"reason\":");
        word(buffer, self.reason);
        buffer.extend_from_slice(b",\"vendor_code\":");
        number(buffer, self.vendor.and_then(|vendor| vendor.code).map(u64::from));
        buffer.extend_from_slice(b",\"msg_id\":");
        text(buffer, self.vendor.and_then(|vendor| vendor.msg_id.as_deref()));
        buffer.extend_from_slice(b",\"duration_ms\":");
        millis(buffer, Some(self.took));
        buffer.extend_from_slice(b",\"vendor_ms\":");
        millis(buffer, self.vendor.map(|vendor| vendor.took));
        buffer.extend_from_slice(b",\"bytes_in\":");
        number(buffer, Some(self.bytes_in));
        buffer.extend_from_slice(b",\"bytes_out\":");
        number(buffer, Some(self.bytes_out));
        buffer.extend_from_slice(b",\"attempts\":");
        number(buffer, Some(self.attempts.into()));
        buffer.extend_from_slice(b",\"peer\":");
        text(buffer, self.peer);
        buffer.extend_from_slice(b",\"token\":");
        text(buffer, self.token);
        buffer.extend_from_slice(b",\"rule\":");
        word(buffer, self.rule);
        buffer.extend_from_slice(b",\"trace_id\":");
        text(buffer, self.trace_id);
        buffer.extend_from_slice(b",\"host\":");
        host(buffer, self.host);
        buffer.push(b'}');
    }
}

/// Appends a JSON string. Values with characters that need escaping go through `serde_json`.
fn text(buffer: &mut Vec<u8>, value: Option<&str>) {
    let Some(value) = value else { return buffer.extend_from_slice(b"null") };
    if !plain(buffer, value) {
        serde_json::to_writer(buffer, value).expect("writing to memory cannot fail");
    }
}

/// Appends a host and its port in the form of the `Host` header.
fn host(buffer: &mut Vec<u8>, url: Option<&BaseUrl>) {
    let Some(url) = url else { return buffer.extend_from_slice(b"null") };
    let (open, close) = if url.host.contains(':') { ("\"[", "]") } else { ("\"", "") };
    for part in [open, &url.host, close] {
        buffer.extend_from_slice(part.as_bytes());
    }
    if let Some(port) = url.own_port() {
        buffer.push(b':');
        number(buffer, Some(port.into()));
    }
    buffer.push(b'"');
}

/// Appends milliseconds with three decimals.
fn millis(buffer: &mut Vec<u8>, value: Option<Duration>) {
    let Some(value) = value else { return buffer.extend_from_slice(b"null") };
    let millis = value.as_secs().saturating_mul(1000).saturating_add(value.subsec_millis().into());
    number(buffer, Some(millis));
    buffer.push(b'.');
    buffer.extend_from_slice(&three_digits(value.subsec_micros()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'r>(request_id: &'r str, vendor: Option<&'r VendorNote>) -> AccessLine<'r> {
        AccessLine {
            time: Duration::ZERO,
            request_id,
            caller: Some("orders"),
            tenant: None,
            operation: Some("push"),
            status: 200,
            reason: None,
            vendor,
            took: Duration::from_micros(12_034),
            bytes_in: 600,
            bytes_out: 44,
            peer: Some("192.0.2.7:50123"),
            token: Some("2026-11"),
            rule: None,
            attempts: 2,
            host: None,
            trace_id: None,
        }
    }

    fn json(line: &AccessLine<'_>) -> serde_json::Value {
        let mut buffer = Vec::new();
        line.write(&mut buffer);
        serde_json::from_slice(&buffer).expect("one JSON object")
    }

    #[test]
    fn a_line_is_json_with_the_fields_of_the_contract() {
        let note = VendorNote {
            status: 200,
            code: Some(1011),
            msg_id: Some("58546795264977810".into()),
            took: Duration::from_millis(3),
        };
        let expected = serde_json::json!({
            "time": "1970-01-01T00:00:00.000Z", "request_id": "r-1", "caller": "orders", "tenant": null,
            "operation": "push", "status": 200, "reason": null, "vendor_code": 1011, "msg_id": "58546795264977810",
            "duration_ms": 12.034, "vendor_ms": 3.0, "bytes_in": 600, "bytes_out": 44,
            "peer": "192.0.2.7:50123", "token": "2026-11", "rule": null, "attempts": 2, "host": null,
            "trace_id": null,
        });
        assert_eq!(json(&line("r-1", Some(&note))), expected);
        let without = json(&line("r-1", None));
        assert!(
            without["vendor_code"].is_null() && without["msg_id"].is_null() && without["vendor_ms"].is_null()
        );
    }

    #[test]
    fn a_host_is_that_of_its_header() {
        for (tls, host, port) in [(true, "api.jpush.cn", 443), (false, "10.0.0.1", 443), (true, "::1", 8443)]
        {
            let url = BaseUrl { tls, host: host.into(), port };
            assert_eq!(json(&AccessLine { host: Some(&url), ..line("r-1", None) })["host"], url.authority());
        }
    }

    #[test]
    fn a_request_id_cannot_forge_a_field() {
        for id in ["\",\"status\":500,\"x\":\"", "back\\slash", "\\\""] {
            let json = json(&line(id, None));
            assert_eq!((json["request_id"].as_str(), json["status"].as_u64()), (Some(id), Some(200)));
        }
    }
}
