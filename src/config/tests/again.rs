//! Tests of configurations that follow one another: whatever files changed, the outcome is that of a fresh start.

use proptest::prelude::*;

use super::*;
use crate::config::values::{CredentialConfig, TokenConfig};
use crate::operation::Host;

const MAIN: &str = "/etc/gateway/gateway.yaml";

/// Places for files; the patterns of [`INCLUDES`] match some.
const PLACES: &[&str] = &[
    "/etc/gateway/teams/a.yaml",
    "/etc/gateway/teams/b.yaml",
    "/etc/gateway/teams/c.yaml",
    "/etc/gateway/d.yaml",
];

const INCLUDES: &[&str] = &[
    "include: [ 'teams/*.yaml' ]",
    "include: [ 'teams/?.yaml', d.yaml ]",
    "include: [ d.yaml, 'teams/*.yaml' ]\nvendor: { api: 'https://elsewhere.example' }",
    "include: [ 'teams/*.yaml' ]\nbudgets: { push: { limit: 7 } }",
    "include: [ teams/a.yaml, 'none/*' ]",
    "include: [",
];

/// Lines of files, good ones and such with faults and warnings. A file has some of them, so that entries move, are given
/// twice, or name a tenant that is gone.
const TENANTS: &[&str] = &[
    "  north: { app: { key: northkey, secret: { file: /run/changing } } }",
    "  north: { app: { key: otherkey, secret: { env: OTHER_SECRET } } }",
    "  south: { app: { key: 7d431e42dfa6a6d693ac2d04, secret: { value: 5e987ac6d2e04d95a9d8f0d1 } }, region: beijing }",
    "  west: { app: { key: northkey, secret: { env: OTHER_SECRET } } }",
    "  east: { app: { key: &k eastkey, secret: { env: EMPTY } }, dev: { key: *k, secret: { env: NONE } } }",
    "  shop: { app: { key: x } }",
    "  sout: { ap: 5 }",
];
const CALLERS: &[&str] = &[
    "  one: { tokens: [ { sha256: ONE } ], tenants: [ north ], allow: [ push ] }",
    "  two: { tokens: [ { sha256: TWO } ], tenants: [ shop, south ], allow: [ push ], reserve: { push: 5 } }",
    "  three: { tokens: [ { name: spare, sha256: ONE } ], tenants: [ south ], allow: [ push, file ] }",
    "  one: { certificates: [ one.corp ], tenants: [ shop ], allow: [ '*' ], quota: { limit: 5, window: 60s } }",
    "  four: { tokens: [ { sha256: FOUR } ], tenants: [ west ], allow: [ pusch ] }",
];
const WHOLE_FILES: &[&str] =
    &["", "# later", "\u{feff}tenants: {}", "tenants: [", "guard: 5s", "callers: 5\n\n"];

/// A change of the files before the next load.
#[derive(Clone, Debug)]
enum Edit {
    Include(&'static str),
    Remove(&'static str),
    Whole(&'static str, &'static str),
    Entries(&'static str, Vec<&'static str>, Vec<&'static str>),
    Move(&'static str, &'static str),
    Secret(&'static str),
}

fn edit() -> impl Strategy<Value = Edit> {
    let one = |of: &'static [&'static str]| prop::sample::select(of);
    let some = |of| prop::collection::vec(one(of), 0..3);
    let secrets = one(&["hunter2-from-file", "5e987ac6d2e04d95a9d8f0d1", ""]);
    prop_oneof![
        1 => one(INCLUDES).prop_map(Edit::Include),
        1 => one(PLACES).prop_map(Edit::Remove),
        1 => (one(PLACES), one(WHOLE_FILES)).prop_map(|(place, text)| Edit::Whole(place, text)),
        4 => (one(PLACES), some(TENANTS), some(CALLERS))
            .prop_map(|(place, tenants, callers)| Edit::Entries(place, tenants, callers)),
        2 => (one(PLACES), one(PLACES)).prop_map(|(from, to)| Edit::Move(from, to)),
        1 => secrets.prop_map(Edit::Secret),
    ]
}

/// A section of a file; none if it has no entries.
fn section(key: &str, entries: &[&str]) -> String {
    if entries.is_empty() { String::new() } else { format!("{key}:\n{}\n", entries.join("\n")) }
}

fn apply(edit: Edit, files: &mut HashMap<&'static str, Vec<u8>>) {
    let (path, text) = match edit {
        Edit::Include(include) => (MAIN, top(include)),
        Edit::Remove(path) => {
            files.remove(path);
            return;
        }
        Edit::Whole(path, text) => (path, text.to_owned()),
        Edit::Entries(path, tenants, callers) => {
            let text = section("tenants", &tenants) + &section("callers", &callers);
            let digits = [("ONE", "1"), ("TWO", "2"), ("FOUR", "4")];
            let text = digits.iter().fold(text, |text, (word, digit)| text.replace(word, &digit.repeat(64)));
            (path, text)
        }
        Edit::Move(from, to) => {
            let text = files.remove(from);
            files.extend(text.map(|text| (to, text)));
            return;
        }
        Edit::Secret(secret) => ("/run/changing", secret.to_owned()),
    };
    files.insert(path, text.into_bytes());
}

fn load(fixture: &Fixture, known: &ParsedFiles) -> Result<Config, ConfigFaults> {
    let text = String::from_utf8(fixture.files[MAIN].clone()).expect("a text");
    let outside = Outside::new(Path::new("/etc/gateway"), fixture);
    read_all(Some(Path::new(MAIN)), Zeroizing::new(text), &outside, known)
}

/// Everything that a configuration takes from its files, as one text.
fn said(config: &Config) -> String {
    let credential = |credential: &CredentialConfig| {
        (credential.key.as_str().to_owned(), credential.secret.expose().to_owned())
    };
    let token = |token: &TokenConfig| (token.name.clone(), token.digest.to_hex());
    let tenants = config.tenants.iter().map(|tenant| {
        let TenantConfig { name, app, dev, group, budgets, urls, region, repeats } = tenant;
        let credentials = [Some(app), dev.as_ref(), group.as_ref()].map(|one| one.map(credential));
        let urls = Host::ALL.map(|host| urls.of(host).map(BaseUrl::origin));
        format!("{name} {credentials:?} {budgets:?} {urls:?} {region:?} {repeats:?}\n")
    });
    let callers = config.callers.iter().map(|caller| {
        let CallerConfig {
            name, tokens, certificates, tenants, allow, broadcast, quota, weight, reserve, wait,
        } = caller;
        let tokens: Vec<_> = tokens.iter().map(token).collect();
        format!(
            "{name} {tokens:?} {certificates:?} {tenants:?} {allow:?} {broadcast} {quota:?} {weight} {reserve:?} {wait:?}\n"
        )
    });
    let entries: String = tenants.chain(callers).collect();
    format!("{entries}{:#?}\n{}", config.warnings, config.digest)
}

fn outcome(result: &Result<Config, ConfigFaults>) -> Result<String, String> {
    result.as_ref().map(said).map_err(|faults| format!("{:#?}", faults.iter().collect::<Vec<_>>()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_known_of_files_changes_no_outcome(edits in prop::collection::vec(prop::collection::vec(edit(), 0..3), 1..12)) {
        let mut fixture = Fixture::default();
        fixture.files.insert(MAIN, top(INCLUDES[0]).into_bytes());
        fixture.files.insert("/run/changing", b"hunter2-from-file".to_vec());
        let mut in_use = ParsedFiles::default();
        for step in edits {
            for edit in step {
                apply(edit, &mut fixture.files);
            }
            let fresh = load(&fixture, &ParsedFiles::default());
            let next = load(&fixture, &in_use);
            prop_assert_eq!(outcome(&fresh), outcome(&next));
            let (Ok(fresh), Ok(next)) = (fresh, next) else { continue };
            prop_assert_eq!(fresh.parsed.anew(), fresh.parsed.count());
            prop_assert_eq!(next.parsed.count(), fresh.parsed.count());
            in_use = load(&fixture, &next.parsed).expect("it was good a moment ago").parsed;
            prop_assert_eq!(in_use.anew(), 0);
        }
    }
}

/// Loads again and again, each time after files were written.
struct Loads {
    fixture: Fixture,
    in_use: ParsedFiles,
}

impl Loads {
    /// Writes these files and loads; the number of files that were parsed, and of all.
    fn after(&mut self, files: &[(&'static str, &str)]) -> (usize, usize) {
        self.fixture.files.extend(files.iter().map(|(path, text)| (*path, text.as_bytes().to_vec())));
        let config = load(&self.fixture, &self.in_use).unwrap_or_else(|faults| panic!("{faults}"));
        self.in_use = config.parsed;
        (self.in_use.anew(), self.in_use.count())
    }
}

#[test]
fn only_what_has_other_bytes_is_parsed() {
    let mut loads = Loads { fixture: Fixture::default(), in_use: ParsedFiles::default() };
    let [north, south] = [TENANTS[1], TENANTS[2]].map(|line| format!("tenants:\n{line}"));
    let changed = north.replace("otherkey", "anotherk");
    let (a, b, c) = (PLACES[0], PLACES[1], PLACES[2]);
    let main = top(INCLUDES[0]);
    assert_eq!(loads.after(&[(MAIN, &main), (a, &north), (b, &south), (c, "")]), (4, 4));
    assert_eq!(loads.after(&[]), (0, 4));
    assert_eq!(loads.after(&[(a, &changed)]), (1, 4));
    // Texts in another file are known, and so is one that stands twice.
    assert_eq!(loads.after(&[(a, &south), (b, &changed)]), (0, 4));
    assert_eq!(loads.after(&[(a, "")]), (0, 4));
    assert_eq!(loads.after(&[(MAIN, &top(INCLUDES[3]))]), (1, 4));
    assert_eq!(loads.after(&[(a, "# one"), (b, "# two"), (c, "# three"), (MAIN, &main)]), (4, 4));
}
