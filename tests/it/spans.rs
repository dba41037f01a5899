//! Tests of spans: what a collector gets, what the vendor hears of them, and that no call depends on the collector.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;

use crate::support::{
    Authority, ClosedPort, Config, Folder, GOOD, Gateway, Keys, PUSH, Request, Stub, Talk, Tokens, serve,
    tls_vendor, wait_for, wait_until,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// A push with this has the form of one that the vendor recognizes.
const UUID: &str = "8103a4c6-28ea-11e6-954e-02c5d6971a42";

/// The answer of a collector that took everything.
const TAKEN: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";

fn traced(vendor: &Stub, collector: &str, sample: &str) -> Config {
    let mut config = Config::new(&vendor.url());
    config.more = format!("tracing: {{ otlp: \"{collector}\", sample: {sample} }}");
    config
}

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{SPAN}-{flags}")
}

fn push() -> Request {
    Request::post("/v3/push", PUSH).bearer(Tokens::ORDERS)
}

/// The spans that a collector has so far.
fn spans(collector: &Stub) -> Vec<Span> {
    let batches = collector.requests().into_iter().map(|request| {
        assert_eq!(request.line, "POST /v1/traces HTTP/1.1");
        assert_eq!(request.header("Content-Type"), Some("application/x-protobuf"));
        ExportTraceServiceRequest::decode(&*request.body).expect("OTLP")
    });
    let resources = batches.flat_map(|batch| batch.resource_spans);
    resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
}

/// The span of a request and those below it, in the order of their starts; waits for it.
fn of_request(collector: &Stub, id: &str) -> Vec<Span> {
    let root = wait_for("the span of the request", || {
        spans(collector).into_iter().find(|span| attribute(span, "jpush.request_id").as_deref() == Some(id))
    });
    let mut all: Vec<_> =
        spans(collector).into_iter().filter(|span| span.trace_id == root.trace_id).collect();
    all.retain(|span| span.span_id == root.span_id || span.parent_span_id == root.span_id);
    all.sort_by_key(|span| (span.span_id != root.span_id, span.start_time_unix_nano));
    all
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

#[track_caller]
fn assert_attributes(span: &Span, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(attribute(span, key).as_deref(), Some(*value), "{key} of {span:?}");
    }
}

#[test]
fn a_push_that_waits_and_is_tried_twice_has_a_span_for_each() {
    let (go_on, held) = channel();
    let held = Mutex::new(held);
    let vendor = Stub::start(move |talk| {
        while let Some(request) = talk.read_request() {
            let is_traced = request.header("X-Request-Id") == Some("traced");
            if is_traced && held.lock().expect("no panic").recv().is_ok() {
                return talk.reset();
            }
            talk.write(GOOD);
        }
    });
    let collector = Stub::answering(TAKEN);
    let mut config = traced(&vendor, &collector.url(), "0%");
    config.vendor = "forward_trace: true".into();
    config.budgets = "push: { limit: 2, window: 1s }".into();
    config.guard = "0s";
    let gateway = Gateway::start(&config);
    let mut connection = gateway.connect();
    for _ in 0..2 {
        assert_eq!(connection.call(&push()).status, 200);
    }
    let body = PUSH.replacen('{', &format!(r#"{{"cid":"{}-{UUID}","#, Keys::SHOP_APP), 1);
    let request = Request::post("/v3/push", &body).bearer(Tokens::ORDERS).header("Prefer", "wait=10");
    let request = request.header("X-Request-Id", "traced").header("Traceparent", &traceparent("01"));
    connection.send(request.header("Tracestate", "a=b").bytes());
    vendor.wait_for_requests(3);
    wait_until("a slot for a second attempt", || gateway.used("app", "push") == 1);
    go_on.send(()).expect("the vendor holds the request");
    drop(go_on);
    assert_eq!(connection.read_answer().status, 200);

    let all = of_request(&collector, "traced");
    let [root, wait, first, second] = &all[..] else { panic!("four spans: {all:#?}") };
    assert_eq!((hex(&root.trace_id), hex(&root.parent_span_id)), (TRACE.into(), SPAN.into()));
    assert_eq!((root.name.as_str(), root.kind()), ("POST /v3/push", SpanKind::Server));
    let names = [
        ("http.request.method", "POST"),
        ("http.route", "/v3/push"),
        ("http.response.status_code", "200"),
        ("jpush.operation", "push"),
        ("jpush.tenant", "shop"),
        ("jpush.caller", "orders"),
    ];
    assert_attributes(root, &names);
    assert_eq!((wait.name.as_str(), wait.kind()), ("wait for budget", SpanKind::Internal));
    assert_attributes(wait, &[("jpush.budget", "push")]);
    let port = vendor.address.port().to_string();
    for attempt in [first, second] {
        assert_eq!((attempt.name.as_str(), attempt.kind()), ("POST /v3/push", SpanKind::Client));
        assert_attributes(attempt, &[("server.address", "127.0.0.1"), ("server.port", &port)]);
        assert!(root.start_time_unix_nano <= attempt.start_time_unix_nano);
        assert!(attempt.end_time_unix_nano <= root.end_time_unix_nano);
    }
    assert_attributes(first, &[("error.type", "interrupted")]);
    assert_attributes(second, &[("http.response.status_code", "200"), ("http.request.resend_count", "1")]);
    assert_eq!(gateway.line("traced")["trace_id"], TRACE);

    let received = vendor.requests();
    let told = received[2..].iter().map(|request| {
        assert_eq!(request.header("Tracestate"), Some("a=b"));
        request.header("Traceparent").expect("forwarded").to_owned()
    });
    let own = [first, second].map(|attempt| format!("00-{TRACE}-{}-01", hex(&attempt.span_id)));
    assert_eq!(told.collect::<Vec<_>>(), own);
}

#[test]
fn the_callers_decision_goes_before_the_ratio() {
    let (vendor, collector) = (Stub::good(), Stub::answering(TAKEN));
    for (sample, unsampled, sampled) in [
        ("0%", [None, Some("00")], [Some("01"), Some("03")]),
        ("100%", [Some("00"), Some("02")], [None, Some("01")]),
    ] {
        let gateway = Gateway::start(&traced(&vendor, &collector.url(), sample));
        let call = |id: &str, flags: Option<&str>| {
            let request = push().header("X-Request-Id", id);
            let request = match flags {
                Some(flags) => request.header("Traceparent", &traceparent(flags)),
                None => request,
            };
            assert_eq!(gateway.call(&request).status, 200);
        };
        for (number, flags) in unsampled.into_iter().enumerate() {
            call(&format!("no-{sample}-{number}"), flags);
        }
        for (number, flags) in sampled.into_iter().enumerate() {
            let id = format!("yes-{sample}-{number}");
            call(&id, flags);
            let all = of_request(&collector, &id);
            assert_eq!(all.len(), 2, "a request and an attempt: {all:#?}");
            assert_eq!(hex(&all[0].trace_id) == TRACE, flags.is_some());
            assert_eq!(gateway.line(&id)["trace_id"], hex(&all[0].trace_id));
        }
    }
    // The spans above came later than these would have.
    let ids: Vec<_> =
        spans(&collector).iter().filter_map(|span| attribute(span, "jpush.request_id")).collect();
    assert!(ids.iter().all(|id| id.starts_with("yes-")), "{ids:?}");
}

#[test]
fn a_trace_context_that_is_none_begins_a_new_trace() {
    let (vendor, collector) = (Stub::good(), Stub::answering(TAKEN));
    let mut config = traced(&vendor, &collector.url(), "100%");
    config.vendor = "forward_trace: true".into();
    let gateway = Gateway::start(&config);
    for (number, bad) in [traceparent("1"), traceparent("01").to_uppercase(), "x".into()].iter().enumerate() {
        let id = format!("bad-{number}");
        let request = push().header("X-Request-Id", &id).header("Traceparent", bad);
        assert_eq!(gateway.call(&request.header("Tracestate", "not a list")).status, 200);
        let all = of_request(&collector, &id);
        assert!(hex(&all[0].trace_id) != TRACE && all[0].parent_span_id.is_empty(), "{all:#?}");
        let received = vendor.requests().pop().expect("a call");
        let parent = format!("00-{}-{}-01", hex(&all[1].trace_id), hex(&all[1].span_id));
        assert_eq!(received.header("Traceparent"), Some(&*parent));
        assert_eq!(received.header("Tracestate"), None);
    }
}

#[test]
fn the_vendor_hears_of_no_span_unless_it_is_told() {
    let (vendor, collector) = (Stub::good(), Stub::answering(TAKEN));
    let gateway = Gateway::start(&traced(&vendor, &collector.url(), "100%"));
    assert_eq!(gateway.call(&push().header("Traceparent", &traceparent("01"))).status, 200);
    assert!(!vendor.only().names().contains(&"Traceparent"));
}

/// The end of a drain sends what waits, so the process's end is the end of the test.
#[test]
fn refusals_have_a_reason_and_no_span_holds_what_is_secret() {
    let (vendor, collector) =
        (Stub::answering("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), Stub::answering(TAKEN));
    let mut gateway = Gateway::start(&traced(&vendor, &collector.url(), "100%"));
    let secret_path = "/v3/devices/0900e8d85ef";
    let calls = [
        push().header("X-Request-Id", "failed"),
        Request::get(secret_path).bearer(Tokens::ORDERS),
        Request::get("/v3/unheard-of").bearer(Tokens::ORDERS),
        Request::post("/v3/push", PUSH).basic(Keys::SHOP_APP, Tokens::ORDERS),
        Request::post("/v3/push", PUSH).bearer("strangersTokenForTests20").header("X-Request-Id", "stranger"),
    ];
    for call in &calls {
        gateway.call(call);
    }
    gateway.program.signal("TERM");
    assert_eq!(gateway.program.wait().code(), Some(0));
    let failed = of_request(&collector, "failed");
    let ours = "vendor-error-page";
    assert_attributes(&failed[0], &[("error.type", ours), ("jpush.reason", ours)]);
    assert_attributes(&failed[1], &[("error.type", "500"), ("http.response.status_code", "500")]);
    let stranger = of_request(&collector, "stranger");
    assert_attributes(
        &stranger[0],
        &[("http.response.status_code", "401"), ("jpush.reason", "unauthenticated")],
    );
    assert_eq!((stranger.len(), stranger[0].name.as_str()), (1, "POST"));
    assert!(spans(&collector).iter().any(|span| span.name == "GET /v3/devices/{rid}"));
    let sent: Vec<u8> = collector.requests().into_iter().flat_map(|request| request.body).collect();
    let sent = String::from_utf8_lossy(&sent);
    let secrets = Keys::SECRETS.iter().chain(&Tokens::ALL);
    for secret in secrets.chain(&["strangersTokenForTests20", "0900e8d85ef", "unheard-of", "Hello", "anna"]) {
        assert!(!sent.contains(secret), "{secret}");
    }
}

#[test]
fn a_collector_that_is_away_or_stuck_harms_no_call_and_what_is_lost_is_counted() {
    let vendor = Stub::good();
    let stuck = Stub::start(Talk::wait_for_end);
    let full = Stub::answering("HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n");
    let closed = ClosedPort::new();
    for (url, is_counted) in
        [(format!("http://{}", closed.address), true), (full.url(), true), (stuck.url(), false)]
    {
        let mut config = traced(&vendor, &url, "100%");
        config.budgets = "push: { limit: 10000, window: 60s }".into();
        config.drain = "{ deadline: 2s }";
        let mut gateway = Gateway::start(&config);
        let mut connection = gateway.connect();
        // Each has two spans, and 4,096 can wait.
        for _ in 0..if is_counted { 10 } else { 2500 } {
            assert_eq!(connection.call(&push()).status, 200, "{url}");
        }
        wait_until("the count of lost spans", || gateway.metric("jpush_gateway_spans_lost_total") >= 1.0);
        if is_counted {
            gateway.log_line(&["WARN", "spans are lost: the collector did not take them"]);
        }
        assert_eq!(connection.call(&push()).status, 200, "{url}");
        gateway.program.signal("TERM");
        assert_eq!(gateway.program.wait().code(), Some(0), "{url}");
    }
}

#[test]
fn a_collector_with_tls_is_trusted_as_the_system_says() {
    let (vendor, authority) = (Stub::good(), Authority::new());
    let (certificate, key) = authority.sign(&["127.0.0.1"]);
    let collector = format!("https://{}", tls_vendor(&certificate, &key));
    for is_trusted in [true, false] {
        let folder = Folder::new();
        let roots = if is_trusted { authority.pem() } else { Authority::new().pem() };
        let roots = folder.write("roots.pem", roots);
        let mut command = serve(&folder, &traced(&vendor, &collector, "100%"));
        command.env("SSL_CERT_FILE", roots);
        let mut gateway = Gateway::start_by(folder, command);
        assert_eq!(gateway.call(&push()).status, 200);
        gateway.program.signal("TERM");
        assert_eq!(gateway.program.wait().code(), Some(0));
        gateway.log_line(&["stopped"]);
        let lost = gateway.logged(&["spans are lost", "the TLS handshake failed"]);
        assert_eq!(lost.is_empty(), is_trusted, "{lost:?}");
    }
}
