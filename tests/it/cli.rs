//! Tests of the command line: what is printed where, and the exit code.

use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{
    Config, Connection, Folder, Gateway, Keys, PROGRAM, Program, Request, Stub, Tokens, basic, json_answer,
    run, sha256_hex, stderr, stdout, wait_for,
};

/// Runs the program with this configuration in a folder of its own, and with the secret of the tenant shop in the
/// environment.
fn run_with(config: &str, arguments: &[&str]) -> Output {
    let folder = Folder::new();
    folder.write("shop-dev", Keys::SHOP_DEV_SECRET);
    let path = folder.write("gateway.yaml", config);
    let mut command = Command::new(PROGRAM);
    command.args(&arguments[..1]).arg("--config").arg(path).args(&arguments[1..]);
    command.env("SHOP_APP_SECRET", Keys::SHOP_APP_SECRET).output().expect("the program starts")
}

fn good() -> String {
    Config::new("http://127.0.0.1:1").yaml()
}

#[test]
fn check_sums_a_good_configuration_up_without_its_secrets() {
    let output = run_with(&good(), &["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output) + &stderr(&output);
    for word in
        ["good", "127.0.0.1:0", "shop", "market", "orders", Keys::SHOP_APP, Keys::SHOP_GROUP, "push 600/1m"]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(said.contains("warning"), "a secret written into the file is warned of: {said}");
    for secret in Keys::SECRETS {
        assert!(!said.contains(secret), "{said}");
    }
}

#[test]
fn check_names_every_fault_in_one_run() {
    let faulty = good()
        .replace("budgets: {", "budgets: { push: { limit: 0, window: 60s },")
        .replace("guard: 10s", "guard: soon\ncolour: red")
        .replace("env: SHOP_APP_SECRET", "env: NOT_SET_ANYWHERE_1")
        .replace("tenants: [ shop, market ]", "tenants: [ shop, nowhere ]");
    let output = run_with(&faulty, &["check"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    let lines: Vec<_> = said.lines().collect();
    // Two callers name `nowhere`.
    let paths = [
        "budgets.push.limit",
        "guard",
        "colour",
        "tenants.shop.app.secret",
        "callers.both.tenants",
        "callers.filer.tenants",
    ];
    assert_eq!(lines.len(), paths.len(), "{said}");
    for path in paths {
        assert_eq!(lines.iter().filter(|line| line.contains(path)).count(), 1, "{path}: {said}");
    }
    assert!(stdout(&output).is_empty());
}

#[test]
fn check_tells_the_line_what_was_written_and_what_was_meant() {
    let faulty = good()
        .replace("guard: 10s", "guard: soon")
        .replace("env: SHOP_APP_SECRET", "env: NOT_SET_ANYWHERE_1")
        .replace("file: shop-dev", "file: not-there")
        .replace("allow: [ push ]", "allow: [ pusch ]")
        .replace("tenants: [ shop ], allow", "tenants: [ shpo ], allow")
        .replace("workers: 1", "worker: 1");
    let output = run_with(&faulty, &["check"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    let rows = [
        ("guard", "soon", "\"soon\""),
        ("tenants.shop.app.secret", "NOT_SET", "the variable NOT_SET_ANYWHERE_1 is not set"),
        ("tenants.shop.dev.secret", "not-there", "not-there\" cannot be read"),
        ("callers.pusher.allow[0]", "pusch ]", "did you mean push?"),
        ("callers.pusher.tenants[0]", "pusch ]", "\"shpo\"; did you mean shop?"),
        ("worker", "worker: 1", "did you mean workers?"),
    ];
    assert_eq!(said.lines().count(), rows.len(), "{said}");
    for (key, written, expected) in rows {
        let number = 1 + faulty.lines().position(|line| line.contains(written)).expect("it was written");
        let line = said.lines().find(|line| line.starts_with(&format!("{key}: "))).expect(key);
        assert!(line.contains(expected) && line.ends_with(&format!(" (line {number})")), "{key}: {said}");
    }
}

#[test]
fn a_secret_that_nobody_filled_in_stops_the_start() {
    let with = |secret: &str| {
        let folder = Folder::new();
        folder.write("shop-dev", Keys::SHOP_DEV_SECRET);
        let path = folder.write("gateway.yaml", good());
        let mut command = Command::new(PROGRAM);
        command.arg("check").arg("--config").arg(path).env("SHOP_APP_SECRET", secret);
        let output = command.output().expect("the program starts");
        (output.status.code(), stdout(&output) + &stderr(&output))
    };
    for secret in
        ["${SHOP_SECRET}", "{{ shop_secret }}", "changeme", "replace-me\n", "<secret>", "your-master-secret"]
    {
        let (code, said) = with(secret);
        assert_eq!(code, Some(1), "{secret}: {said}");
        assert!(said.contains("tenants.shop.app.secret: the variable SHOP_APP_SECRET holds"), "{said}");
        assert!(!said.contains(secret.trim()), "{said}");
    }
    let good = Keys::SHOP_APP_SECRET;
    let doubtful = [
        (format!(" {good}"), "blanks"),
        (format!("\"{good}\""), "quotes"),
        (format!("SHOP_APP_SECRET={good}"), "NAME=value"),
        (good[1..].to_owned(), "24 letters and digits"),
    ];
    for (secret, expected) in doubtful {
        let (code, said) = with(&secret);
        assert_eq!(code, Some(0), "{said}");
        let warning = said
            .lines()
            .find(|line| line.starts_with("warning: tenants.shop.app.secret: "))
            .expect("a warning");
        assert!(warning.contains("the variable SHOP_APP_SECRET") && warning.contains(expected), "{warning}");
        assert!(!said.contains(good), "{said}");
    }
    let (code, said) = with(good);
    assert!(code == Some(0) && !said.contains("warning: tenants.shop.app"), "{said}");
}

#[test]
fn what_cannot_be_read_is_refused() {
    let output = run(&["check", "--config", "/nonexistent/gateway.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("gateway.yaml"));
    for broken in ["", "[]", "listeners: [", "listeners: []\ntenants: {}\ncallers: {}\n", "\u{0}"] {
        for command in ["check", "serve"] {
            let output = run_with(broken, &[command]);
            assert_eq!(output.status.code(), Some(1), "{command} {broken:?}");
            assert!(!stderr(&output).is_empty() && stdout(&output).is_empty());
        }
    }
}

#[test]
fn an_empty_secret_stops_the_start() {
    let folder = Folder::new();
    folder.write("shop-dev", "\n");
    let path = folder.write("gateway.yaml", good());
    let mut command = Command::new(PROGRAM);
    let output = command
        .arg("serve")
        .arg("--config")
        .arg(path)
        .env("SHOP_APP_SECRET", "x")
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("tenants.shop.dev"), "{}", stderr(&output));
}

#[test]
fn explain_tells_what_would_become_of_a_call() {
    let output = run_with(&good(), &["explain", "POST", "/v3//push/", "--as", "orders"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    for word in ["push", "orders", "shop", "app", Keys::SHOP_APP, "600", "http://127.0.0.1:1/v3/push"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(Keys::SECRETS.iter().all(|secret| !said.contains(secret)));
    let output = run_with(
        &good(),
        &["explain", "GET", "/v3/group/users?x=1", "--as", "both", "--tenant", "shop", "--json"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let group = format!("group-{}", Keys::SHOP_GROUP);
    for (member, value) in [
        ("operation", "report-group-users"),
        ("caller", "both"),
        ("tenant", "shop"),
        ("credential", "group"),
        ("key", &group),
        ("scope", "report"),
    ] {
        assert_eq!(json[member], value, "{json}");
    }
    assert_eq!((&json["budgets"][0]["name"], &json["budgets"][0]["limit"]), (&"report".into(), &2400.into()));
}

#[test]
fn explain_names_the_budgets_that_an_audience_draws_on() {
    let mut config = Config::new("http://127.0.0.1:1");
    config.budgets = "broadcast: { limit: 10, window: 24h }".into();
    let drawn = |method: &str, path: &str| {
        let output = run_with(&config.yaml(), &["explain", method, path, "--as", "orders", "--json"]);
        let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let budgets = json["budgets"].as_array().expect("an array").clone();
        budgets.iter().map(|budget| budget["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    for (method, path, expected) in [
        ("POST", "/v3/push", &["push", "broadcast"][..]),
        ("POST", "/v3/push/validate", &["push"]),
        ("POST", "/v3/push/template", &["push", "file", "broadcast"]),
        ("POST", "/v3/push/template/schedule", &["push", "file", "broadcast"]),
        ("POST", "/v3/push/file", &["file"]),
        ("PUT", "/v3/schedules/1", &["schedule", "file", "broadcast"]),
        ("POST", "/v3/push_plan/create", &["push"]),
    ] {
        assert_eq!(drawn(method, path), expected, "{path}");
    }
}

#[test]
fn explain_tells_the_refusal_that_a_caller_would_get() {
    let rows: [(&[&str], &str, u64, u64); 7] = [
        (&["GET", "/v3/nothing", "--as", "orders"], "unknown-endpoint", 404, 1001),
        (&["GET", "/v3/push", "--as", "orders"], "method-not-allowed", 405, 1001),
        (&["GET", "/v3/push/..", "--as", "orders"], "bad-path", 400, 1003),
        (&["GET", "/v3/tags", "--as", "pusher"], "forbidden", 403, 2007),
        (&["GET", "/v3/files", "--as", "pusher"], "forbidden", 403, 1105),
        (&["POST", "/v3/push", "--as", "both"], "tenant-required", 400, 1002),
        (&["POST", "/v3/push", "--as", "nobody"], "unauthenticated", 401, 1004),
    ];
    for (arguments, reason, status, code) in rows {
        let arguments = [&["explain"], arguments].concat();
        let output = run_with(&good(), &arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stdout(&output).contains(reason), "{}", stdout(&output));
        let output = run_with(&good(), &[&*arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(1));
        let json: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        assert_eq!(
            (&json["reason"], &json["status"], &json["code"]),
            (&reason.into(), &status.into(), &code.into())
        );
    }
}

#[test]
fn a_new_token_and_its_digest() {
    let token = || {
        let output = run(&["token", "new"]);
        assert_eq!(output.status.code(), Some(0));
        let said = stdout(&output);
        let word = |name: &str| {
            let line =
                said.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{said}"));
            line.trim().to_owned()
        };
        (word("token:"), word("sha256:"))
    };
    let ((one, digest), (other, _)) = (token(), token());
    assert!(one.len() == 24 && one.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{one}");
    assert_eq!(digest, sha256_hex(one.as_bytes()));
    assert_ne!(one, other);
}

#[test]
fn health_is_the_readiness_of_a_running_gateway() {
    let vendor = Stub::good();
    let gateway = Gateway::start(&Config::new(&vendor.url()));
    let health = |address: String| run(&["health", "--admin", &address]).status.code();
    assert_eq!(health(gateway.admin.to_string()), Some(0));
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    assert_eq!(health(free.to_string()), Some(1));
    let unready = Stub::answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(health(unready.address.to_string()), Some(1));
}

#[test]
fn wrong_usage_and_help() {
    let wrong: [&[&str]; 9] = [
        &[],
        &["fly"],
        &["serve"],
        &["check", "--config"],
        &["token"],
        &["token", "old"],
        &["explain", "--config", "x", "GET"],
        &["health", "--admin", "nowhere"],
        &["sandbox", "--windows", "round"],
    ];
    for arguments in wrong {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(!stderr(&output).is_empty());
    }
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for command in ["serve", "check", "explain", "demo", "sandbox", "token", "health"] {
        assert!(stdout(&help).contains(command), "{command}");
        assert_eq!(run(&[command, "--help"]).status.code(), Some(0), "{command}");
    }
    let version = run(&["--version"]);
    assert!(stdout(&version).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_sandbox_runs_alone() {
    let mut command = Command::new(PROGRAM);
    command.args(["sandbox", "--listen", "127.0.0.1:0", "--window", "1s", "--windows", "sliding"]);
    let mut sandbox = Program::start(&mut command);
    let address = wait_for("the line that tells where the sandbox is", || {
        sandbox.out().lines().find_map(|line| line.split_once("http://")?.1.trim().parse().ok())
    });
    // Without a configuration, the sandbox has the demo's accounts.
    let request = Request::get("/v3/push/cid?count=2")
        .header("Authorization", &basic(Keys::SHOP_APP, Keys::SHOP_APP_SECRET));
    let answer = Connection::open(address).call(&request);
    assert_eq!((answer.status, answer.json()["cidlist"].as_array().map(Vec::len)), (200, Some(2)));
    let wrong = Request::get("/v3/push/cid").basic(Keys::SHOP_APP, Tokens::ORDERS);
    assert_eq!(Connection::open(address).call(&wrong).status, 401);
    sandbox.signal("TERM");
    assert_eq!(sandbox.wait().code(), Some(0));
}

#[test]
fn the_configuration_can_be_named_by_a_variable_and_in_short() {
    let run = |arguments: &[&str], variable: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env("JPUSH_GATEWAY_CONFIG", variable).output().expect("the program starts")
    };
    assert!(stdout(&run(&["check"], "config/demo.yaml")).starts_with("good"));
    assert!(stdout(&run(&["check", "-c", "config/demo.yaml"], "not/there.yaml")).starts_with("good"));
    assert_eq!(run(&["check"], "not/there.yaml").status.code(), Some(1));
}

#[test]
fn check_tells_programs_as_json() {
    let good = run_with(&good(), &["check", "--json"]);
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    let told: Value = serde_json::from_str(&stdout(&good)).expect("JSON");
    assert_eq!((&told["good"], &told["tenants"]["shop"]["app"]), (&true.into(), &Keys::SHOP_APP.into()));
    assert_eq!(told["callers"]["pusher"]["allow"], serde_json::json!(["push"]));
    assert!(told["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty()));

    let faulty = self::good().replace("guard: 10s", "guard: soon").replace("workers: 1", "worker: 1");
    let output = run_with(&faulty, &["check", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let line = |what: &str| {
        let before = faulty.lines().take_while(|line| !line.contains(what)).count();
        u64::try_from(before).ok().map(|before| before + 1)
    };
    let list = told["faults"].as_array().expect("a list");
    let found: Vec<_> = list.iter().map(|fault| (fault["key"].as_str(), fault["line"].as_u64())).collect();
    assert_eq!(found.len(), 2, "{told}");
    for expected in [(Some("guard"), line("soon")), (Some("worker"), line("worker: 1"))] {
        assert!(found.contains(&expected), "{told}");
    }
    assert!(list.iter().all(|fault| fault["message"].is_string() && fault["file"].is_string()), "{told}");
    assert_eq!(told["good"], false);
}

#[test]
fn shells_and_manuals_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        assert_eq!(script.status.code(), Some(0));
        assert!(stdout(&script).contains("explain"), "{shell}");
    }
    assert_eq!(run(&["completions", "cmd.exe"]).status.code(), Some(2));
    let page = stdout(&run(&["man"]));
    assert!(page.contains(".TH") && page.contains("jpush\\-gateway") && page.contains("explain"), "{page}");
    let page = stdout(&run(&["man", "validate", "image"]));
    assert!(page.contains("image\\-type") || page.contains("\\-\\-image\\-type"), "{page}");
    let head = format!(".TH jpush-gateway-validate-image 1  \"jpush-gateway {}\"", env!("CARGO_PKG_VERSION"));
    assert!(page.contains(&head), "{page}");
    assert_eq!(run(&["man", "nothing"]).status.code(), Some(2));
}

#[test]
fn a_program_of_another_name_tells_its_own() {
    let folder = Folder::new();
    let renamed = folder.path().join("gateway-new");
    std::os::unix::fs::symlink(PROGRAM, &renamed).expect("a link");
    for (arguments, usage) in [
        (&["--help"][..], "Usage: jpush-gateway <COMMAND>"),
        (&["serve", "--help"], "Usage: jpush-gateway serve "),
        (&["validate", "image", "--help"], "Usage: jpush-gateway validate image "),
    ] {
        let output = Command::new(&renamed).args(arguments).output().expect("the program starts");
        assert!(stdout(&output).contains(usage), "{}", stdout(&output));
    }
}

#[test]
fn a_bad_log_filter_is_told() {
    let told = |value: &str| {
        let mut config = Config::new("http://127.0.0.1:1");
        config.more = "log: text".into();
        let folder = Folder::new();
        folder.write("shop-dev", Keys::SHOP_DEV_SECRET);
        // The address of the admin pages is taken, so the program ends at once.
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        config.admin_address = taken.local_addr().expect("an address").to_string();
        let path = folder.write("gateway.yaml", config.yaml());
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--config"]).arg(path).env("SHOP_APP_SECRET", Keys::SHOP_APP_SECRET);
        let output = command.env("JPUSH_GATEWAY_LOG", value).output().expect("the program starts");
        stderr(&output)
    };
    for bad in ["inof", "info,jpush_gateway=loud", "jpush_gateway"] {
        let said = told(bad);
        assert!(
            said.contains("JPUSH_GATEWAY_LOG") && said.contains("info,jpush_gateway=debug"),
            "{bad}: {said}"
        );
    }
    for good in ["", "debug", "warn,jpush_gateway=info", "OFF"] {
        assert!(!told(good).contains("JPUSH_GATEWAY_LOG"), "{good}");
    }
}

#[test]
fn trace_tells_the_story_of_a_push() {
    let vendor = Stub::start(|talk| {
        while let Some(request) = talk.read_request() {
            let is_push = request.line.starts_with("POST");
            talk.write(json_answer(
                "200 OK",
                if is_push { r#"{"sendno":"0","msg_id":"181002870"}"# } else { "{}" },
            ));
        }
    });
    let folder = Folder::new();
    let audit = folder.write("audit.log", "");
    let mut config = Config::new(&vendor.url());
    config.more = format!("audit: {{ file: {} }}", audit.display());
    let gateway = Gateway::start(&config);
    let cid = format!("{}-0b1e6f4a-9d0e-4a7c-8f51-3c2d1e0f9a8b", Keys::SHOP_APP);
    let body = format!(
        r#"{{"cid":"{cid}","platform":"all","audience":{{"alias":["anna"]}},"notification":{{"alert":"Hello"}}}}"#
    );
    let push = |id: &str| Request::post("/v3/push", &body).bearer(Tokens::ORDERS).header("X-Request-Id", id);
    for id in ["first", "again"] {
        assert_eq!(gateway.call(&push(id)).status, 200);
    }
    gateway.call(&Request::get("/v3/tags").bearer(Tokens::ORDERS).header("X-Request-Id", "other"));
    wait_for("the lines", || (gateway.lines().len() == 3).then_some(()));
    wait_for("the audit", || (std::fs::read_to_string(&audit).ok()?.lines().count() == 2).then_some(()));
    let access = folder.write("access.log", gateway.program.out() + "not a line\n");
    let files = [access.display().to_string(), audit.display().to_string()];
    let trace = |option: &str, id: &str, more: &[&str]| {
        run(&[&["trace", &files[0], &files[1], option, id], more].concat())
    };
    for (option, id) in [("--cid", &*cid), ("--request-id", "first"), ("--msg-id", "181002870")] {
        let output = trace(option, id, &[]);
        let told = stdout(&output);
        assert_eq!((output.status.code(), told.lines().count()), (Some(0), 4), "{option}: {told}");
        assert!(told.contains("request first: push by orders (token 2026-11) for shop"), "{told}");
        assert!(told.contains("request again: ") && told.contains(&cid) && !told.contains("other"), "{told}");
        assert!(stderr(&output).starts_with("1 line(s)"), "{}", stderr(&output));
    }
    let lines = stdout(&trace("--request-id", "first", &["--json"]));
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{lines}");
    // As grep: 0 found, 1 nothing found, 2 not searched.
    assert_eq!(trace("--request-id", "nobody", &[]).status.code(), Some(1));
    assert_eq!(run(&["trace", &files[0]]).status.code(), Some(2), "an id is needed");
    let folder = folder.path().display().to_string();
    for unreadable in ["not-there.log", &folder] {
        let output = run(&["trace", &files[0], unreadable, "--request-id", "first"]);
        assert_eq!((output.status.code(), &*stdout(&output)), (Some(2), ""), "{unreadable}");
        assert!(
            stderr(&output).starts_with(&format!("{unreadable} cannot be read: ")),
            "{}",
            stderr(&output)
        );
    }
}
