//! Tests of `include`: files with tenants and callers of their own, as the commands and a running gateway see them.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{
    Answer, Config, Folder, Gateway, Keys, PROGRAM, PUSH, Request, Stub, Tokens, serve, sha256_hex, stderr,
    stdout, wait_until,
};

/// A team's file: an app and a caller of it, both of the team's name.
fn team(name: &str) -> String {
    let digest = sha256_hex(token(name).as_bytes());
    format!(
        "tenants:\n  {name}: {{ app: {{ key: {name:a<24}, secret: {{ value: 5e987ac6d2e04d95a9d8f0d1 }} }} }}\n\
         callers:\n  {name}: {{ tokens: [ {{ sha256: {digest} }} ], tenants: [ {name} ], allow: [ push ] }}\n"
    )
}

fn token(team: &str) -> String {
    format!("{team}TokenForTests202611")
}

fn push(team: &str) -> Request {
    Request::post("/v3/push", PUSH).bearer(&token(team))
}

/// A folder with these teams' files, and the text of a configuration that includes them.
fn folder(teams: &[&str], vendor: &Stub) -> (Folder, Config) {
    let folder = Folder::new();
    fs::create_dir(folder.path().join("teams")).expect("a folder");
    for name in teams {
        folder.write(&format!("teams/{name}.yaml"), team(name));
    }
    let mut config = Config::new(&vendor.url());
    config.more = "include: [ \"teams/*.yaml\" ]".into();
    (folder, config)
}

fn start(teams: &[&str]) -> (Gateway, Stub) {
    let vendor = Stub::good();
    let (folder, config) = folder(teams, &vendor);
    let command = serve(&folder, &config);
    (Gateway::start_by(folder, command), vendor)
}

#[track_caller]
fn changed(answer: &Answer) -> Value {
    assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("success")), "{}", answer.text());
    answer.json()["changed"].clone()
}

#[test]
fn teams_call_with_what_their_files_say() {
    let (gateway, vendor) = start(&["north", "south"]);
    for team in ["north", "south"] {
        assert_eq!(gateway.call(&push(team)).status, 200);
    }
    assert_eq!(gateway.call(&Request::post("/v3/push", PUSH).bearer(Tokens::PUSHER)).status, 200);
    assert_eq!(vendor.requests().len(), 3);
    gateway.call(&push("north").header("X-JPush-Tenant", "south")).assert_refused(403, "forbidden", 2007);
}

#[test]
fn new_changed_and_removed_files_are_seen() {
    let (gateway, _vendor) = start(&["north"]);
    let reloads = || gateway.metric("jpush_gateway_config_reloads_total{result=\"success\"}");
    let loaded = |number: u32| wait_until("the reload", || reloads() >= f64::from(number));
    gateway.call(&push("south")).assert_refused(401, "unauthenticated", 1004);
    gateway.folder.write("teams/south.yaml", team("south"));
    loaded(2);
    assert_eq!(gateway.call(&push("south")).status, 200);
    gateway.folder.write("teams/south.yaml", team("south").replace("[ push ]", "[ file ]"));
    loaded(3);
    gateway.call(&push("south")).assert_refused(403, "forbidden", 2007);
    let said = gateway.program.err();
    assert!(said.contains("tenant south added; caller south added"), "{said}");
    assert!(said.contains("caller south changed: allow"), "{said}");
    fs::remove_file(gateway.folder.path().join("teams/north.yaml")).expect("the file goes");
    loaded(4);
    gateway.call(&push("north")).assert_refused(401, "unauthenticated", 1004);
    // Hidden files and those of another name are nobody's.
    gateway.folder.write("teams/.west.yaml", "nonsense: 1");
    gateway.folder.write("teams/west.yaml~", "nonsense: 1");
    gateway.folder.write("teams/north.yaml", team("north"));
    assert_eq!(changed(&gateway.reload()), json!(["tenant north added", "caller north added"]));
    assert_eq!(gateway.call(&push("north")).status, 200);
}

#[test]
fn a_fault_in_one_file_changes_nothing_and_names_it() {
    let (gateway, _vendor) = start(&["north", "south"]);
    gateway.folder.write("teams/north.yaml", team("north").replace("[ push ]", "[ pusch ]"));
    gateway.folder.write("teams/west.yaml", team("south").replace("southTok", "x"));
    let answer = gateway.reload();
    assert_eq!((answer.status, &answer.json()["result"]), (422, &json!("failure")), "{}", answer.text());
    let faults = answer.json()["faults"].to_string();
    let names =
        ["teams/north.yaml (line 4)", "did you mean push?", "teams/south.yaml", "teams/west.yaml (line 2)"];
    for name in names {
        assert!(faults.contains(name), "{name}: {faults}");
    }
    assert_eq!(gateway.call(&push("north")).status, 200);
    fs::remove_file(gateway.folder.path().join("teams/west.yaml")).expect("the file goes");
    gateway.folder.write("teams/north.yaml", team("north"));
    assert_eq!(changed(&gateway.reload()), json!([]));
}

/// The files that all reloads so far have parsed, and those that the last one read, as the log tells it.
#[track_caller]
fn parsed(gateway: &Gateway) -> (usize, usize) {
    let lines = || gateway.logged(&["the configuration was reloaded"]);
    let reloads = || gateway.metric("jpush_gateway_config_reloads_total{result=\"success\"}").to_string();
    wait_until("the line of each reload", || (lines().len() + 1).to_string() == reloads());
    let number = |line: &String, field: &str| {
        let rest = line.split_once(&format!(" {field}=")).unwrap_or_else(|| panic!("no {field}: {line}")).1;
        rest.split_whitespace().next().and_then(|digits| digits.parse::<usize>().ok()).expect("a number")
    };
    let lines = lines();
    let all = lines.iter().map(|line| number(line, "files_parsed")).sum();
    (all, lines.last().map_or(0, |line| number(line, "files")))
}

/// Reloads, and checks what changed, how many files were parsed for it and how many there are.
#[track_caller]
fn check_reload(gateway: &Gateway, expected: &Value, files_parsed: usize, files: usize) {
    let before = parsed(gateway).0;
    assert_eq!(changed(&gateway.reload()), *expected);
    let (after, count) = parsed(gateway);
    assert_eq!((after - before, count), (files_parsed, files));
}

#[test]
fn a_reload_parses_the_files_alone_that_changed() {
    let (gateway, _vendor) = start(&["north", "south", "west"]);
    let teams = gateway.folder.path().join("teams");
    let write = |name: &str, text: String| gateway.folder.write(&format!("teams/{name}.yaml"), text);
    let remove = |name: &str| fs::remove_file(teams.join(format!("{name}.yaml"))).expect("the file goes");
    check_reload(&gateway, &json!([]), 0, 4);

    // Another content of the same length and date.
    let path = teams.join("south.yaml");
    let date = fs::metadata(&path).and_then(|file| file.modified()).expect("a date");
    write("south", team("south").replace("[ push ]", "[ file ]"));
    File::options()
        .append(true)
        .open(&path)
        .and_then(|file| file.set_modified(date))
        .expect("the date is set");
    check_reload(&gateway, &json!(["caller south changed: allow"]), 1, 4);
    gateway.call(&push("south")).assert_refused(403, "forbidden", 2007);

    // A new file, and then another secret in the file that it names.
    gateway.folder.write("east-secret", "5e987ac6d2e04d95a9d8f0d1");
    let east = team("east").replace("{ value: 5e987ac6d2e04d95a9d8f0d1 }", "{ file: east-secret }");
    write("east", east.clone());
    check_reload(&gateway, &json!(["tenant east added", "caller east added"]), 1, 5);
    gateway.folder.write("east-secret", "6e987ac6d2e04d95a9d8f0d1");
    check_reload(&gateway, &json!(["tenant east changed: app"]), 0, 5);

    // A file with another name, entries that move to another file, and a file that is gone.
    remove("east");
    write("levant", east);
    check_reload(&gateway, &json!([]), 0, 5);
    let entry =
        |key: &str, of: &str| team(of).lines().skip_while(|line| *line != key).nth(1).map(str::to_owned);
    let both = ["tenants:", "callers:"].map(|key| {
        format!(
            "{key}\n{}\n{}\n",
            entry(key, "north").expect("an entry"),
            entry(key, "west").expect("an entry")
        )
    });
    write("north", both.concat());
    write("west", "# with those of the north".to_owned());
    check_reload(&gateway, &json!([]), 2, 5);
    remove("south");
    check_reload(&gateway, &json!(["tenant south removed", "caller south removed"]), 0, 4);

    // A value of the main file that holds for the entries of all.
    let main = fs::read_to_string(gateway.folder.path().join("gateway.yaml")).expect("a text");
    gateway.write_config(&main.replacen("budgets: {", "budgets: { report: { limit: 7 },", 1));
    let all =
        ["shop", "market", "east", "north", "west"].map(|name| format!("tenant {name} changed: budgets"));
    check_reload(&gateway, &json!(all), 1, 4);

    // After a fault, what is known is still what is in use.
    write("north", "tenants: [".to_owned());
    gateway.folder.write("east-secret", "");
    assert_eq!(gateway.reload().status, 422);
    write("north", both.concat());
    assert_eq!(gateway.reload().status, 422);
    gateway.folder.write("east-secret", "7e987ac6d2e04d95a9d8f0d1");
    check_reload(&gateway, &json!(["tenant east changed: app"]), 0, 4);
    for team in ["north", "west", "east"] {
        assert_eq!(gateway.call(&push(team)).status, 200);
    }
}

/// Runs a command on the folder's configuration.
fn run(folder: &Folder, config: &Config, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(PROGRAM);
    let path = folder.write("gateway.yaml", config.yaml());
    folder.write("shop-dev", Keys::SHOP_DEV_SECRET);
    command.arg(arguments[0]).arg("--config").arg(path).args(&arguments[1..]);
    let output = command.env("SHOP_APP_SECRET", Keys::SHOP_APP_SECRET).output().expect("the program starts");
    (output.status.code(), stdout(&output), stderr(&output))
}

#[test]
fn check_and_explain_read_all_files() {
    let vendor = Stub::good();
    let (folder, config) = folder(&["north"], &vendor);
    let (code, said, _) = run(&folder, &config, &["check"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("tenant north: ") && said.contains("caller north: "), "{said}");
    assert!(said.contains("teams/north.yaml (line 2)"), "the warning about the secret in the file: {said}");
    let (code, said, _) = run(&folder, &config, &["explain", "POST", "/v3/push", "--as", "north"]);
    assert!(code == Some(0) && said.contains("tenant:     north"), "{said}");
    let text = [config.yaml(), team("north")].concat();
    assert!(run(&folder, &config, &["check"]).1.contains(&sha256_hex(text.as_bytes())));
}

#[test]
fn files_that_cannot_be_read_are_faults() {
    let vendor = Stub::good();
    let (folder, mut config) = folder(&["north"], &vendor);
    let teams = folder.path().join("teams");
    let faults = |config: &Config| {
        let (code, _, said) = run(&folder, config, &["check"]);
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
        said
    };
    fs::create_dir(teams.join("folder.yaml")).expect("a folder");
    assert!(faults(&config).contains("teams/folder.yaml\" is not a regular file"));
    fs::remove_dir(teams.join("folder.yaml")).expect("it goes");
    symlink("loop.yaml", teams.join("loop.yaml")).expect("a link");
    assert!(faults(&config).contains("teams/loop.yaml\" cannot be read"));
    fs::remove_file(teams.join("loop.yaml")).expect("it goes");
    symlink("gone", teams.join("dangling.yaml")).expect("a link");
    assert!(faults(&config).contains("teams/dangling.yaml\" cannot be read"));
    fs::remove_file(teams.join("dangling.yaml")).expect("it goes");
    folder.write("teams/wide.yaml", b"\xff\xfea\0");
    assert!(faults(&config).contains("teams/wide.yaml\" is UTF-16"));
    fs::remove_file(teams.join("wide.yaml")).expect("it goes");
    config.more = "include: [ teams/none.yaml ]".into();
    assert!(faults(&config).contains("include[0]: the file"));
    config.more = "include: [ \"others/*.yaml\" ]".into();
    let (code, said, _) = run(&folder, &config, &["check"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("warning: include[0]: \"others/*.yaml\" matches no file"), "{said}");
}
