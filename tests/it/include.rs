//! Tests of `include`: files with tenants and callers of their own, as the commands and a running gateway see them.

use std::fs;
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
