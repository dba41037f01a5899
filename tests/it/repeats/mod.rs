//! Tests that no push is delivered twice: retries by the gateway, and repeats by its callers.

mod cids;
mod keys;
mod replicas;
mod resends;
mod restarts;
mod simulation;

use std::time::Duration;

use serde_json::Value;

use crate::support::{
    Config, Gateway, Keys, PUSH, Received, Request, Simulator, Stub, Talk, Tokens, json_answer,
};

/// A cid of the tenant shop.
const CID: &str = "7d431e42dfa6a6d693ac2d04-374004a2-bc6c-4abc-bde5-9f1a9671d307";

fn push() -> Request {
    Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)
}

fn keyed(key: &str) -> Request {
    push().header("Idempotency-Key", key)
}

/// A push with this cid of its own.
fn push_with(cid: &str) -> Request {
    Request::post("/v3/push", &format!(r#"{{"cid":"{cid}",{}"#, &PUSH[1..])).bearer(Tokens::ORDERS)
}

fn start(vendor_url: &str, shop: &str) -> Gateway {
    let mut config = Config::new(vendor_url);
    config.shop = shop.replace(", ", "\n    ");
    Gateway::start(&config)
}

/// A gateway with a short response timeout, for vendors that stay silent on purpose.
fn start_hasty(vendor_url: &str, shop: &str) -> Gateway {
    let mut config = Config::new(vendor_url);
    config.shop = shop.into();
    config.vendor = "response_timeout: 700ms".into();
    Gateway::start(&config)
}

/// A vendor that gives out cids. `push` handles each push, with its number counted from 1.
fn vendor(push: impl Fn(&mut Talk, usize, Received) + Send + Sync + 'static) -> Stub {
    let pushes = std::sync::atomic::AtomicUsize::new(0);
    Stub::start(move |talk| {
        while let Some(request) = talk.read_request() {
            if request.line.starts_with("GET /v3/push/cid?") {
                talk.write(json_answer("200 OK", &cid_list(10)));
            } else {
                let number = pushes.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                push(talk, number, request);
            }
        }
    })
}

fn cid_list(count: usize) -> String {
    let cid = |_| format!("{}-{}", Keys::SHOP_APP, uuid::Uuid::new_v4());
    serde_json::json!({ "cidlist": (0..count).map(cid).collect::<Vec<_>>() }).to_string()
}

/// Answers with the number of the push as message id.
fn answer_number(talk: &mut Talk, number: usize) {
    talk.write(json_answer("200 OK", &format!(r#"{{"sendno":"0","msg_id":"{number}"}}"#)));
}

/// Requests to the vendor that are not fetches of cids.
fn pushes(vendor: &Stub) -> Vec<Received> {
    vendor.requests().into_iter().filter(|request| request.line.starts_with("POST")).collect()
}

fn fetches(vendor: &Stub) -> Vec<Received> {
    vendor.requests().into_iter().filter(|request| request.line.starts_with("GET")).collect()
}

fn cid_of(push: &Received) -> String {
    let body: Value = serde_json::from_slice(&push.body).expect("JSON");
    body["cid"].as_str().unwrap_or_default().to_owned()
}

fn retries(gateway: &Gateway) -> f64 {
    gateway.metric(r#"jpush_gateway_retries_total{operation="push"}"#)
}

fn replays(gateway: &Gateway, by: &str) -> f64 {
    gateway.metric(&format!(r#"jpush_gateway_replays_total{{by="{by}",operation="push"}}"#))
}

/// Pushes that the simulator delivered; it does not deliver repeats of a cid.
fn delivered(vendor: &Simulator) -> u64 {
    vendor.delivered(Keys::SHOP_APP)
}

const MOMENT: Duration = Duration::from_millis(300);
