//! Tests of listeners' certificates: their dates, all their faults in one run, and handshakes that fail.

use std::time::{Duration, SystemTime};

use rcgen::CertificateParams;
use rustls::ALL_VERSIONS;

use crate::support::{
    Answer, Authority, Config, Connection, Folder, Gateway, Request, Stub, run, start_failing, stderr,
    stdout, tls_connect, wait_until,
};

const DAY: Duration = Duration::from_hours(24);

/// Writes a certificate for `localhost` that ends in this many seconds. Returns its last second.
fn write(folder: &Folder, authority: &Authority, file: &str, seconds: i64) -> u64 {
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a good name");
    let shift = Duration::from_secs(seconds.unsigned_abs());
    let now = SystemTime::now();
    let end = if seconds < 0 { now - shift } else { now + shift };
    params.not_after = end.into();
    let (certificate, key) = authority.sign_with(&params);
    folder.write(&format!("{file}.crt"), certificate);
    folder.write(&format!("{file}.key"), key);
    end.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

fn days(days: u32) -> i64 {
    // One minute more, for the time that the test takes.
    i64::try_from((DAY * days).as_secs()).expect("few") + 60
}

fn config(more: &str) -> Config {
    let mut config = Config::new("http://127.0.0.1:9");
    let pair = "{ certificate: a.crt, private_key: a.key }";
    config.listeners = format!("{{ address: \"127.0.0.1:0\", tls: {{ certificates: [ {pair} ]{more} }} }}");
    config
}

/// Runs `check` on a configuration. Returns its exit code and its output.
fn check(folder: &Folder, config: &Config) -> (Option<i32>, String) {
    folder.write("shop-dev", "2e2023ade697b989087dcc53");
    let yaml = config.yaml().replace("env: SHOP_APP_SECRET", "value: 5e987ac6d2e04d95a9d8f0d1");
    let path = folder.write("check.yaml", yaml);
    let output = run(&["check", "--config", path.to_str().expect("UTF-8")]);
    (output.status.code(), stdout(&output) + &stderr(&output))
}

fn series(gateway: &Gateway) -> String {
    let address = gateway.address();
    format!("jpush_gateway_certificate_not_after_seconds{{listener=\"{address}\",name=\"localhost\"}}")
}

fn serves(gateway: &Gateway, authority: &Authority) -> bool {
    let client = authority.client(&[]);
    tls_connect(&client, gateway.address(), "localhost")
        .is_ok_and(|mut tls| tls.connection.call(&Request::get("/")).status == 200)
}

fn faults(answer: &Answer) -> Vec<String> {
    let answer = answer.json();
    let faults = answer["faults"].as_array().unwrap_or_else(|| panic!("faults in {answer}"));
    faults.iter().map(|fault| fault.as_str().expect("a text").to_owned()).collect()
}

#[test]
fn the_end_of_a_certificate_is_a_metric_and_told_from_21_days_before() {
    let authority = Authority::new();
    for (left, told) in [(22, None), (20, Some("in 20 days")), (1, Some("in 1 day"))] {
        let folder = Folder::new();
        let end = write(&folder, &authority, "a", days(left));
        let (code, said) = check(&folder, &config(""));
        assert_eq!(code, Some(0), "{said}");
        let warning = "warning: listener 127.0.0.1:0: the certificate of localhost expires at ";
        assert_eq!(said.contains(warning), told.is_some(), "{left}: {said}");
        let gateway = Gateway::start_in(folder, &config(""));
        #[expect(clippy::cast_precision_loss, reason = "dates of this century are exact")]
        let expected = end as f64;
        assert!((gateway.metric(&series(&gateway)) - expected).abs() < 0.5);
        if let Some(told) = told {
            gateway.log_line(&["WARN", "the certificate of localhost", told]);
        } else {
            // All lines about the start are written by then.
            gateway.reload();
            gateway.log_line(&["the configuration was reloaded"]);
            assert_eq!(gateway.logged(&["the certificate of localhost"]), [""; 0]);
        }
        assert!(serves(&gateway, &authority));
    }
}

#[test]
fn a_reload_moves_the_metric() {
    let (authority, folder) = (Authority::new(), Folder::new());
    write(&folder, &authority, "a", days(100));
    let gateway = Gateway::start_in(folder, &config(""));
    let end = write(&gateway.folder, &authority, "a", days(200));
    assert_eq!(gateway.reload().status, 200);
    #[expect(clippy::cast_precision_loss, reason = "dates of this century are exact")]
    let expected = end as f64;
    assert!((gateway.metric(&series(&gateway)) - expected).abs() < 0.5);
}

#[test]
fn an_expired_certificate_is_served_at_a_start_and_refused_in_a_reload() {
    let (authority, folder) = (Authority::new(), Folder::new());
    write(&folder, &authority, "a", -3_600);
    let (code, said) = check(&folder, &config(""));
    assert_eq!(code, Some(1), "{said}");
    let told = "listeners[0].tls.certificates[0].certificate: the certificate of localhost expired at ";
    assert!(said.contains(told), "{said}");

    let gateway = Gateway::start_in(folder, &config(""));
    gateway.log_line(&["ERROR", "the certificate of localhost expired at "]);
    assert!(gateway.metric(&series(&gateway)) > 0.5);
    // The gateway still serves clients that accept the certificate.
    let late = authority.client_of_yesterday();
    let mut tls = tls_connect(&late, gateway.address(), "localhost").expect("a handshake");
    assert_eq!(tls.connection.call(&Request::get("/")).status, 200);

    // Other changes do not wait for a new certificate.
    let mut other = config("");
    other.orders = "weight: 2".into();
    gateway.write_config(&other.yaml());
    assert_eq!(gateway.reload().status, 200);
    // A new certificate with bad dates is refused at every reload, and the old one stays in use.
    write(&gateway.folder, &authority, "a", days(100));
    assert_eq!(gateway.reload().status, 200);
    for seconds in [-60, -60, -120] {
        write(&gateway.folder, &authority, "a", seconds);
        for _ in 0..2 {
            let answer = gateway.reload();
            let faults = faults(&answer);
            assert_eq!((answer.status, faults.len()), (422, 1), "{faults:?}");
            assert!(faults[0].starts_with(told), "{faults:?}");
        }
        assert!(serves(&gateway, &authority));
    }
}

/// A configuration with every kind of bad file, and a wrong number elsewhere.
fn broken(folder: &Folder) -> (Config, Vec<&'static str>) {
    let authority = Authority::new();
    for file in ["a", "b"] {
        write(folder, &authority, file, days(100));
    }
    folder.write("text", "no PEM at all\n");
    let section = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
    folder.write("junk.crt", section("CERTIFICATE"));
    folder.write("junk.key", section("PRIVATE KEY"));
    let pairs = [
        ("a.crt", "b.key"),
        ("missing.crt", "text"),
        ("text", "missing.key"),
        ("junk.crt", "junk.key"),
        ("a.crt", "a.key"),
    ];
    let pairs =
        pairs.map(|(certificate, key)| format!("{{ certificate: {certificate}, private_key: {key} }}"));
    let mut config = Config::new("http://127.0.0.1:9");
    config.listeners = format!(
        "{{ address: \"127.0.0.1:0\", tls: {{ certificates: [ {} ], client_ca: text }} }}, \
         {{ address: \"127.0.0.1:0\", tls: {{ certificates: [ {} ], client_ca: junk.crt }} }}",
        pairs.join(", "),
        pairs[4]
    );
    config.vendor = "ca: text".into();
    config.limits = "in_flight: 0".into();
    let expected = vec![
        "listeners[0].tls.certificates[0].private_key: the private key of ",
        "listeners[0].tls.certificates[1].certificate: the file ",
        "listeners[0].tls.certificates[1].private_key: no private key can be read from ",
        "listeners[0].tls.certificates[2].certificate: no certificate can be read from ",
        "listeners[0].tls.certificates[2].private_key: the file ",
        "listeners[0].tls.certificates[3].certificate: the first certificate of ",
        "listeners[0].tls.certificates[3].private_key: the private key of ",
        "listeners[0].tls.client_ca: no certificate can be read from ",
        "listeners[1].tls.client_ca: a certificate of ",
        "vendor.ca: no certificate can be read from ",
        "limits.in_flight: ",
    ];
    (config, expected)
}

#[test]
fn every_fault_of_certificates_is_told_in_one_run_with_its_key() {
    let folder = Folder::new();
    let (config, expected) = broken(&folder);
    let told = |said: &str| {
        for start in &expected {
            let found = said.lines().filter(|line| line.starts_with(start)).count();
            assert_eq!(found, 1, "{start}\n{said}");
        }
    };
    let (code, said) = check(&folder, &config);
    assert_eq!((code, said.lines().count()), (Some(1), expected.len()), "{said}");
    told(&said);
    let (code, said) = start_failing(&folder, &config);
    assert_eq!(code, 1);
    told(&said);

    let gateway = Gateway::start(&Config::new("http://127.0.0.1:9"));
    let (config, expected) = broken(&gateway.folder);
    gateway.write_config(&config.yaml());
    let answer = gateway.reload();
    let faults = faults(&answer);
    assert_eq!((answer.status, faults.len()), (422, expected.len()), "{faults:?}");
    told(&faults.join("\n"));
}

#[test]
fn handshakes_that_fail_are_counted_by_kind_and_told_once_a_second() {
    let vendor = Stub::good();
    let (servers, clients, folder) = (Authority::new(), Authority::new(), Folder::new());
    write(&folder, &servers, "a", days(100));
    folder.write("clients.pem", clients.pem());
    let mut config = config(", client_ca: clients.pem");
    config.vendor_url = vendor.url();
    config.limits = "header_timeout: 300ms".into();
    let gateway = Gateway::start_in(folder, &config);
    let address = gateway.address();
    let count = |kind: &str| {
        gateway.metric(&format!(
            "jpush_gateway_tls_handshake_failures_total{{kind=\"{kind}\",listener=\"{address}\"}}"
        ))
    };
    let failed = |kind: &str, times: f64| {
        wait_until(kind, || count(kind) > times - 0.5);
        assert!(count(kind) < times + 0.5, "{kind}");
    };
    // Sends plain HTTP 50 times.
    for _ in 0..50 {
        let mut plain = Connection::open(address);
        plain.send(Request::get("/").bytes());
        plain.rest().expect("the gateway closes");
    }
    failed("not-tls", 50.0);
    let stranger = Authority::new();
    assert!(tls_connect(&stranger.client(&[]), address, "localhost").is_err());
    failed("alert", 1.0);
    assert!(tls_connect(&servers.client(&["spdy/3"]), address, "localhost").is_err());
    failed("incompatible", 1.0);
    let identity = stranger.sign_client(&CertificateParams::default());
    let as_stranger = servers.client_as(Some(&identity), &[], ALL_VERSIONS);
    if let Ok(mut tls) = tls_connect(&as_stranger, address, "localhost") {
        // In TLS 1.3, a client learns only later that its certificate was refused.
        let answer = tls
            .connection
            .try_send(Request::get("/").bytes())
            .and_then(|()| tls.connection.try_read_answer());
        assert!(answer.is_err());
    }
    failed("client-certificate", 1.0);
    drop(Connection::open(address));
    failed("closed", 1.0);
    let silent = Connection::open(address);
    failed("timeout", 1.0);
    drop(silent);

    for kind in ["not-tls", "alert", "client-certificate"] {
        gateway.log_line(&["a TLS handshake failed", kind]);
    }
    let log = gateway.program.err();
    let lines = |kind: &str| {
        let of_kind = |line: &&str| line.contains("a TLS handshake failed") && line.contains(kind);
        log.lines().filter(of_kind).map(str::to_owned).collect::<Vec<_>>()
    };
    let told = lines("kind=\"not-tls\"");
    assert!((1..50).contains(&told.len()), "{told:?}");
    let address = format!("listener=\"{address}\"");
    assert!(
        told[0].contains("WARN") && told[0].contains(&address) && told[0].contains("suppressed=0"),
        "{told:?}"
    );
    // The line has the cause and the peer's address.
    assert!(lines("kind=\"alert\"")[0].contains("received fatal alert"), "{log}");
    assert!(lines("kind=\"client-certificate\"")[0].contains("peer=\"127.0.0.1\""), "{log}");
    // A load balancer's probe is not logged.
    assert_eq!(lines("kind=\"closed\"").len(), 0, "{log}");
    assert!(serves(&gateway, &servers));
}
