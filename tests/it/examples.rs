//! The configurations in `examples/`: each is good, without a warning, and calls pass through a gateway that has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, SanType};
use rustls::ALL_VERSIONS;

use crate::support::{
    Answer, Authority, Folder, Gateway, Keys, PROGRAM, PUSH, Redis, Request, Stub, basic, sha256_hex, stderr,
    stdout, tls_connect, wait_until,
};

const TO_ALL: &str = r#"{"platform":"all","audience":"all","notification":{"alert":"Hello"}}"#;
const NEWS_MASTER: &str = "e9fa2c9763debd20e7de1eb0";

/// An example in a folder with all that it names.
struct Example {
    text: String,
    folder: Folder,
    authority: Authority,
}

/// The token that a test gives to a caller.
fn token(caller: &str) -> String {
    format!("{caller:a<24}")
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The files that `teams.yaml` includes: their names and texts.
fn included() -> Vec<(String, String)> {
    let files = fs::read_dir(examples().join("teams")).expect("the folder");
    let read = |path: PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
        (name, fs::read_to_string(path).expect("a file"))
    };
    files.map(|entry| read(entry.expect("an entry").path())).collect()
}

impl Example {
    fn new(name: &str) -> Self {
        let text = fs::read_to_string(examples().join(name)).expect("an example");
        let (folder, authority) = (Folder::new(), Authority::new());
        for part in ["secrets", "tls", "teams"] {
            fs::create_dir(folder.path().join(part)).expect("a folder");
        }
        for (name, text) in included() {
            folder.write(&format!("teams/{name}"), text);
        }
        folder.write("secrets/shop-master", format!("{}\n", Keys::SHOP_APP_SECRET));
        folder.write("secrets/shop-group", Keys::SHOP_GROUP_SECRET);
        folder.write("secrets/news-master", NEWS_MASTER);
        folder.write("secrets/redis-url", "redis://127.0.0.1:6379\n");
        let (certificate, key) = authority.sign(&["api.jpush.cn", "device.jpush.cn", "report.jpush.cn"]);
        folder.write("tls/gateway.crt", certificate);
        folder.write("tls/gateway.key", key);
        folder.write("tls/clients-ca.crt", authority.pem());
        Self { text, folder, authority }
    }

    fn command(&self, verb: &str, text: &str) -> Command {
        let path = self.folder.write("gateway.yaml", text);
        let mut command = Command::new(PROGRAM);
        command.arg(verb).arg("--config").arg(path).env("SHOP_MASTER_SECRET", Keys::SHOP_APP_SECRET);
        command
    }

    /// What a file says, but for what a test has to choose: ports, and tokens it knows.
    fn with_known_tokens(written: &str) -> String {
        let mut text = String::new();
        let mut caller = "";
        for line in written.lines() {
            let name = line.strip_prefix("  ").and_then(|line| line.strip_suffix(':'));
            caller = name.filter(|name| !name.starts_with(' ')).unwrap_or(caller);
            let line = match line.split_once("sha256: ") {
                Some((before, _)) => format!("{before}sha256: {} }}", sha256_hex(token(caller).as_bytes())),
                None => line.replace("0.0.0.0:8080", "127.0.0.1:0").replace("0.0.0.0:8443", "127.0.0.1:0"),
            };
            text += &line;
            text.push('\n');
        }
        text
    }

    /// What the example says, but with a vendor of the test's own.
    fn for_a_test(&self, vendor: &Stub) -> String {
        let (text, url) = (Self::with_known_tokens(&self.text), vendor.url());
        text + &format!(
            "admin: {{ address: \"127.0.0.1:0\" }}\nworkers: 1\n\
             vendor: {{ api: \"{url}\", device: \"{url}\", report: \"{url}\" }}\n"
        )
    }

    fn start(self, vendor: &Stub) -> (Gateway, Authority) {
        for (name, text) in included() {
            self.folder.write(&format!("teams/{name}"), Self::with_known_tokens(&text));
        }
        let command = self.command("serve", &self.for_a_test(vendor));
        (Gateway::start_by(self.folder, command), self.authority)
    }
}

fn push(caller: &str, body: &str) -> Request {
    Request::post("/v3/push", body).basic(Keys::SHOP_APP, &token(caller))
}

/// The vendor got a push with the app's credential.
#[track_caller]
fn assert_arrived(vendor: &Stub, answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let requests = vendor.requests();
    let last = requests.last().expect("a request");
    assert_eq!(last.line, "POST /v3/push HTTP/1.1");
    assert_eq!(last.header("Authorization"), Some(&*basic(Keys::SHOP_APP, Keys::SHOP_APP_SECRET)));
}

#[test]
fn every_example_is_good_as_it_is() {
    let mut names: Vec<String> = fs::read_dir(examples())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .filter(|name| !["README.md", "teams"].contains(&&**name))
        .collect();
    names.sort();
    assert_eq!(names, ["minimal.yaml", "replicas.yaml", "teams.yaml", "tls.yaml"], "each is started below");
    for name in names {
        let example = Example::new(&name);
        let output = example.command("check", &example.text).output().expect("the program starts");
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        assert!(!stdout(&output).contains("warning"), "{name}: {}", stdout(&output));
    }
}

#[test]
fn the_minimal_one_pushes() {
    let vendor = Stub::good();
    let (gateway, _) = Example::new("minimal.yaml").start(&vendor);
    assert_arrived(&vendor, &gateway.call(&push("orders", PUSH)));
    let answer = gateway.call(&Request::get("/v3/files").bearer(&token("orders")));
    answer.assert_refused(403, "forbidden", 1105);
}

#[test]
fn teams_have_their_rights_and_shares() {
    let vendor = Stub::good();
    let (gateway, _) = Example::new("teams.yaml").start(&vendor);
    let answer = gateway.call(&push("orders", PUSH));
    assert_eq!(answer.header("X-Rate-Limit-Limit"), Some("3000"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    gateway.call(&push("orders", TO_ALL)).assert_refused(403, "forbidden", 2007);
    gateway.call(&push("analytics", PUSH)).assert_refused(403, "forbidden", 2007);
    assert_eq!(gateway.call(&push("marketing", TO_ALL)).status, 200);
    assert_eq!(gateway.used("app", "broadcast"), 1);
    let report = Request::get("/v3/received?msg_ids=1").bearer(&token("analytics"));
    gateway.call(&report).assert_refused(400, "tenant-required", 1002);
    assert_eq!(gateway.call(&report.header("X-JPush-Tenant", "news")).status, 200);
    let log = gateway.folder.path().join("audit.log");
    wait_until("the audit line", || fs::read_to_string(&log).is_ok_and(|lines| lines.contains("marketing")));
}

#[test]
fn with_tls_certificates_and_tokens_tell_who_calls() {
    let vendor = Stub::good();
    let (gateway, authority) = Example::new("tls.yaml").start(&vendor);
    let mut params = CertificateParams::default();
    let name = Ia5String::try_from("spiffe://corp/orders").expect("ASCII");
    params.subject_alt_names.push(SanType::URI(name));
    let orders = authority.client_as(Some(&authority.sign_client(&params)), &[], ALL_VERSIONS);
    let mut tls = tls_connect(&orders, gateway.address(), "api.jpush.cn").expect("a handshake");
    assert_arrived(&vendor, &tls.connection.call(&Request::post("/v3/push", PUSH)));
    let mut tls =
        tls_connect(&authority.client(&[]), gateway.address(), "device.jpush.cn").expect("a handshake");
    assert_arrived(&vendor, &tls.connection.call(&push("campaigns", PUSH)));
    tls.connection.call(&Request::post("/v3/push", PUSH)).assert_refused(401, "unauthenticated", 1002);
}

#[test]
fn replicas_share_a_budget() {
    let (vendor, store) = (Stub::good(), Redis::start());
    let start = || {
        let example = Example::new("replicas.yaml");
        example.folder.write("secrets/redis-url", store.url());
        example.start(&vendor).0
    };
    let replicas = [start(), start()];
    for gateway in &replicas {
        let answer = gateway.call(&push("orders", PUSH));
        assert_arrived(&vendor, &answer);
        assert_eq!(answer.header("X-Rate-Limit-Limit"), Some("600"));
        // An empty store gives nothing until calls of before would be over: until then each has its own tenth.
        assert_eq!(answer.header("X-Rate-Limit-Remaining"), Some("59"));
        assert_eq!(gateway.status()["store"], "holding back");
    }
}
