//! Tests of `include`: entries of several files, and faults that name their file.

use super::*;

const NEWS: &str = "tenants: { news: { app: { key: newskey, secret: { env: OTHER_SECRET } } } }";

fn news_caller(tenants: &str) -> String {
    format!(
        "callers: {{ news: {{ tokens: [ {{ sha256: {OTHER_DIGEST} }} ], tenants: {tenants}, allow: [ push ] }} }}"
    )
}

/// The main file includes `include`, and the other files are in its folder.
fn load(include: &str, files: &[(&'static str, String)]) -> Result<Config, ConfigFaults> {
    let mut fixture = Fixture::default();
    fixture.files.extend(files.iter().map(|(path, text)| (*path, text.clone().into_bytes())));
    let text = top(&format!("include: {include}"));
    let base = Path::new("/etc/gateway");
    let outside = Outside::new(base, &fixture);
    let result =
        read_all(Some(&base.join("gateway.yaml")), Zeroizing::new(text), &outside, &ParsedFiles::default());
    if let Err(faults) = &result {
        let shown = faults.to_string();
        assert!(SECRETS.iter().all(|secret| !shown.contains(secret)), "a secret in:\n{shown}");
    }
    result
}

#[track_caller]
fn faults(include: &str, files: &[(&'static str, String)]) -> Vec<String> {
    let faults = load(include, files).err().expect("bad");
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn tenants_and_callers_of_all_files_stand_together() {
    let a = ("/etc/gateway/teams/a.yaml", news_caller("[ news, shop ]"));
    let b = ("/etc/gateway/teams/b.yaml", format!("\u{feff}{NEWS}"));
    let other = ("/etc/gateway/teams/.b.yaml", "nonsense: 1".to_owned());
    for include in
        ["[ teams/a.yaml, teams/b.yaml ]", "[ 'teams/*.yaml' ]", "[ teams/b.yaml, '/etc/*/teams/?.yaml' ]"]
    {
        let config =
            load(include, &[a.clone(), b.clone(), other.clone()]).unwrap_or_else(|faults| panic!("{faults}"));
        let tenants: Vec<_> = config.tenants.iter().map(|tenant| &*tenant.name).collect();
        let callers: Vec<_> = config.callers.iter().map(|caller| &*caller.name).collect();
        assert_eq!((tenants, callers), (vec!["shop", "news"], vec!["orders", "news"]), "{include}");
        assert_eq!(config.callers[1].tenants, ["news", "shop"]);
        assert_eq!(warnings(&config), Vec::<&str>::new());
    }
    let one = load("[ teams/a.yaml, teams/b.yaml ]", &[a.clone(), b.clone()]).expect("good").digest;
    let texts = [&*top("include: [ teams/a.yaml, teams/b.yaml ]"), &a.1, &b.1].concat();
    assert_eq!(one, TokenDigest::of(texts.as_bytes()).to_hex(), "as sha256sum says of all files");
}

#[test]
fn all_tenants_and_callers_may_be_included() {
    let mut fixture = Fixture::default();
    let text = top("");
    let (main, rest) = text.split_once("tenants:").expect("tenants");
    fixture.files.insert("/etc/gateway/rest.yaml", format!("tenants:{rest}").into_bytes());
    let read =
        |main: &str| parse(main, Path::new("/etc/gateway"), &fixture).map_err(|faults| faults.to_string());
    assert!(read(&format!("{main}include: [ rest.yaml ]")).is_ok());
    assert_eq!(
        read(&format!("{main}include: []")).err().as_deref(),
        Some("tenants: missing\ncallers: missing")
    );
    assert_eq!(
        read(&format!("{main}include: [ none.yaml ]")).err().as_deref(),
        Some("include[0]: the file \"/etc/gateway/none.yaml\" cannot be read: entity not found (line 2)")
    );
}

#[test]
fn paths_start_from_the_folder_of_the_main_file() {
    let text = NEWS.replace("{ env: OTHER_SECRET }", "{ file: secret }");
    let config = load("[ teams/a.yaml ]", &[("/etc/gateway/teams/a.yaml", text)]).expect("good");
    assert_eq!(config.tenants[1].app.secret.expose(), "hunter2-from-file");
}

#[test]
fn faults_name_their_file() {
    let path = "/etc/gateway/teams/a.yaml";
    let rows = [
        ("guard: 5s", "guard: an included file has tenants and callers alone in FILE (line 1)"),
        (
            "tenant: 5s",
            "tenant: an included file has tenants and callers alone; did you mean tenants? in FILE (line 1)",
        ),
        ("include: [ b.yaml ]", "include: an included file has tenants and callers alone in FILE (line 1)"),
        ("tenants: {}", "tenants: must not be empty in FILE (line 1)"),
        ("[]", "expected a section in FILE"),
        ("\n\ntenants: { news: {} }", "tenants.news.app: missing in FILE (line 3)"),
        ("a: [", "not valid YAML: …"),
        ("\n a: 1\n a: 2", "line 3, column 2: this key stands twice in its section in FILE"),
        (
            "\ntenants: { shop: {} }",
            "tenants.shop: a second one of this name; the first is in /etc/gateway/gateway.yaml, this one in FILE (line 2)",
        ),
        (
            "\n\ncallers: { orders: {} }",
            "callers.orders: a second one of this name; the first is in /etc/gateway/gateway.yaml, this one in FILE (line 3)",
        ),
        (
            "callers: { news: { tokens: [ { sha256: <same> } ], tenants: [ shop ], allow: [ push ] } }",
            "callers.news.tokens[0].sha256: the same token stands at callers.orders.tokens[0].sha256 in \
             /etc/gateway/gateway.yaml; it could not tell who calls in FILE (line 1)",
        ),
        (
            "tenants: { news: { app: { key: appkey, secret: { env: OTHER_SECRET } } } }",
            "tenants.news.app.key: the same key at tenants.shop.app.key in /etc/gateway/gateway.yaml has another secret \
             in FILE (line 1)",
        ),
        (
            "callers: { news: { tokens: [ { sha256: <other> } ],\n tenants: [ shpo ], allow: [ push ] } }",
            "callers.news.tenants[0]: there is no tenant \"shpo\"; did you mean shop? in FILE (line 2)",
        ),
    ];
    for (text, expected) in rows {
        let text = text.replace("<same>", DIGEST).replace("<other>", OTHER_DIGEST);
        let found = faults("[ 'teams/*.yaml' ]", &[(path, text.clone())]);
        let expected = expected.replace("FILE", path);
        let fits = expected
            .strip_suffix('…')
            .map_or(found == [expected.clone()], |start| found[0].starts_with(start));
        assert!(fits && found[0].contains(path), "{text}\nexpected: {expected}\ngot:      {found:#?}");
    }
}

#[test]
fn faults_of_the_list_itself() {
    let files =
        [("/etc/gateway/teams/a.yaml", NEWS.to_owned()), ("/etc/gateway/gateway.yaml", "x".to_owned())];
    let rows = [
        ("teams/a.yaml", "include: expected a list"),
        ("[ 5 ]", "include[0]: expected a text; write it in quotes"),
        ("[ '' ]", "include[0]: empty"),
        (
            "[ teams/b.yaml ]",
            "include[0]: the file \"/etc/gateway/teams/b.yaml\" cannot be read: entity not found",
        ),
        ("[ gateway.yaml ]", "include[0]: a file cannot include itself"),
        (
            "[ teams/a.yaml, '**/a.yaml' ]",
            "include[1]: ** is not used here; write a * for each folder, such as teams/*/*.yaml",
        ),
        ("[ 'teams/[a.yaml' ]", "include[0]: not a pattern: invalid range pattern"),
    ];
    for (include, expected) in rows {
        let found = faults(include, &files);
        assert_eq!(found, [format!("{expected} in /etc/gateway/gateway.yaml (line 6)")], "{include}");
    }
    let config = load("[ '*.yaml', 'teams/b*.yaml' ]", &files).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(
        warnings(&config),
        ["include[1]: \"teams/b*.yaml\" matches no file in /etc/gateway/gateway.yaml (line 6)"]
    );
    let empty =
        load("[ teams/a.yaml ]", &[("/etc/gateway/teams/a.yaml", "# later".to_owned())]).expect("good");
    assert_eq!(warnings(&empty), ["the file is empty in /etc/gateway/teams/a.yaml"]);
}

/// A file that cannot be read may have the tenant that another one's caller names.
#[test]
fn a_file_with_a_fault_does_not_bring_faults_of_others() {
    let files = [
        ("/etc/gateway/teams/a.yaml", "tenants: {".to_owned()),
        ("/etc/gateway/teams/b.yaml", news_caller("[ news ]")),
        ("/etc/gateway/teams/c.yaml", "tenants: }".to_owned()),
        ("/etc/gateway/teams/d.yaml", "guard: 5".to_owned()),
    ];
    let found = faults("[ 'teams/*' ]", &files);
    let places = found.iter().map(|fault| fault.rsplit_once("teams/").map_or("", |(_, file)| file));
    assert_eq!(places.collect::<Vec<_>>(), ["a.yaml", "c.yaml", "d.yaml (line 1)"], "{found:#?}");
}

#[test]
fn the_limits_are_those_of_all_files_together() {
    let half = format!("# {}", "x".repeat(BYTES_MAX / 2));
    let files =
        [("/etc/gateway/1", half.clone()), ("/etc/gateway/2", half), ("/etc/gateway/3", NEWS.to_owned())];
    assert_eq!(
        faults("[ '?' ]", &files),
        [
            "include[0]: the configuration is longer than 64 MiB in all with \"/etc/gateway/2\" in /etc/gateway/gateway.yaml (line 6)"
        ]
    );
    // Each alone has a text that is short enough with its aliases, but not all together.
    let bomb = |number: usize| {
        let path: &'static str = Box::leak(format!("/etc/gateway/{number:02}").into_boxed_str());
        (path, format!("a: [ &a {}, {} ]", "x".repeat(1 << 20), "*a,".repeat(6)))
    };
    let found = faults("[ '??' ]", &(0..20).map(bomb).collect::<Vec<_>>());
    assert!(found[0].contains("the document is too large in /etc/gateway/18"), "{found:#?}");
}
