//! Tests of the files that the gateway writes: a file has one use, and `check` finds what a start could not write.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::{Config, Folder, Gateway, PROGRAM, Stub, start_failing, stderr};

const SECRET: &str = "5e987ac6d2e04d95a9d8f0d1";

/// A configuration whose tenant `shop` has its secret in the file `shop-app`, with these lines at its end.
fn config(more: &str) -> Config {
    let mut config = Config::new("http://127.0.0.1:1");
    config.more = more.into();
    config
}

fn written(folder: &Folder, config: &Config) -> String {
    folder.write("shop-dev", SECRET);
    folder.write("shop-app", SECRET);
    let yaml = config.yaml().replace("env: SHOP_APP_SECRET", "file: shop-app");
    folder.write("gateway.yaml", yaml).display().to_string()
}

/// What `check` says of a configuration, and whether it is good.
fn check(folder: &Folder, config: &Config) -> (bool, String) {
    let output = Command::new(PROGRAM).args(["check", "--config", &written(folder, config)]).output();
    let output = output.expect("the program starts");
    (output.status.success(), stderr(&output))
}

#[test]
fn a_file_has_one_use() {
    let both = |state: &str, audit: &str| format!("state_file: {state}\naudit: {{ file: {audit} }}");
    for (more, key, other) in [
        (both("both", "./both"), "audit.file", "state_file is the same file"),
        (both("both", "link"), "audit.file", "state_file is the same file"),
        (both("state", "state.keys"), "audit.file", "state_file is the same file"),
        (both("state", "state.keys.old"), "audit.file", "state_file is the same file"),
        (both("state", "state.next"), "audit.file", "state_file is the same file"),
        ("audit: { file: shop-app }".into(), "audit.file", "the configuration is read from it"),
        ("audit: { file: hard }".into(), "audit.file", "the configuration is read from it"),
        ("audit: { file: gateway.yaml }".into(), "audit.file", "the configuration is read from it"),
        (
            "audit: { file: team.yaml }\ninclude: [ 'team*.yaml' ]".into(),
            "audit.file",
            "the configuration is read from it",
        ),
        ("state_file: shop-dev".into(), "state_file", "the configuration is read from it"),
    ] {
        let folder = Folder::new();
        folder.write(
            "team.yaml",
            format!("tenants: {{ news: {{ app: {{ key: newskey, secret: {{ value: {SECRET} }} }} }} }}"),
        );
        written(&folder, &config(""));
        fs::hard_link(folder.path().join("shop-app"), folder.path().join("hard")).expect("a link");
        symlink(folder.path().join("both"), folder.path().join("link")).expect("a link");
        if more.contains("link") {
            folder.write("both", "");
        }
        let (good, said) = check(&folder, &config(&more));
        let expected = format!("{key}: must name a file of its own, which nothing else uses; {other}");
        assert!(!good && said.starts_with(&expected) && said.contains("(line "), "{more}\n{said}");
        // Of a configuration that is started, no secret stands in the file `shop-app`.
        if !more.contains("shop-app") && !more.contains("hard") {
            let (code, said) = start_failing(&folder, &config(&more));
            assert!(code == 1 && said.contains(&expected), "{said}");
        }
        assert_eq!(fs::read_to_string(folder.path().join("shop-app")).expect("the file"), SECRET);
    }
    for more in [both("state", "audit"), both("state", "state.audit"), both("sub/state", "state")] {
        let folder = Folder::new();
        fs::create_dir(folder.path().join("sub")).expect("a folder");
        assert_eq!(check(&folder, &config(&more)), (true, String::new()), "{more}");
        assert!(!folder.path().join("state").exists(), "a check makes no file");
    }
}

#[test]
fn a_reload_does_not_give_a_file_a_second_use() {
    let vendor = Stub::good();
    let mut config = Config::new(&vendor.url());
    config.more = "audit: { file: audit.log }".into();
    let gateway = Gateway::start(&config);
    config.more = "audit: { file: shop-dev }".into();
    gateway.write_config(&config.yaml());
    let answer = gateway.reload();
    assert!(
        answer.status == 422 && answer.text().contains("must name a file of its own"),
        "{}",
        answer.text()
    );
}

/// Somebody without rights to the folder runs `check` here, as a unit's `ExecStartPre` does.
#[test]
fn check_finds_what_a_start_may_not_write() {
    let folder = Folder::new();
    folder.write("old", "");
    let program = folder.path().join("gateway");
    fs::copy(PROGRAM, &program).expect("a copy");
    let path = written(&folder, &config("state_file: new\naudit: { file: audit.log }"));
    let change = |name: &str, mode| {
        fs::set_permissions(folder.path().join(name), Permissions::from_mode(mode)).expect("a file of ours");
    };
    for name in ["gateway.yaml", "shop-app", "shop-dev", "old"] {
        change(name, 0o444);
    }
    change("gateway", 0o555);
    change("", 0o555);
    let check = |more: &str| {
        change("", 0o755);
        change("gateway.yaml", 0o644);
        written_again(&path, more);
        change("gateway.yaml", 0o444);
        change("", 0o555);
        let mut command = Command::new(&program);
        if rustix::process::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        let output = command.args(["check", "--config", &path]).output().expect("the program starts");
        (output.status.code(), stderr(&output))
    };
    let (code, said) = check("state_file: new\naudit: { file: audit.log }");
    let lines: Vec<_> = said.lines().collect();
    assert!(
        code == Some(1)
            && lines.len() == 2
            && lines[0].starts_with("audit.file: ")
            && lines[1].starts_with("state_file: ")
            && lines.iter().all(|line| line.contains("Permission denied")),
        "{said}"
    );
    let (code, said) = check("state_file: old");
    assert!(code == Some(1) && said.contains("state_file: ") && said.contains("Permission denied"), "{said}");
    assert_eq!(check("").0, Some(0));
    change("", 0o755);
}

/// Writes the file at `path` with these lines at its end.
fn written_again(path: &str, more: &str) {
    let yaml = config(more).yaml().replace("env: SHOP_APP_SECRET", "file: shop-app");
    fs::write(path, yaml).expect("a file of ours");
}
