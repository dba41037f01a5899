//! Tests of good texts and their values.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::operation::{BudgetName, Host, Scope};

/// The documented schema with every key at its default; unsupported keys are written as off.
const DEFAULTS: &str = "
admin: { address: 127.0.0.1:9090, token: null }
workers: null
vendor:
  api: https://api.jpush.cn
  device: https://device.jpush.cn
  report: https://report.jpush.cn
  image_v4: null
  ca: null
  proxy: null
  allow_plaintext: false
  forward_trace: false
  connect_timeout: 3s
  response_timeout: 25s
budgets:
  push:     { limit: 600,  window: 60s }
  file:     { limit: 20,   window: 60s }
  schedule: { limit: 100,  window: 60s }
  device:   { limit: 600,  window: 60s }
  report:   { limit: 2400, window: 60s }
guard: 10s
state_file: null
shared_budgets: null
tracing: null
limits:
  connections: 10000
  in_flight: 2000
  body_memory: 256MiB
  head_memory: 64MiB
  json_body: 1MiB
  batch_body: 8MiB
  header_timeout: 10s
  body_timeout: 30s
  idle_timeout: 75s
  deadline: 28s
drain: { delay: 0s, deadline: 35s }
files:  { max: 10MiB, line_bytes: 40, txt: enforce }
images:
  max: 2MiB
  oppo:
    big:  { sizes: [984x369, 876x324], max: 1MiB, mode: enforce }
    icon: { sizes: [144x144], max: 50KiB, mode: enforce }
audit: null
";

#[test]
fn the_defaults_are_those_of_the_contract() {
    let written = good(&text(Extra {
        top: DEFAULTS,
        tenant: ", region: default, cid: off, cid_batch: 10, resend_guard: 2s",
        caller: ", certificates: [], broadcast: true, weight: 1, reserve: {}, wait: 0s, quota: null",
        ..Extra::default()
    }));
    let left_out = good(&top(""));
    for config in [written, left_out] {
        assert_eq!(config.admin.address.to_string(), "127.0.0.1:9090");
        assert!(config.workers.is_none() && warnings(&config).is_empty());
        assert!(config.vendor.proxy.is_none() && config.vendor.ca.is_none() && !config.vendor.forward_trace);
        assert_eq!(config.vendor.connect_timeout, Duration::from_secs(3));
        assert_eq!(config.vendor.response_timeout, Duration::from_secs(25));
        assert!(config.audit.is_none() && config.tracing.is_none());
        assert_eq!(config.guard, Duration::from_secs(10));
        let Limits { connections, in_flight, body_memory_bytes, json_body_bytes, batch_body_bytes, .. } =
            config.limits;
        assert_eq!((connections, in_flight), (10_000, 2_000));
        assert_eq!((body_memory_bytes, json_body_bytes, batch_body_bytes), (256 << 20, 1 << 20, 8 << 20));
        assert_eq!(config.limits.head_memory_bytes, 64 << 20);
        let Limits { header_timeout, body_timeout, idle_timeout, deadline, .. } = config.limits;
        assert_eq!(
            [header_timeout, body_timeout, idle_timeout, deadline],
            [10, 30, 75, 28].map(Duration::from_secs)
        );
        assert_eq!((config.drain.delay, config.drain.deadline), (Duration::ZERO, Duration::from_secs(35)));
        let Files { max_bytes, line_bytes, txt } = config.files;
        assert_eq!((max_bytes, line_bytes, txt), (10 << 20, 40, Mode::Enforce));
        let Images { max_bytes, oppo_big, oppo_icon } = &config.images;
        assert_eq!((*max_bytes, oppo_big.max_bytes, oppo_icon.max_bytes), (2 << 20, 1 << 20, 50 << 10));
        assert_eq!(oppo_big.sizes, [(984, 369), (876, 324)]);
        assert_eq!(oppo_icon.sizes, [(144, 144)]);
        assert_eq!((oppo_big.mode, oppo_icon.mode), (Mode::Enforce, Mode::Enforce));
        check_tenant_and_caller(&config);
    }
}

fn check_tenant_and_caller(config: &Config) {
    let ([tenant], [caller]) = (config.tenants.as_slice(), config.callers.as_slice()) else {
        panic!("one each")
    };
    let sizes = BudgetName::ALL.map(|name| tenant.budgets.of(name).map_or(0, |budget| budget.limit.get()));
    assert_eq!(sizes, [600, 20, 100, 600, 2400, 0, 0, 0]);
    let windows = BudgetName::ALL.iter().filter_map(|name| tenant.budgets.of(*name));
    assert!(
        windows.into_iter().all(|budget| budget.window == Duration::from_mins(1) && budget.burst.is_none())
    );
    let urls = Host::ALL.map(|host| tenant.urls.of(host).map(BaseUrl::origin));
    let expected = ["https://api.jpush.cn", "https://device.jpush.cn", "https://report.jpush.cn"];
    assert_eq!(urls[..3], expected.map(|url| Some(url.to_owned())));
    assert_eq!(urls[3], None);
    assert_eq!((tenant.region, tenant.app.key.as_str()), (Region::Default, "appkey"));
    assert_eq!(tenant.app.secret.expose(), "5e987ac6d2e04d95a9d8f0d1");
    let repeats = Repeats {
        cid: CidPolicy::Off,
        cid_batch: NonZeroU32::MIN.saturating_add(9),
        resend_guard: Duration::from_secs(2),
    };
    assert_eq!(tenant.repeats, repeats);
    assert!(tenant.dev.is_none() && tenant.group.is_none());
    assert!(caller.broadcast && caller.quota.is_none() && caller.weight == NonZeroU32::MIN);
    assert_eq!(
        (caller.allow.as_slice(), caller.tenants.as_slice()),
        (&[Scope::Push][..], &["shop".to_owned()][..])
    );
    assert_eq!((caller.tokens[0].name.as_str(), caller.tokens[0].digest.to_hex().as_str()), ("1", DIGEST));
}

#[test]
fn budgets_are_divided_in_whole_slots() {
    let read = |text: &str| good(&top(&format!("shared_budgets: {{ redis: {{ {text} }} }}")));
    let config = read("url: 'redis://:storePassword@store:6380/2', local_share: 20%, replicas: 3");
    let warned = warnings(&config);
    assert_eq!(warned.len(), 1, "the password stands in the configuration itself");
    assert!(!warned[0].contains("storePassword"));
    let parts = |config: &Config, limit| {
        let shares = config.shared_budgets.as_ref().expect("given").shares;
        let limit = NonZeroU32::new(limit).expect("more than 0");
        (shares.own_part(limit), shares.shared_part(limit))
    };
    assert_eq!([1, 14, 15, 600].map(|limit| parts(&config, limit)), [(0, 1), (0, 14), (1, 12), (40, 480)]);
    assert_eq!(parts(&config, u32::MAX), (286_331_153, 3_435_973_836));
    let all_local = read("url: { value: 'redis://store' }, local_share: 100%, replicas: 2");
    assert_eq!([1, 2, 5].map(|limit| parts(&all_local, limit)), [(0, 1), (1, 0), (2, 1)]);
    let none_local = read("url: 'redis://store', local_share: 0%, replicas: 2");
    assert_eq!(parts(&none_local, 600), (0, 600));
    assert_eq!(parts(&read("url: 'redis://store', replicas: 2"), 600), (60, 480), "20% unless given");
    assert!(warnings(&none_local).is_empty());
}

#[test]
fn json_is_yaml() {
    let json = format!(
        r#"{{"listeners":[{{"address":"[::]:0"}}],
        "tenants":{{"shop":{{"app":{{"key":"k","secret":{{"env":"OTHER_SECRET"}}}}}}}},
        "callers":{{"a":{{"tokens":[{{"sha256":"{DIGEST}"}}],"tenants":["shop"],"allow":["*"]}}}}}}"#
    );
    let config = good(&json);
    assert_eq!(config.callers[0].allow, Scope::ALL);
    assert_eq!(config.listeners[0].address.to_string(), "[::]:0");
    good(&format!("\u{feff}{json}"));
}

#[test]
fn the_digest_is_that_of_the_text() {
    let text = top("");
    let hex = TokenDigest::of(text.as_bytes()).to_hex();
    assert_eq!(good(&text).digest, hex);
    assert_ne!(good(&top("# a comment")).digest, hex);
}

#[test]
fn a_proxy_has_a_url_and_perhaps_a_user() {
    let proxy =
        |written: &str| good(&top(&format!("vendor: {{ proxy: {written} }}"))).vendor.proxy.expect("a proxy");
    for written in ["'http://Proxy.example:3128'", "{ url: 'http://proxy.example:3128/' }"] {
        let proxy = proxy(written);
        assert_eq!((proxy.url.origin().as_str(), proxy.login.is_none()), ("http://proxy.example:3128", true));
    }
    let login =
        proxy("{ url: 'http://p:1', user: gateway, password: { file: secret } }").login.expect("a user");
    assert_eq!((login.user.as_str(), login.password.expose()), ("gateway", "hunter2-from-file"));
}

#[test]
fn secrets_come_from_variables_files_and_the_text() {
    let config = good(&tenant(
        ", dev: { key: devkey, secret: { file: secret } }, group: { key: groupkey, secret: { value: given } }",
    ));
    let shop = &config.tenants[0];
    let (dev, group) = (shop.dev.as_ref().expect("given"), shop.group.as_ref().expect("given"));
    assert_eq!((dev.key.as_str(), dev.secret.expose()), ("devkey", "hunter2-from-file"));
    assert_eq!((group.key.as_str(), group.secret.expose()), ("group-groupkey", "given"));
    let warned = warnings(&config);
    assert_eq!(warned.len(), 1);
    assert!(warned[0].starts_with("tenants.shop.group.secret: "), "{}", warned[0]);
}

#[test]
fn paths_start_from_the_folder_of_the_file() {
    let config = good(&text(Extra {
        top: "vendor: { ca: ca.pem }",
        listener: ", tls: { certificates: [ { certificate: tls.crt, private_key: /etc/gateway/tls.key } ], client_ca: tls.crt, http2: true }",
        ..Extra::default()
    }));
    let tls = config.listeners[0].tls.as_ref().expect("given");
    assert!(tls.http2);
    assert_eq!(tls.certificates[0].certificate, PathBuf::from("/etc/gateway/tls.crt"));
    assert_eq!(tls.certificates[0].private_key, PathBuf::from("/etc/gateway/tls.key"));
    assert_eq!(tls.client_ca, Some(PathBuf::from("/etc/gateway/tls.crt")));
    assert_eq!(config.vendor.ca, Some(PathBuf::from("/etc/gateway/ca.pem")));
}

#[test]
fn budgets_inherit_what_they_leave_out() {
    let config = good(&text(Extra {
        top: "budgets: { push: { limit: 1000, burst: 10 }, file: { window: 1ms }, oppo_big: { limit: 5, window: 24h } }",
        tenant: ", budgets: { push: { limit: 3000 }, oppo_big: { limit: 7 }, broadcast: { limit: 10, window: 31d } }",
        ..Extra::default()
    }));
    let budget = |name| {
        let budget = config.tenants[0].budgets.of(name).expect("on");
        (budget.limit.get(), budget.window.as_millis(), budget.burst.map(NonZeroU32::get))
    };
    assert_eq!(budget(BudgetName::Push), (3000, 60_000, Some(10)));
    assert_eq!(budget(BudgetName::File), (20, 1, None));
    assert_eq!(budget(BudgetName::OppoBig), (7, 86_400_000, None));
    assert_eq!(budget(BudgetName::Broadcast), (10, 31 * 86_400_000, None));
    assert!(config.tenants[0].budgets.of(BudgetName::OppoIcon).is_none());
}

#[test]
fn base_urls_come_from_the_tenant_then_the_region_then_the_file() {
    let urls = |top: &str, tenant: &str| {
        let config = good(&text(Extra { top, tenant, ..Extra::default() }));
        Host::ALL.map(|host| config.tenants[0].urls.of(host).map(BaseUrl::origin).unwrap_or_default())
    };
    let beijing = "https://bjapi.push.jiguang.cn";
    assert_eq!(urls("", ", region: beijing"), [beijing, beijing, beijing, ""]);
    assert_eq!(
        urls(
            "vendor: { device: 'http://127.0.0.1:9501', image_v4: 'https://v4.example/' }",
            ", region: beijing"
        ),
        [beijing, "http://127.0.0.1:9501", beijing, "https://v4.example"],
    );
    assert_eq!(
        urls("", ", region: beijing, vendor: { api: 'https://Own.Example:8443' }"),
        ["https://own.example:8443", beijing, beijing, ""],
    );
    assert_eq!(urls("vendor: { api: 'http://[::1]:81', allow_plaintext: true }", "")[0], "http://[::1]:81");
    assert_eq!(
        urls("vendor: { api: 'http://far.example', allow_plaintext: true }", "")[0],
        "http://far.example"
    );
    assert_eq!(urls("vendor: { api: 'http://localhost' }", "")[0], "http://localhost");
    assert_eq!(urls("vendor: { api: 'https://10.0.0.1:443' }", "")[0], "https://10.0.0.1");
}

#[test]
fn tenants_share_a_key_when_everything_about_it_is_the_same() {
    let second = ", b: { app: { key: appkey, secret: { env: SHOP_MASTER_SECRET } } }";
    assert_eq!(good(&text(Extra { tenants: second, ..Extra::default() })).tenants.len(), 2);
}

#[test]
fn the_audit_log_goes_to_a_file_or_to_standard_error() {
    assert_eq!(good(&top("audit: stderr")).audit, Some(Audit::Stderr));
    let file = good(&top("audit: { file: log/audit.log }")).audit;
    assert!(
        matches!(file, Some(Audit::File(path)) if path.ends_with("log/audit.log") && path.parent().is_some())
    );
}

#[test]
fn boundaries_pass() {
    for extra in [
        "workers: 1024",
        "state_file: /var/lib/jpush-gateway/state",
        "guard: 0s",
        "guard: 31d",
        "guard: 1m30s",
        "budgets: { push: { limit: 1, window: 1ms, burst: 1 } }",
        "budgets: { push: { limit: 1000000000, burst: 1000000000 } }",
        "budgets: { push: { limit: 4294967295 } }",
        "limits: { connections: 1, in_flight: 1000000, json_body: 1, body_memory: 1TiB, head_memory: 1B }",
        "limits: { json_body: 1GiB, batch_body: 1024 MiB }",
        "limits: { header_timeout: 1ns, deadline: 31d }",
        "drain: { delay: 0s, deadline: 1ms }",
        "files: { txt: report, line_bytes: 1B }",
        "images: { oppo: { big: { sizes: [1x65535], mode: report } } }",
        "admin: { address: '[::1]:0' }",
        "guard: &x 5s\ndrain: { delay: *x }",
    ] {
        good(&top(extra));
    }
    let longest = format!(", {}: {{ app: {{ key: k, secret: {{ env: OTHER_SECRET }} }} }}", "a".repeat(63));
    good(&text(Extra { tenants: &longest, ..Extra::default() }));
    good(&caller(", weight: 1000, quota: { limit: 1, window: 24h, burst: 1 }"));
    good(&tokens(&format!("[ {{ name: '{}', sha256: {DIGEST} }} ]", "é".repeat(32))));
    good(&tokens(&format!("[ {{ name: '2', sha256: {DIGEST} }}, {{ name: '1', sha256: {OTHER_DIGEST} }} ]")));
}

#[test]
fn what_is_allowed_but_odd_is_a_warning() {
    let cases = [
        ("vendor: { response_timeout: 29s }", "vendor.response_timeout"),
        ("limits: { body_memory: 8MiB }", "limits: "),
        ("drain: { deadline: 27s }", "drain: the deadline (27s from the end of the delay)"),
    ];
    for (extra, expected) in cases {
        let config = good(&top(extra));
        let warnings = warnings(&config);
        assert!(warnings.len() == 1 && warnings[0].starts_with(expected), "{extra}: {warnings:?}");
    }
    // The deadline counts from the end of the delay.
    for usual in ["drain: { delay: 40s }", "drain: { delay: 1m, deadline: 28s }"] {
        assert_eq!(warnings(&good(&top(usual))), Vec::<&str>::new(), "{usual}");
    }
}

#[test]
fn pushes_can_be_kept_from_going_out_twice() {
    let repeats = |keys: &'static str| good(&tenant(keys)).tenants[0].repeats;
    let on = repeats(", cid: inject, cid_batch: 1000, resend_guard: 0s");
    assert_eq!((on.cid, on.cid_batch.get(), on.resend_guard), (CidPolicy::Inject, 1000, Duration::ZERO));
}

#[test]
fn a_byte_order_mark_in_front_is_no_part_of_the_text() {
    let marked = format!("\u{feff}{}", top(""));
    assert_eq!(good(&marked).tenants[0].name, "shop");
    assert!(bad(&format!("\u{feff}{}", top("colour: red"))).starts_with("colour: unknown key"));
}
