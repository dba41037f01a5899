//! Tests of reloads under load: all of a new configuration is applied or nothing, and only those whom it concerns
//! notice.

use std::os::unix::fs::symlink;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::support::{
    Authority, Config, Folder, Gateway, Keys, PUSH, Request, Stub, Tokens, basic, sha256_hex, tls_connect,
    wait_until,
};

fn push(token: &str) -> Request {
    Request::post("/v3/push", PUSH).bearer(token)
}

fn start() -> (Gateway, Stub, Config) {
    let vendor = Stub::good();
    let config = Config::new(&vendor.url());
    (Gateway::start(&config), vendor, config)
}

/// Reloads with this configuration and returns the changes.
#[track_caller]
fn reload(gateway: &Gateway, yaml: &str) -> Value {
    gateway.write_config(yaml);
    let answer = gateway.reload();
    assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("success")), "{}", answer.text());
    answer.json()
}

#[test]
fn tokens_come_and_go_with_sighup_and_open_connections_see_it() {
    let (gateway, vendor, config) = start();
    let mut connection = gateway.connect();
    assert_eq!(connection.call(&push(Tokens::PUSHER)).status, 200);
    let fresh = "freshTokenForTests202611";
    connection.call(&push(fresh)).assert_refused(401, "unauthenticated", 1004);
    let digests = [Tokens::PUSHER, fresh].map(|token| sha256_hex(token.as_bytes()));
    let yaml = config.yaml().replace(&digests[0], &digests[1]);
    gateway.write_config(&yaml);
    gateway.program.signal("HUP");
    wait_until("the reload", || gateway.status()["config"]["digest"] == sha256_hex(yaml.as_bytes()));
    assert_eq!(connection.call(&push(fresh)).status, 200);
    connection.call(&push(Tokens::PUSHER)).assert_refused(401, "unauthenticated", 1004);
    // The connection to the vendor was kept.
    assert_eq!(vendor.connections(), 1);
    wait_until("the line", || gateway.program.err().contains("the configuration was reloaded"));
    let log = gateway.program.err();
    assert!(log.contains("caller pusher changed: tokens") && log.contains("SIGHUP"), "{log}");
    assert_eq!(gateway.metric("jpush_gateway_config_reloads_total{result=\"success\"}").to_string(), "2");
}

#[test]
fn another_limit_holds_at_once_and_the_count_is_kept() {
    let (gateway, _vendor, mut config) = start();
    for _ in 0..3 {
        assert_eq!(gateway.call(&push(Tokens::ORDERS)).status, 200);
    }
    for (limit, status) in [(3, 429), (4, 200), (2, 429), (600, 200)] {
        config.budgets = format!("push: {{ limit: {limit}, window: 60s }}");
        let changed = &reload(&gateway, &config.yaml())["changed"];
        assert_eq!(*changed, json!(["tenant shop changed: budgets", "tenant market changed: budgets"]));
        let answer = gateway.call(&push(Tokens::ORDERS));
        assert_eq!((answer.status, answer.number("X-Rate-Limit-Limit")), (status, limit));
    }
    assert_eq!(gateway.used("app", "push"), 5);
    let callers = &gateway.status()["tenants"]["shop"]["app"]["budgets"]["push"]["callers"];
    assert_eq!(callers["orders"]["window"], 5);
}

#[test]
fn series_of_who_is_gone_go_and_those_of_others_go_on() {
    let (gateway, _vendor, config) = start();
    let on = |tenant: &str| Request::post("/v3/push", PUSH).basic(tenant, Tokens::BOTH);
    for request in [push(Tokens::PUSHER), push(Tokens::ORDERS), on("shop"), on("market")] {
        assert_eq!(gateway.call(&request).status, 200);
    }
    gateway.call(&Request::get("/v3/tags").bearer(Tokens::PUSHER)).assert_refused(403, "forbidden", 2007);
    let of = |caller: &str, tenant: &str| {
        format!(
            "_requests_total{{caller=\"{caller}\",operation=\"push\",status=\"200\",tenant=\"{tenant}\"}} "
        )
    };
    let page = gateway.page("/metrics").text();
    for (caller, tenant) in [("pusher", "shop"), ("orders", "shop"), ("both", "shop"), ("both", "market")] {
        assert!(page.contains(&(of(caller, tenant) + "1\n")), "{caller} {tenant}: {page}");
    }
    // The caller pusher leaves, and the tenant market gets another name.
    let yaml = config.yaml().replace("pusher:", "other:").replace("market", "bazaar");
    reload(&gateway, &yaml);
    let page = gateway.page("/metrics").text();
    assert!(!page.contains("pusher") && !page.contains("market"), "{page}");
    for request in [push(Tokens::PUSHER), push(Tokens::ORDERS), on("shop"), on("bazaar")] {
        assert_eq!(gateway.call(&request).status, 200);
    }
    let page = gateway.page("/metrics").text();
    for (caller, tenant, calls) in
        [("other", "shop", 1), ("orders", "shop", 2), ("both", "shop", 2), ("both", "bazaar", 1)]
    {
        assert!(page.contains(&format!("{}{calls}\n", of(caller, tenant))), "{caller} {tenant}: {page}");
    }
}

#[test]
fn a_quota_and_the_books_follow_a_caller_to_another_place() {
    let (gateway, _vendor, mut config) = start();
    config.orders = "quota: { limit: 2, window: 60s }".into();
    reload(&gateway, &config.yaml());
    for _ in 0..2 {
        assert_eq!(gateway.call(&push(Tokens::ORDERS)).status, 200);
    }
    gateway.call(&push(Tokens::ORDERS)).assert_refused(429, "quota-exhausted", 2002);
    let first = format!(
        "callers:\n  first: {{ tokens: [ {{ sha256: {} }} ], tenants: [ shop ], allow: [ push ] }}\n",
        sha256_hex(b"firstTokenForTests202611")
    );
    let result = reload(&gateway, &config.yaml().replace("callers:\n", &first));
    assert_eq!(result["changed"], json!(["caller first added"]));
    gateway.call(&push(Tokens::ORDERS)).assert_refused(429, "quota-exhausted", 2002);
    let status = gateway.status();
    let callers = &status["tenants"]["shop"]["app"]["budgets"]["push"]["callers"];
    assert_eq!((&callers["orders"]["window"], &callers["first"]), (&json!(2), &Value::Null));
    assert!(status["callers"]["orders"]["tokens"]["2026-11"]["last_use"].is_string());
    config.orders = "quota: { limit: 5, window: 60s }".into();
    reload(&gateway, &config.yaml());
    assert_eq!(gateway.call(&push(Tokens::ORDERS)).status, 200);
}

#[test]
fn a_bad_file_changes_nothing_and_names_every_fault() {
    let (gateway, _vendor, mut config) = start();
    let before = gateway.status()["config"].clone();
    config.budgets = "push: { limit: 1, window: 60s }".into();
    config.limits = "in_flight: 0, patience: 3".into();
    config.shop = "budgets: { device: { limit: 0 } }".into();
    gateway.write_config(&config.yaml());
    gateway.folder.write("shop-dev", "\n");
    let answer = gateway.reload();
    assert_eq!((answer.status, &answer.json()["result"]), (422, &json!("failure")), "{}", answer.text());
    let faults = answer.json()["faults"].clone();
    let faults: Vec<_> = faults.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    for key in
        ["limits.in_flight", "limits.patience", "tenants.shop.budgets.device", "tenants.shop.dev.secret"]
    {
        assert!(faults.iter().any(|fault| fault.starts_with(key)), "{key} in {faults:?}");
        let logged = || gateway.program.err().lines().any(|line| line.contains(&format!("ERROR {key}")));
        wait_until("the line of the fault", logged);
    }
    assert_eq!(gateway.status()["config"], before);
    let answer = gateway.call(&push(Tokens::ORDERS));
    assert_eq!((answer.status, answer.number("X-Rate-Limit-Limit")), (200, 600));
    assert_eq!(gateway.page("/readyz").status, 200);
    assert!(gateway.metric("jpush_gateway_config_reloads_total{result=\"failure\"}") >= 1.0);
    assert_eq!(gateway.metric("jpush_gateway_config_last_reload_success").to_string(), "0");
    gateway.folder.write("shop-dev", Keys::SHOP_DEV_SECRET);
    reload(&gateway, &Config::new(&config.vendor_url).yaml());
    assert_eq!(gateway.metric("jpush_gateway_config_last_reload_success").to_string(), "1");
    assert_eq!(gateway.page("/reload").status, 405);
}

/// A fault that is found only after the file was read must not leave a resized budget behind.
#[test]
fn unreadable_trust_roots_and_certificates_change_nothing() {
    let (gateway, _vendor, mut config) = start();
    gateway.folder.write("rubbish.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    config.budgets = "push: { limit: 1, window: 60s }".into();
    config.image_v4 = "\"https://vendor.example\"".into();
    config.vendor = "ca: rubbish.pem".into();
    config.listeners = "{ address: \"127.0.0.1:0\", tls: { certificates: \
                        [ { certificate: rubbish.pem, private_key: rubbish.pem } ] } }"
        .into();
    gateway.write_config(&config.yaml());
    let answer = gateway.reload();
    assert_eq!(answer.status, 422);
    assert_eq!(answer.json()["faults"].as_array().map(Vec::len), Some(3), "{}", answer.text());
    assert_eq!(gateway.call(&push(Tokens::ORDERS)).number("X-Rate-Limit-Limit"), 600);
}

/// A mounted secret changes as in Kubernetes: the file is a link through a link that is replaced.
#[test]
fn a_secret_that_changes_behind_its_link_is_taken_up_unasked() {
    let vendor = Stub::good();
    let folder = Folder::new();
    let other = "0123456789abcdef01234567";
    for (version, secret) in [("v1", Keys::MARKET_APP_SECRET), ("v2", other), ("v3", "")] {
        std::fs::create_dir(folder.path().join(version)).expect("a folder");
        folder.write(&format!("{version}/market"), secret);
    }
    let turn = |version: &str| {
        symlink(version, folder.path().join("data.new")).expect("a link");
        std::fs::rename(folder.path().join("data.new"), folder.path().join("data")).expect("turned");
    };
    turn("v1");
    symlink("data/market", folder.path().join("market")).expect("a link");
    let config = Config::new(&vendor.url());
    let inline = format!("{{ value: {} }}", Keys::MARKET_APP_SECRET);
    // The test support writes a configuration; this one replaces it.
    let gateway = Gateway::start(&config);
    let path = folder.path().join("market");
    let yaml = config.yaml().replace(&inline, &format!("{{ file: \"{}\" }}", path.display()));
    assert_eq!(reload(&gateway, &yaml)["changed"], json!([]));
    let authorization = || {
        let call = push(Tokens::BOTH).header("X-JPush-Tenant", "market");
        assert_eq!(gateway.call(&call).status, 200);
        let last = vendor.requests().pop().expect("a request");
        last.header("Authorization").expect("credentials").to_owned()
    };
    assert_eq!(authorization(), basic(Keys::MARKET_APP, Keys::MARKET_APP_SECRET));
    turn("v2");
    wait_until("the reload", || gateway.program.err().contains("tenant market changed: app"));
    assert_eq!(authorization(), basic(Keys::MARKET_APP, other));
    // An empty secret is refused, and the one before stays in use.
    turn("v3");
    wait_until("the failure", || gateway.program.err().contains("the secret is empty"));
    assert_eq!(authorization(), basic(Keys::MARKET_APP, other));
    let (log, lines) = (gateway.program.err(), gateway.program.out());
    assert!(!log.contains(other) && !lines.contains(other));
}

#[test]
fn a_call_under_way_ends_as_it_began() {
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let vendor = Stub::start(move |talk| {
        while talk.read_request().is_some() {
            released.lock().expect("one at a time").recv().expect("the test goes on");
            talk.write("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
        }
    });
    let config = Config::new(&vendor.url());
    let gateway = Gateway::start(&config);
    let mut connection = gateway.connect();
    connection.send(push(Tokens::PUSHER).bytes());
    vendor.wait_for_requests(1);
    // The caller and its vendor are removed while its call waits.
    let yaml = config.yaml().replace(&vendor.url(), "http://127.0.0.1:9");
    let yaml: String =
        yaml.lines().filter(|line| !line.starts_with("  pusher:")).flat_map(|line| [line, "\n"]).collect();
    reload(&gateway, &yaml);
    release.send(()).expect("the vendor waits");
    let answer = connection.read_answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    let line = gateway.line(answer.header("X-Request-Id").expect("an id"));
    assert_eq!(line["caller"], "pusher");
    connection.call(&push(Tokens::PUSHER)).assert_refused(401, "unauthenticated", 1004);
    // Its slot still counts for the caller, although the caller is in no file.
    let status = gateway.status();
    let callers = &status["tenants"]["shop"]["app"]["budgets"]["push"]["callers"];
    assert_eq!(callers["pusher"]["window"], 1);
    assert_eq!(gateway.call(&push(Tokens::ORDERS)).reason(), Some("vendor-unreachable"));
}

#[test]
fn a_listener_shows_the_new_certificate() {
    let vendor = Stub::good();
    let (authority, folder) = (Authority::new(), Folder::new());
    let sign = || {
        let (certificate, key) = authority.sign(&["localhost"]);
        let leaf = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM").to_vec();
        (certificate, key, leaf)
    };
    let (certificate, key, first) = sign();
    folder.write("a.crt", certificate);
    folder.write("a.key", key);
    let mut config = Config::new(&vendor.url());
    config.listeners = "{ address: \"127.0.0.1:0\", tls: { certificates: \
                        [ { certificate: a.crt, private_key: a.key } ] } }"
        .into();
    let gateway = Gateway::start_in(folder, &config);
    let client = authority.client(&[]);
    let connect = || tls_connect(&client, gateway.address(), "localhost").expect("a handshake");
    let mut old = connect();
    assert_eq!(old.leaf.as_ref(), Some(&first));
    let (certificate, key, second) = sign();
    gateway.folder.write("a.crt", certificate);
    // The key belongs to another certificate, so neither file is used.
    assert_eq!(gateway.reload().status, 422);
    assert_eq!(connect().leaf.as_ref(), Some(&first));
    gateway.folder.write("a.key", key);
    let answer = gateway.reload();
    assert_eq!(answer.json()["changed"], json!(["listeners changed"]), "{}", answer.text());
    assert_eq!(connect().leaf.as_ref(), Some(&second));
    assert_eq!(old.connection.call(&push(Tokens::ORDERS)).status, 200);
}

#[test]
fn what_takes_a_restart_is_told_and_the_rest_holds() {
    let (gateway, _vendor, mut config) = start();
    config.workers = 2;
    config.listeners = "{ address: \"127.0.0.1:0\" }, { address: \"127.0.0.1:0\" }".into();
    config.limits = "connections: 1, idle_timeout: 70s".into();
    let result = reload(&gateway, &config.yaml());
    assert_eq!(result["needs_restart"], json!(["listeners", "workers", "limits.idle_timeout"]));
    assert_eq!(result["changed"], json!(["listeners changed", "workers changed", "limits changed"]));
    wait_until("the line", || gateway.program.err().contains("workers: the new value needs a restart"));
    // Limits that concern all connections apply at once.
    wait_until("the connections of before", || gateway.status()["connections"] == 0);
    let mut only = gateway.connect();
    assert_eq!(only.call(&push(Tokens::ORDERS)).status, 200);
    assert_eq!(gateway.connect().read_answer().status, 503);
    // The notice is repeated as long as it holds.
    assert_eq!(reload(&gateway, &config.yaml())["needs_restart"], result["needs_restart"]);
}
