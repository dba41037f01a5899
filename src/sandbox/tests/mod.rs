//! Tests of the simulator without sockets: requests in, replies out, at times that the test sets.

mod budgets;
mod operations;
mod rules;
mod wire;

use std::cell::Cell;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::{Value, json};

use super::*;
use crate::config::{BudgetLimit, BudgetLimits, VendorKey};
use crate::secret::Secret;

pub(super) const APP: &str = "7d431e42dfa6a6d693ac2d04";
pub(super) const DEV: &str = "2e2023ade697b989087dcc53";
pub(super) const GROUP: &str = "group-e4c938578ee598be517a2243";
pub(super) const SECRET: &str = "5e987ac6d2e04d95a9d8f0d1";

/// Limits of 600 a minute, except those given, which hold for a second or a day.
pub(super) fn limits(given: &[(BudgetName, u32)]) -> BudgetLimits {
    BudgetLimits::from_fn(|name| {
        let daily = matches!(name, BudgetName::Broadcast | BudgetName::OppoBig | BudgetName::OppoIcon);
        let limit = given.iter().find(|(known, _)| *known == name).map(|(_, limit)| *limit);
        let limit = NonZeroU32::new(limit.or((!daily).then_some(600))?)?;
        let window = if daily { Duration::from_hours(24) } else { Duration::from_mins(1) };
        Some(BudgetLimit { limit, window, burst: None })
    })
}

pub(super) fn account(key: &str, kind: AccountKind, limits: BudgetLimits) -> Account {
    let vendor_key = |key: &str| VendorKey::new(key.to_owned()).expect("a good key");
    Account {
        key: vendor_key(key),
        secret: Secret::new(SECRET.to_owned()).expect("not empty"),
        kind,
        tier: Tier::Free,
        limits,
        members: if kind == AccountKind::Group { vec![vendor_key(APP)] } else { Vec::new() },
    }
}

pub(super) fn settings(given: &[(BudgetName, u32)]) -> Settings {
    let accounts = [(APP, AccountKind::App), (DEV, AccountKind::Dev), (GROUP, AccountKind::Group)]
        .map(|(key, kind)| account(key, kind, limits(given)));
    Settings { accounts: accounts.into(), window: None, windows: Windows::Fixed }
}

/// A push to everybody, with some members replaced.
pub(super) fn push(with: &Value) -> Value {
    let mut push = json!({ "platform": "all", "audience": "all", "notification": { "alert": "Hi" } });
    for (name, value) in with.as_object().into_iter().flatten() {
        push[name] = value.clone();
    }
    push
}

/// The start of a PNG of this size, as far as it is read.
pub(super) fn png(width: u32, height: u32) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend_from_slice(&width.to_be_bytes());
    png.extend_from_slice(&height.to_be_bytes());
    png.extend_from_slice(&[8, 2, 0, 0, 0, 0, 0, 0, 0]);
    png
}

/// A schedule of a single push.
pub(super) fn schedule() -> Value {
    json!({
        "name": "n", "enabled": true, "trigger": { "single": { "time": "2030-01-01 00:00:00" } },
        "push": push(&json!({})),
    })
}

pub(super) fn basic(key: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{key}:{secret}")))
}

/// Parts of a form: name, file name, content.
pub(super) type Parts<'a> = &'a [(&'a str, Option<&'a str>, &'a [u8])];

/// The reply to a request.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) delay: Duration,
    pub(super) ending: AnswerEnding,
}

impl Seen {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(super) fn code(&self) -> Option<u64> {
        let body = self.json();
        body["error"]["code"].as_u64().or(body["code"].as_u64())
    }

    pub(super) fn rate(&self) -> Option<[u64; 3]> {
        let number = |name| self.headers.get(format!("x-rate-limit-{name}"))?.to_str().ok()?.parse().ok();
        Some([number("limit")?, number("remaining")?, number("reset")?])
    }
}

/// A simulator with a clock that the test sets.
pub(super) struct Bench {
    sandbox: Arc<Sandbox>,
    now: Cell<ReceivedAt>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(settings(&[]))
    }

    pub(super) fn with(settings: Settings) -> Self {
        Self { sandbox: Sandbox::new(settings), now: Cell::new(ReceivedAt::now()) }
    }

    pub(super) fn pass(&self, time: Duration) {
        let now = self.now.get();
        self.now.set(ReceivedAt { instant: now.instant + time, wall: now.wall + time });
    }

    pub(super) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Seen {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Bytes::copy_from_slice(body)).expect("a good request");
        let reply =
            self.sandbox.answer_at(&mut self.sandbox.lock(), ReceivedRequest::read(&request), self.now.get());
        let (head, body) = reply.response.into_parts();
        Seen {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            delay: reply.delay,
            ending: reply.ending,
        }
    }

    /// Sends a request with the credentials that its path needs.
    pub(super) fn call(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Seen {
        let key = if path.starts_with("/v3/group") { GROUP } else { APP };
        let headers = [("authorization", &*basic(key, SECRET)), ("content-type", content_type)];
        self.send(method, path, &headers, body)
    }

    pub(super) fn get(&self, path: &str) -> Seen {
        self.call("GET", path, "text/plain", b"null")
    }

    pub(super) fn delete(&self, path: &str) -> Seen {
        self.call("DELETE", path, "text/plain", b"")
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Seen {
        self.call("POST", path, "application/x-www-form-urlencoded", body.to_string().as_bytes())
    }

    pub(super) fn put(&self, path: &str, body: &Value) -> Seen {
        self.call("PUT", path, "application/json;charset:utf-8", body.to_string().as_bytes())
    }

    pub(super) fn form(&self, method: &str, path: &str, parts: Parts<'_>) -> Seen {
        let mut body = Vec::new();
        for (name, file_name, data) in parts {
            let file_name = file_name.map(|name| format!("; filename=\"{name}\"")).unwrap_or_default();
            let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{file_name}\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(data);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--b--\r\n");
        self.call(method, path, "multipart/form-data; boundary=b", &body)
    }

    pub(super) fn journal(&self) -> Vec<Value> {
        let seen = self.send("GET", "/_sandbox/journal", &[], b"");
        seen.json().as_array().cloned().expect("an array")
    }

    pub(super) fn delivered(&self) -> Value {
        self.send("GET", "/_sandbox/delivered", &[], b"").json()
    }

    pub(super) fn fault(&self, order: &Value) {
        let seen = self.send("POST", "/_sandbox/faults", &[], order.to_string().as_bytes());
        assert_eq!(seen.status, 200, "{seen:?}");
    }
}
