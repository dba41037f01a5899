//! Tests of bad texts: the faults, their places, and secrets that messages must not show.

use super::*;

#[test]
fn every_fault_shows_in_one_run() {
    let text = format!(
        "listeners: [ {{ address: here }}, {{ adress: 127.0.0.1:1 }} ]
admin: {{ address: 0.0.0.0:9090 }}
vendor: {{ api: ftp://x, connect_timeout: 0s }}
budgets: {{ push: {{ limit: 0 }}, broadcast: {{ limit: 10 }} }}
guard: soon
limits: {{ in_flight: many, json_body: 0 }}
nonsense: 1
tenants:
  Shop: {{ app: {{ key: k, secret: {{ env: NOT_SET }} }} }}
  group-a: {{ dev: {{ key: 12, secret: {{ file: nowhere }} }} }}
callers:
  orders: {{ tokens: [ {{ sha256: abc }} ], tenants: [ shop ], allow: [ pushes ], weight: 0 }}
  other: {{ tokens: [ {{ sha256: {DIGEST} }} ], tenants: [], allow: [ push ], state_file: x }}
"
    );
    let expected = "\
listeners[0].address: expected an IP address with a port, such as 0.0.0.0:8080 or [::]:8080, not \"here\"
listeners[1].address: missing
listeners[1].adress: unknown key; did you mean address?
admin.address: must be a loopback address such as 127.0.0.1:9090, or admin.token must be given
vendor.api: expected https://host or https://host:port
vendor.connect_timeout: must be longer than 0
budgets.push.limit: 0 is not within 1 and 4294967295
budgets.broadcast.window: missing
guard: expected a duration such as 500ms, 10s, 1m30s or 24h, not \"soon\"
limits.in_flight: expected an integer from 1 to 1000000, not \"many\"
limits.json_body: must be more than 0
tenants.Shop: a tenant's name is 1 to 63 of a-z, 0-9 and -, and does not begin with -
tenants.Shop.app.secret: the variable NOT_SET is not set
tenants.group-a: a tenant's name does not begin with group-: callers write that to mean its group key
tenants.group-a.app: missing
tenants.group-a.dev.secret: the file \"/etc/gateway/nowhere\" cannot be read: entity not found
tenants.group-a.dev.key: expected a text; write it in quotes
callers.orders.tokens[0].sha256: expected the 64 hexadecimal digits that `jpush-gateway token new` prints
callers.orders.tenants[0]: there is no tenant \"shop\"; did you mean Shop?
callers.orders.allow[0]: expected one of: push, file, group, schedule, image, device, report; \"pushes\" is none of them; did you mean push?
callers.orders.weight: 0 is not within 1 and 1000
callers.other.tenants: must not be empty
callers.other.state_file: unknown key
nonsense: unknown key";
    assert_eq!(bad(&text), expected);
}

#[test]
fn the_three_sections_without_defaults_are_required() {
    let missing = "listeners: missing\ntenants: missing\ncallers: missing";
    for text in ["", "null", "{}", "# nothing", "listeners: null"] {
        assert_eq!(bad(text), missing, "{text:?}");
    }
    for text in ["5", "[]", "text", "true"] {
        assert_eq!(bad(text), "expected a section", "{text:?}");
    }
    let empty = bad("listeners: []\ntenants: {}\ncallers: []");
    assert_eq!(
        empty,
        "listeners: must not be empty\ntenants: must not be empty\ncallers: expected a mapping of names"
    );
}

/// Checks rows of the top level: `key: value`, and the fault of that key.
#[test]
fn values_out_of_bounds() {
    let rows = [
        ("workers: 0", "workers: 0 is not within 1 and 1024"),
        ("workers: 1025", "workers: 1025 is not within 1 and 1024"),
        ("workers: '2'", "workers: expected an integer from 1 to 1024, not \"2\""),
        ("guard: 5", "guard: a duration needs a unit, such as 500ms, 10s or 24h"),
        ("guard: -5s", "guard: expected a duration…"),
        ("guard: ''", "guard: expected a duration…"),
        ("guard: 31d 1ns", "guard: expected at most 31 days, not…"),
        ("guard: 9999999999s", "guard: expected at most 31 days, not…"),
        ("guard: 18446744073709551615s1000ms", "guard: expected a duration…"),
        ("guard: [ 5s ]", "guard: expected a duration…"),
        ("drain: { deadline: 0s }", "drain.deadline: must be longer than 0"),
        ("limits: { header_timeout: 0s }", "limits.header_timeout: must be longer than 0"),
        ("limits: { body_timeout: 0ms }", "limits.body_timeout: must be longer than 0"),
        ("limits: { idle_timeout: 0s }", "limits.idle_timeout: must be longer than 0"),
        ("limits: { deadline: 0s }", "limits.deadline: must be longer than 0"),
        ("limits: { connections: 0 }", "limits.connections: 0 is not within 1 and 1000000"),
        ("limits: { connections: 1000001 }", "limits.connections: 1000001 is not within 1 and 1000000"),
        (
            "limits: { connections: 99999999999999999999999999999999 }",
            "limits.connections: 99999999999999999999…",
        ),
        ("limits: { connections: -1 }", "limits.connections: -1 is not within 1 and 1000000"),
        ("limits: { in_flight: 1.5 }", "limits.in_flight: expected an integer from 1 to 1000000"),
        ("limits: { in_flight: 0 }", "limits.in_flight: 0 is not within 1 and 1000000"),
        ("limits: { body_memory: 0 }", "limits.body_memory: must be more than 0"),
        ("limits: { body_memory: 2TiB }", "limits.body_memory: must be at most 1099511627776 bytes"),
        ("limits: { head_memory: 0 }", "limits.head_memory: must be more than 0"),
        ("limits: { body_memory: 99999999999TiB }", "limits.body_memory: expected a size…"),
        ("limits: { json_body: 0MiB }", "limits.json_body: must be more than 0"),
        ("limits: { json_body: +5 MiB }", "limits.json_body: expected a size…"),
        ("limits: { json_body: 1.5MiB }", "limits.json_body: expected a size…"),
        ("limits: { json_body: -1 }", "limits.json_body: expected a size…"),
        ("limits: { json_body: 1MB }", "limits.json_body: expected a size…"),
        ("limits: { json_body: MiB }", "limits.json_body: expected a size…"),
        ("limits: { batch_body: 1073741825 }", "limits.batch_body: must be at most 1073741824 bytes"),
        ("limits: 5", "limits: expected a section"),
    ];
    check(&rows.map(|(row, expected)| (top(row), expected)));
}

#[test]
fn faults_of_shared_budgets() {
    let rows = [
        ("shared_budgets: off", "shared_budgets: expected a section"),
        ("shared_budgets: {}", "shared_budgets.redis: missing"),
        ("shared_budgets: { redis: { url: 'redis://x' } }", "shared_budgets.redis.replicas: missing"),
        ("shared_budgets: { redis: { replicas: 2 } }", "shared_budgets.redis.url: missing"),
        (
            "shared_budgets: { redis: { url: 'redis://x', replicas: 0 } }",
            "shared_budgets.redis.replicas: 0 is not within 1 and 1000",
        ),
        (
            "shared_budgets: { redis: { url: 'redis://x', replicas: 2, local_share: 101% } }",
            "shared_budgets.redis.local_share: expected a share…",
        ),
        (
            "shared_budgets: { redis: { url: 'redis://x', replicas: 2, local_share: 0.2 } }",
            "shared_budgets.redis.local_share: expected a share…",
        ),
        (
            "shared_budgets: { redis: { url: 'rediss://:se-cret@x/#insecure', replicas: 2 } }",
            "shared_budgets.redis.url: nothing can follow a #; a certificate that nobody verifies is not supported",
        ),
        (
            "shared_budgets: { redis: { url: 'rediss://x', ca: nowhere.pem, replicas: 2 } }",
            "shared_budgets.redis.ca: the file \"/etc/gateway/nowhere.pem\" cannot be read…",
        ),
        (
            "shared_budgets: { redis: { url: 'redis://x', ca: ca.pem, replicas: 2 } }",
            "shared_budgets.redis.ca: without TLS there is nothing to verify; the URL must start with rediss://",
        ),
        (
            "shared_budgets: { redis: { url: { env: OTHER_SECRET }, replicas: 2 } }",
            "shared_budgets.redis.url: expected redis://host…",
        ),
        (
            "shared_budgets: { redis: { url: 'http://:se-cret@x', replicas: 2 } }",
            "shared_budgets.redis.url: expected redis://host or rediss://host, with [user]:password@, :port and /database where needed",
        ),
        (
            "shared_budgets: { redis: { url: 'redis://:se-cret@x:port', replicas: 2 } }",
            "shared_budgets.redis.url: expected redis://host or rediss://host, with [user]:password@, :port and /database where needed",
        ),
    ];
    check(&rows.map(|(row, expected)| (top(row), expected)));
}

#[test]
fn faults_of_several_servers_of_a_store() {
    let rows = [
        (
            "shared_budgets: { redis: { url: 'redis://x', urls: [ 'redis://y' ], cluster: true, replicas: 2 } }",
            "shared_budgets.redis.url: shared_budgets.redis.urls says where the store is; only one of the two can stay",
        ),
        (
            "shared_budgets: { redis: { urls: [ 'redis://x' ], replicas: 2 } }",
            "shared_budgets.redis.urls: several URLs are those of a cluster; write cluster: true beside them",
        ),
        (
            "shared_budgets: { redis: { url: 'redis://x', cluster: true, replicas: 2 } }",
            "shared_budgets.redis.cluster: a cluster is reached by urls: [ … ], some of its servers",
        ),
        (
            "shared_budgets: { redis: { urls: [], cluster: true, replicas: 2 } }",
            "shared_budgets.redis.urls: must not be empty",
        ),
        (
            "shared_budgets: { redis: { urls: [ 'redis://x/1', 'redis://y/1' ], cluster: true, replicas: 2 } }",
            "shared_budgets.redis.urls: a cluster has no other database than 0; the URLs must end without /database",
        ),
        (
            "shared_budgets: { redis: { urls: [ 'redis://:se-cret@x', 'redis://y' ], cluster: true, replicas: 2 } }",
            "shared_budgets.redis.urls[1]: the first one has another scheme, user, password or database; they must be the same in all",
        ),
        (
            "shared_budgets: { redis: { urls: [ 'redis://x', 'http://:se-cret@y' ], cluster: true, replicas: 2 } }",
            "shared_budgets.redis.urls[1]: expected redis://host…",
        ),
        (
            "shared_budgets: { redis: { sentinel: { urls: [ 'redis://x' ] }, replicas: 2 } }",
            "shared_budgets.redis.sentinel.master: missing",
        ),
        (
            "shared_budgets: { redis: { sentinel: { master: main }, replicas: 2 } }",
            "shared_budgets.redis.sentinel.urls: missing",
        ),
        (
            "shared_budgets: { redis: { sentinel: { urls: [ 'redis://x' ], master: '' }, replicas: 2 } }",
            "shared_budgets.redis.sentinel.master: empty",
        ),
        (
            "shared_budgets: { redis: { sentinel: { urls: [ 'redis://x' ], master: main, user: me }, replicas: 2 } }",
            "shared_budgets.redis.sentinel: a user needs a password",
        ),
        (
            "shared_budgets: { redis: { sentinel: { urls: [ 'redis://x' ], master: main }, urls: [ 'redis://y' ], cluster: true, replicas: 2 } }",
            "shared_budgets.redis.urls: the servers of a cluster need no sentinel; only one of the two can stay",
        ),
    ];
    check(&rows.map(|(row, expected)| (top(row), expected)));
}

#[test]
fn proxies() {
    let rows = [
        ("vendor: { proxy: off }", "vendor.proxy: expected http://host:port;…"),
        ("vendor: { proxy: 'http://proxy' }", "vendor.proxy: the port is missing"),
        ("vendor: { proxy: 'http://10.0.0.1' }", "vendor.proxy: the port is missing"),
        ("vendor: { proxy: 'https://proxy:3128' }", "vendor.proxy: expected http://host:port;…"),
        (
            "vendor: { proxy: 'http://me:hunter2@proxy:3128' }",
            "vendor.proxy: a user or a password has no place in the URL, which is shown and logged; write proxy: { url: \
             \"http://host:port\", user: NAME, password: { file: PATH } }…",
        ),
        (
            "vendor: { proxy: { url: 'http://me:hunter2-from-file@proxy:3128' } }",
            "vendor.proxy.url: a user or a password has no place in the URL…",
        ),
        ("vendor: { proxy: {} }", "vendor.proxy.url: missing"),
        (
            "vendor: { proxy: { url: 'http://p:1', user: me } }",
            "vendor.proxy: user is given without password",
        ),
        (
            "vendor: { proxy: { url: 'http://p:1', password: { env: OTHER_SECRET } } }",
            "vendor.proxy: password is given without user",
        ),
        (
            "vendor: { proxy: { url: 'http://p:1', user: me, password: hunter2-from-file } }",
            "vendor.proxy.password: expected one of { env: NAME }…",
        ),
        (
            "vendor: { proxy: { url: 'http://p:1', user: 'a:b', password: { env: OTHER_SECRET } } }",
            "vendor.proxy.user: a colon or a control character…",
        ),
        (
            "vendor: { proxy: { url: 'http://p:1', user: me, password: { env: EMPTY } } }",
            "vendor.proxy.password: the secret is empty…",
        ),
        (
            "vendor: { proxy: { url: 'http://p:1', hunter2-from-file: 1 } }",
            "vendor.proxy: an unknown key, not shown…",
        ),
        ("vendor: { proxy: 'http://proxy:3128/path' }", "vendor.proxy: it ends with the host or the port…"),
    ];
    check(&rows.map(|(row, expected)| (top(row), expected)));
}

#[test]
fn values_out_of_bounds_after_the_limits() {
    let rows = [
        ("audit: on", "audit: expected stderr or { file: PATH }, not \"on\""),
        ("audit: {}", "audit.file: missing"),
        ("audit: { file: x, path: y }", "audit.path: unknown key"),
        ("audit: { file: '' }", "audit.file: empty"),
        ("tracing: {}", "tracing.otlp: missing"),
        (
            "tracing: { otlp: 'http://collector:4318/v1/traces' }",
            "tracing.otlp: it ends with the host or the port: no path, no query; the path /v1/traces is added",
        ),
        (
            "tracing: { otlp: 'http://c', sample: 0.5 }",
            "tracing.sample: expected a share of the requests such as 5%, from 0% to 100%",
        ),
        (
            "tracing: { otlp: 'http://c', sample: 101% }",
            "tracing.sample: expected a share of the requests such as 5%, from 0% to 100%, not \"101%\"",
        ),
        ("files: { max: 0 }", "files.max: must be more than 0"),
        ("files: { line_bytes: 0 }", "files.line_bytes: must be more than 0"),
        ("files: { txt: maybe }", "files.txt: expected one of: enforce, report; \"maybe\" is none of them"),
        ("files: { txt: true }", "files.txt: expected one of: enforce, report"),
        ("images: { max: 0 }", "images.max: must be more than 0"),
        ("images: { oppo: { big: { sizes: [] } } }", "images.oppo.big.sizes: must not be empty"),
        ("images: { oppo: { big: { sizes: [ 0x5 ] } } }", "images.oppo.big.sizes[0]: expected…"),
        (
            "images: { oppo: { big: { sizes: [ 5x5, 5x65536 ] } } }",
            "images.oppo.big.sizes[1]: expected width…",
        ),
        ("images: { oppo: { icon: { sizes: 5x5 } } }", "images.oppo.icon.sizes: expected a list"),
        (
            "images: { oppo: { icon: { mode: on } } }",
            "images.oppo.icon.mode: expected one of: enforce, report; \"on\" is none of them",
        ),
        ("budgets: { push: { limit: 4294967296 } }", "budgets.push.limit: 4294967296 is not within…"),
        ("budgets: { push: { limit: 1e3 } }", "budgets.push.limit: expected an integer…"),
        ("budgets: { push: { window: 999us } }", "budgets.push.window: must be at least 1ms"),
        ("budgets: { push: { window: 0s } }", "budgets.push.window: must be longer than 0"),
        ("budgets: { push: { window: 32d } }", "budgets.push.window: expected at most 31 days, not \"32d\""),
        ("budgets: { push: { burst: 0 } }", "budgets.push.burst: 0 is not within 1 and 4294967295"),
        (
            "budgets: { push: { burst: 601 } }",
            "budgets.push: a burst of 601 can never be had within a limit of 600",
        ),
        ("budgets: { pushes: { limit: 1 } }", "budgets.pushes: unknown key; did you mean push?"),
        ("admin: { address: 192.0.2.1:9090 }", "admin.address: must be a loopback address…"),
        ("admin: { token: { sha256: x } }", "admin.token.sha256: expected the 64 hexadecimal digits…"),
        ("admin: { token: {} }", "admin.token.sha256: …"),
        ("admin: { address: localhost:9090 }", "admin.address: expected an IP address with a port…"),
        ("admin: { address: 127.0.0.1:8080 }", "admin.address: another listener has this address"),
        ("vendor: { ca: nowhere.pem }", "vendor.ca: the file \"/etc/gateway/nowhere.pem\" cannot be read…"),
        ("vendor: { forward_trace: yes }", "vendor.forward_trace: expected true or false, not \"yes\""),
        ("vendor: { response_timeout: 0s }", "vendor.response_timeout: must be longer than 0"),
        ("\"a\\nb\": 1", "\"a\\nb\": unknown key"),
        ("Guard: 5s", "Guard: unknown key; did you mean guard?"),
        ("gaurd: 5s", "gaurd: unknown key; did you mean guard?"),
    ];
    check(&rows.map(|(row, expected)| (top(row), expected)));
}

#[test]
fn listeners() {
    let rows = [
        (", tls: {}", "listeners[0].tls.certificates: missing"),
        (", tls: { certificates: [] }", "listeners[0].tls.certificates: must not be empty"),
        (
            ", tls: { certificates: [ { certificate: tls.crt } ] }",
            "listeners[0].tls.certificates[0].private_key: missing",
        ),
        (
            ", tls: { certificates: [ { certificate: tls.crt, private_key: none } ] }",
            "listeners[0].tls.certificates[0].private_key: the file \"/etc/gateway/none\" cannot be read: entity not found",
        ),
        (
            ", tls: { certificates: [ { certificate: tls.crt, private_key: tls.key } ], client_ca: none }",
            "listeners[0].tls.client_ca: the file \"/etc/gateway/none\" cannot be read: entity not found",
        ),
        (" }, { address: 127.0.0.1:8080", "listeners[1].address: another listener has this address"),
        (
            " }, { address: 127.0.0.1:9090",
            "admin: its default address 127.0.0.1:9090 is a listener's; write another",
        ),
        (" }, null, { address: '[::]:1'", "listeners[1].address: missing"),
    ];
    check(&rows.map(|(listener, expected)| (text(Extra { listener, ..Extra::default() }), expected)));
    good(&text(Extra {
        listener: " }, { address: 127.0.0.1:0 }, { address: 127.0.0.1:0",
        ..Extra::default()
    }));
}

#[test]
fn cids_and_the_guard_have_their_forms() {
    assert_eq!(
        bad(&tenant(", cid: on")),
        "tenants.shop.cid: expected one of: off, inject; \"on\" is none of them"
    );
    assert_eq!(bad(&tenant(", cid_batch: 0")), "tenants.shop.cid_batch: 0 is not within 1 and 1000");
    assert_eq!(bad(&tenant(", cid_batch: 1001")), "tenants.shop.cid_batch: 1001 is not within 1 and 1000");
    assert!(
        bad(&tenant(", resend_guard: 2")).starts_with("tenants.shop.resend_guard: a duration needs a unit")
    );
}

/// Suggestions for misspelled words, in every place that takes one of a few words.
#[test]
fn words_that_are_not_known() {
    let rows = [
        (top("limit: {}"), "limit: unknown key; did you mean limits?"),
        (top("limits: { jsonBody: 1MiB }"), "limits.jsonBody: unknown key; did you mean json_body?"),
        (
            top("budgets: { brodcast: { limit: 1, window: 1s } }"),
            "budgets.brodcast: unknown key; did you mean broadcast?",
        ),
        (top("vendor: { time_out: 1s }"), "vendor.time_out: unknown key"),
        (
            tenant(", budgets: { fiel: { limit: 1 } }"),
            "tenants.shop.budgets.fiel: unknown key; did you mean file?",
        ),
        (
            tenant(", cid: injekt"),
            "tenants.shop.cid: expected one of: off, inject; \"injekt\" is none of them; did you mean inject?",
        ),
        (
            tenant(", region: Beijing"),
            "tenants.shop.region: expected one of: default, beijing; \"Beijing\" is none of them; did you mean beijing?",
        ),
        (
            top("files: { txt: enforced }"),
            "files.txt: expected one of: enforce, report; \"enforced\" is none of them; did you mean enforce?",
        ),
        (
            top("").replace("[ shop ]", "[ shpo ]"),
            "callers.orders.tenants[0]: there is no tenant \"shpo\"; did you mean shop?",
        ),
        (top("").replace("[ shop ]", "[ news ]"), "callers.orders.tenants[0]: there is no tenant \"news\""),
        (
            top("").replace("[ shop ]", "[ appkey ]"),
            "callers.orders.tenants[0]: there is no tenant \"appkey\"; it is a key of shop",
        ),
        (
            top("").replace("[ push ]", "[ pusch ]"),
            "callers.orders.allow[0]: expected one of: push, file, group, schedule, image, device, report; \
             \"pusch\" is none of them; did you mean push?",
        ),
        (
            caller(", reserve: { devise: 5 }"),
            "callers.orders.reserve.devise: unknown key; did you mean device?",
        ),
        (caller(", broadcast: no"), "callers.orders.broadcast: expected true or false, not \"no\""),
        (
            top("limits: { json_body: 1MB }"),
            "limits.json_body: expected a size such as 50KiB, 10MiB or a number of bytes, not \"1MB\"",
        ),
        (top("audit: stdout"), "audit: expected stderr or { file: PATH }, not \"stdout\""),
        // Texts that may be secrets are not repeated.
        (tenant(&format!(", cid: {}", SECRETS[0])), "tenants.shop.cid: expected one of: off, inject"),
        (
            top("").replace("[ shop ]", &format!("[ {} ]", SECRETS[0])),
            "callers.orders.tenants[0]: there is no tenant of this name",
        ),
        (
            tenant(", dev: { key: devkey, secret: { flie: x } }"),
            "tenants.shop.dev.secret: expected one of { env: NAME }, { file: PATH }, { value: TEXT }\n\
             tenants.shop.dev.secret: an unknown key, not shown because it may be a secret; did you mean file?",
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(bad(&text), expected, "{text}");
    }
}

#[test]
fn faults_name_the_line_of_their_key() {
    let text = format!(
        "listeners:\n- address: here\nguard: soon\ntenants:\n  shop:\n    app:\n      key: appkey\n      secret:\n        env: NOT_SET\n    colour: red\n\
         callers:\n  orders:\n    tokens:\n    - sha256: {DIGEST}\n    tenants:\n    - shpo\n    allow: [ push,\n      pusch ]\n  news: {{}}\n"
    );
    let faults = read(&text).err().expect("bad");
    let places: Vec<_> = faults.iter().map(|fault| (fault.path(), fault.line())).collect();
    let expected = [
        ("listeners[0].address", Some(2)),
        ("guard", Some(3)),
        ("tenants.shop.app.secret", Some(8)),
        ("tenants.shop.colour", Some(10)),
        ("callers.orders.tenants[0]", Some(16)),
        ("callers.orders.allow[1]", Some(18)),
        ("callers.news.tokens", Some(19)),
        ("callers.news.tenants", Some(19)),
        ("callers.news.allow", Some(19)),
    ];
    assert_eq!(places, expected);
    let first = faults.iter().next().expect("a fault").to_string();
    assert!(first.starts_with("listeners[0].address: expected") && first.ends_with(" (line 2)"), "{first}");
    let marked = read(&format!("\u{feff}{text}")).err().expect("bad");
    assert_eq!(marked, faults);
}
