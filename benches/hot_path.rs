//! Times of what every request passes through: match, identify, pay, build. `cargo bench --bench hot_path`
//!
//! Budgets are so large that no call is refused; a refusal is a shorter way.

use std::fmt::Write;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use criterion::{Criterion, criterion_group, criterion_main};
use http::HeaderValue;
use jpush_gateway::auth;
use jpush_gateway::body::{Facts, Subject};
use jpush_gateway::body_reader::RequestBody;
use jpush_gateway::budget::{
    BudgetSet, Budgets, CallerNumber, Clock, Horizon, RateHeaders, Requester, Timestamp, take,
};
use jpush_gateway::config::{self, BudgetLimit, Config, VendorKey};
use jpush_gateway::ledger::Ledger;
use jpush_gateway::operation::{BodyRule, BudgetName, OperationId, Path, Verb, find};
use jpush_gateway::outbound::{Inbound, Trace, VendorRequest};
use jpush_gateway::payload::Payload;
use jpush_gateway::payment::Payment;
use jpush_gateway::request::{RequestHead, RequestId};
use jpush_gateway::secret::TokenDigest;
use jpush_gateway::store::GivenSlots;
use jpush_gateway::tenant::{Directory, Grant, TenantHints};

const CALLERS: usize = 100;

fn key(number: usize) -> String {
    // All zeros would be a placeholder.
    format!("{:024}", number + 1)
}

fn token(number: usize) -> String {
    format!("callerToken{number:013}")
}

/// As many tenants as callers, each caller with a tenant of its own.
fn configuration() -> Config {
    let mut yaml = String::from(
        "listeners: [ { address: 127.0.0.1:8080 } ]\n\
         budgets: { push: { limit: 4000000000, window: 1ms } }\n\
         tenants:\n",
    );
    for number in 0..CALLERS {
        let key = key(number);
        writeln!(yaml, "  t{number}: {{ app: {{ key: \"{key}\", secret: {{ value: master-{number} }} }} }}")
            .expect("writing to a String cannot fail");
    }
    yaml.push_str("callers:\n");
    for number in 0..CALLERS {
        let digest = TokenDigest::of(token(number).as_bytes()).to_hex();
        writeln!(
            yaml,
            "  c{number}: {{ tokens: [ {{ sha256: \"{digest}\" }} ], tenants: [ t{number} ], allow: [ \"*\" ] }}"
        )
        .expect("writing to a String cannot fail");
    }
    config::parse(&yaml, FilePath::new("."), &config::System).expect("a good configuration")
}

fn directory() -> Arc<Directory> {
    Arc::new(Directory::new(&configuration(), &Budgets::default()))
}

fn basic(number: usize) -> RequestHead {
    let pair = STANDARD.encode(format!("{}:{}", key(number), token(number)));
    head(&format!("Basic {pair}"))
}

fn head(authorization: &str) -> RequestHead {
    RequestHead::parse(head_text(authorization).as_bytes()).expect("a head").0
}

/// A push's head as a plain client writes it.
fn head_text(authorization: &str) -> String {
    format!(
        "POST /v3/push HTTP/1.1\r\nHost: gateway.local\r\nUser-Agent: bench/1.0\r\nAccept: application/json\r\n\
         Content-Type: application/json\r\nContent-Length: 600\r\nAuthorization: {authorization}\r\n\r\n"
    )
}

fn push_grant(directory: &Arc<Directory>) -> Grant {
    let head = basic(57);
    let principal = auth::identify(directory, &head, None).expect("a known token");
    let push = OperationId::named("push").expect("an operation");
    directory.authorize(principal, push, TenantHints::default()).expect("a granted call")
}

fn reading(criterion: &mut Criterion) {
    let text = head_text("Basic dGVzdDp0ZXN0");
    criterion.bench_function("read_head", |bencher| {
        bencher.iter(|| RequestHead::parse(black_box(text.as_bytes())).is_ok());
    });
}

fn matching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find");
    let rows = [
        ("literal", "POST", "/v3/push"),
        ("value", "GET", "/v3/tags/news/registration_ids/1a0018970a000000001"),
        ("untidy", "POST", "/v3//push/validate/"),
        ("unknown", "GET", "/v3/nothing/here"),
    ];
    for (name, method, path) in rows {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let path = Path::parse(black_box(path)).expect("a plain path");
                find(black_box(method), &path).is_ok()
            });
        });
    }
    group.finish();
}

fn identifying(criterion: &mut Criterion) {
    let directory = directory();
    let mut group = criterion.benchmark_group("identify");
    let rows = [("basic", basic(57)), ("bearer", head(&format!("Bearer {}", token(57))))];
    for (name, head) in rows {
        group.bench_function(name, |bencher| {
            bencher
                .iter(|| auth::identify(&directory, black_box(&head), None).expect("a known token").caller());
        });
    }
    group.finish();
}

fn paying(criterion: &mut Criterion) {
    let (directory, clock) = (directory(), Clock::start());
    let grant = push_grant(&directory);
    let pay = || {
        let now = clock.now();
        let permit = take(&grant.budget_set(&Facts::default()), &grant.requester(), now);
        permit.expect("a budget without end").settle(now, RateHeaders::default());
    };
    let mut group = criterion.benchmark_group("take");
    group.bench_function("alone", |bencher| bencher.iter(pay));
    // As the gateway pays: both times were read before, for the deadlines of the call. A budget of its own, as its time
    // runs faster than the others'.
    let (other, mut micros) = (self::directory(), clock.now().as_micros());
    let grant_by_hand = push_grant(&other);
    group.bench_function("alone_without_the_clock", |bencher| {
        bencher.iter(|| {
            micros += 1;
            let now = Timestamp::from_micros(micros);
            let permit = take(&grant_by_hand.budget_set(&Facts::default()), &grant_by_hand.requester(), now);
            permit.expect("a budget without end").settle(now, RateHeaders::default());
        });
    });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                pay();
            }
        });
        group.bench_function("beside_another_thread", |bencher| bencher.iter(pay));
        stop.store(true, Ordering::Relaxed);
    });
    group.finish();
}

/// One call paid for, dispatched and answered: without a state file, and with one (on the disk of temporary files).
fn writing_down(criterion: &mut Criterion) {
    let (clock, budgets) = (Clock::start(), Arc::new(Budgets::default()));
    let limit = NonZeroU32::new(4_000_000_000).expect("positive");
    let limit = BudgetLimit { limit, window: Duration::from_millis(1), burst: None };
    let horizon = Horizon { guard: Duration::ZERO, attempt: Duration::from_secs(28) };
    let key = VendorKey::new(key(0)).expect("a good key");
    let mut budget_set = BudgetSet::default();
    budget_set.add(budgets.open(&key, BudgetName::Push, limit, horizon));
    let requester = Requester::of(CallerNumber(0));
    let folder = std::env::temp_dir().join(format!("jpush-gateway-bench-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder");
    let ledger = Ledger::open(&folder.join("state"), clock, &budgets).expect("a state file");
    for (name, ledger) in [("call without a state file", None), ("call with a state file", Some(&ledger))] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let permit = take(&budget_set, &requester, clock.now()).expect("the limit is never reached");
                let call = Payment::new(permit, GivenSlots::new(), clock).dispatch(ledger).expect("written");
                black_box(call.settle(clock.now(), RateHeaders::default(), BudgetName::Push));
            });
        });
    }
    std::fs::remove_dir_all(&folder).expect("a folder of ours");
}

fn building(criterion: &mut Criterion) {
    let directory = directory();
    let grant = push_grant(&directory);
    let head = basic(57);
    let path = Path::parse("/v3/push").expect("a plain path");
    let request_id = RequestId::parse("0f4f8f9e-5f0b-4a53-9b8e-4a4f3f1d2c11").expect("an id");
    let host = HeaderValue::from_static("api.jpush.cn");
    let config = configuration();
    criterion.bench_function("build_request", |bencher| {
        bencher.iter(|| {
            let inbound = Inbound {
                head: Some(&head),
                target: &head.target,
                path: &path,
                request_id: &request_id,
                context: None,
            };
            VendorRequest::build(&grant, black_box(&inbound), &host, Trace::Drop, no_body(&config))
        });
    });
}

/// The cheapest payload: what a body costs is no part of this.
fn no_body(config: &Config) -> Payload {
    let push = OperationId::named("push-quota").expect("an operation");
    let subject = Subject {
        method: Verb::Get,
        family: push.family(),
        query: None,
        value: None,
        content_type: None,
        encrypted: false,
        app_key: "",
        files: &config.files,
        images: &config.images,
    };
    Payload::check(BodyRule::None, &subject, RequestBody::empty(), None).expect("nothing to refuse")
}

criterion_group!(hot_path, reading, matching, identifying, paying, writing_down, building);
criterion_main!(hot_path);
