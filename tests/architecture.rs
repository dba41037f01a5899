//! Checks rules of the architecture on the text of the sources: which module may use which names.
//!
//! Test code is not checked: files called `tests.rs`, folders called `tests`, and items under `#[cfg(test)]`.

#[path = "architecture/circles.rs"]
mod circles;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules in the order of their dependencies: a line may use the lines above it, and none beside or below.
const ORDER: &[&[&str]] = &[
    &[
        "boot_time",
        "causes",
        "delivery",
        "detach",
        "http1",
        "lock",
        "operation",
        "pem",
        "secret",
        "service_manager",
        "signals",
        "stored_call",
        "x509",
    ],
    &["identity", "request"],
    &["config"],
    &["body", "budget", "sandbox"],
    &["store", "tenant"],
    &["auth", "upstream"],
    &["refusal"],
    &["strict", "body_reader", "ledger", "telemetry"],
    &["answer", "admission", "payload", "payment"],
    &["outbound"],
    &["dedup"],
    &["active_config", "waiting"],
    &["gateway"],
    &["server"],
    &["reload"],
    &["admin"],
    &["app"],
    &["cli"],
];

/// Pure modules: values in, values out.
const PURE: &[&str] = &[
    "operation",
    "tenant",
    "auth",
    "body",
    "budget",
    "delivery",
    "outbound",
    "refusal",
    "strict",
    "http1::answer_head",
    "http1::body",
    "http1::fields",
    "http1::framing",
    "http1::head",
    "http1::host",
    "http1::message",
    "http1::response",
    "http1::target",
    "lock",
    "payload",
    "request",
];

/// Modules of which some parts are pure and others act. [`PURE`] names their parts.
const DIVIDED: &[&str] = &["http1"];

/// Names that a pure module may not use.
const IMPURE_NAMES: &[&str] = &[
    "tokio",
    "hyper",
    "hyper_util",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime",
];

/// Modules that pure modules may use for their values, beside other pure ones.
const LENT: &[&str] = &["config", "secret"];

/// Exceptions from the rules, each with its reason. An exception that is no longer needed fails the test.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("budget", "Instant::now", "Clock, which gives the time to everybody who passes it in"),
    ("outbound", "crate::body_reader", "Hold, the memory that a body counts for"),
    ("payload", "crate::body_reader", "Buffered, a body with the memory it counts for"),
    ("refusal", "crate::upstream", "CircuitOpen, which tells when a host is tried again"),
];

/// Beginnings of an item that other files can name.
const VISIBLE: &[&str] = &["pub ", "pub(super) ", "pub(crate) "];

/// Keywords that begin a type.
const TYPES: &[&str] = &["struct ", "enum ", "trait ", "type "];

/// Upper bound of a file's lines without its tests.
const LINES_MAX: usize = 400;

/// Files that are still longer, with the length that they may not exceed.
const STILL_LONG: &[(&str, usize)] = &[];

/// A source file: its module, and its code without comments and tests.
struct Source {
    /// Path relative to `src/`.
    path: PathBuf,
    /// Number of lines without tests, comments included.
    lines: usize,
    code: String,
}

impl Source {
    /// The top-level module that the file belongs to.
    fn module(&self) -> String {
        let first = self.path.components().next().expect("a path of a file has a component");
        first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
    }

    /// The module, or the part of a divided one that the file belongs to.
    fn part(&self) -> String {
        let module = self.module();
        let second = self.path.components().nth(1).filter(|_| DIVIDED.contains(&module.as_str()));
        let second = second.map(|second| second.as_os_str().to_string_lossy().into_owned());
        second.map_or(module.clone(), |part| format!("{module}::{}", part.trim_end_matches(".rs")))
    }

    /// Number of `super::` from this file to the crate's root.
    fn depth(&self) -> usize {
        let folders = self.path.components().count() - 1;
        if self.path.ends_with("mod.rs") { folders } else { folders + 1 }
    }

    /// Names after `crate::`, also those in `crate::{…}`.
    fn uses(&self) -> Vec<String> {
        self.paths().into_iter().map(first_word).collect()
    }

    /// The same, with the part of a divided module.
    fn uses_parts(&self) -> Vec<String> {
        let parts = self.paths().into_iter().flat_map(|path| {
            let module = first_word(path);
            let below = path.trim_start().strip_prefix(&module).and_then(|rest| rest.strip_prefix("::"));
            match below.filter(|_| DIVIDED.contains(&module.as_str())) {
                None => vec![module],
                Some(below) => {
                    group(below).iter().map(|part| format!("{module}::{}", first_word(part))).collect()
                }
            }
        });
        parts.collect()
    }

    /// What follows each `crate::`, group by group.
    fn paths(&self) -> Vec<&str> {
        let starts = self.code.match_indices("crate::").filter(|(at, _)| !ends_in_word(&self.code[..*at]));
        starts.flat_map(|(at, found)| group(&self.code[at + found.len()..])).collect()
    }

    fn names(&self, name: &str) -> bool {
        self.code.match_indices(name).any(|(at, _)| {
            let rest = &self.code[at + name.len()..];
            !ends_in_word(&self.code[..at]) && !rest.starts_with(is_word)
        })
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn ends_in_word(text: &str) -> bool {
    text.ends_with(is_word)
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|letter| is_word(*letter)).collect()
}

/// The branches of a group, or the one path there is.
fn group(text: &str) -> Vec<&str> {
    text.strip_prefix('{').map_or_else(|| vec![text], branches)
}

/// The branches of `{a, b::{c, d}}`, given the text after the opening brace.
fn branches(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut branches) = (0, 0, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                branches.push(group[start..at].trim());
                start = at + 1;
                if letter == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    branches.retain(|branch| !branch.is_empty());
    branches
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src can be listed") {
            let path = entry.expect("src can be listed").path();
            let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests.rs" {
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                let path = path.strip_prefix(&root).expect("found under src").to_owned();
                sources.push(read(path, &text));
            }
        }
    }
    assert!(sources.len() > 20, "the sources were not found");
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn read(path: PathBuf, text: &str) -> Source {
    let lines = without_tests(text);
    let code =
        lines.iter().map(|line| without_comment(line)).fold(String::new(), |code, line| code + line + "\n");
    Source { path, lines: lines.len(), code }
}

/// The lines without items under `#[cfg(test)]`. rustfmt puts the end of an item at the indent of its start.
fn without_tests(text: &str) -> Vec<&str> {
    let mut kept = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(indent) = line.strip_suffix("#[cfg(test)]") else {
            kept.push(line);
            continue;
        };
        let ends = |line: &str| {
            let own = line.strip_prefix(indent).filter(|rest| !rest.starts_with(' '));
            own.is_some_and(|rest| !rest.starts_with("#[") && rest.ends_with(['}', ';']))
        };
        for line in lines.by_ref() {
            if ends(line) {
                break;
            }
        }
    }
    kept
}

fn without_comment(line: &str) -> &str {
    let code = line.split(" // ").next().unwrap_or(line);
    if code.trim_start().starts_with("//") { "" } else { code }
}

fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|modules| modules.contains(&module))
}

/// Whether a module is excepted from the rule about a name.
fn is_excepted(module: &str, name: &str) -> bool {
    EXCEPTIONS.iter().any(|(excepted, what, _)| (*excepted, *what) == (module, name))
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_module_has_its_place_in_the_order() {
    let mut modules: Vec<_> = sources().iter().map(Source::module).collect();
    modules.retain(|module| module != "lib" && module != "main");
    modules.dedup();
    let missing = modules.iter().filter(|module| rank(module).is_none());
    report(&missing.map(|module| format!("{module} is not in ORDER")).collect::<Vec<_>>());
    let gone = ORDER
        .iter()
        .flat_map(|row| row.iter())
        .filter(|module| !modules.iter().any(|known| known == *module));
    report(&gone.map(|module| format!("{module} is in ORDER and not in src")).collect::<Vec<_>>());
}

#[test]
fn dependencies_run_one_way() {
    let mut faults = Vec::new();
    for source in sources() {
        let module = source.module();
        let Some(own) = rank(&module) else { continue };
        for used in source.uses().iter().filter(|used| **used != module) {
            if rank(used).is_none_or(|used| used >= own) {
                faults
                    .push(format!("src/{} uses crate::{used}, which is not above it", source.path.display()));
            }
        }
        if source.names("super::".repeat(source.depth()).trim_end_matches("::")) {
            faults.push(format!("src/{} reaches the crate's root by super::", source.path.display()));
        }
    }
    report(&faults);
}

#[test]
fn pure_modules_do_not_act() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&source.part().as_str())) {
        let (module, path) = (source.part(), source.path.display());
        let named = IMPURE_NAMES.iter().filter(|name| source.names(name) && !is_excepted(&module, name));
        faults.extend(named.map(|name| format!("src/{path} names {name}")));
        for used in source.uses_parts() {
            let pure = used == module || PURE.contains(&used.as_str()) || LENT.contains(&used.as_str());
            if !pure && !is_excepted(&module, &format!("crate::{used}")) {
                faults.push(format!("src/{path} uses crate::{used}, which is not pure"));
            }
        }
        if source.code.contains("std::{") {
            faults.push(format!("src/{path} groups parts of std; one line each lets this test read them"));
        }
    }
    report(&faults);
}

/// The sandbox must not share code with the gateway, or it could not find the gateway's errors.
#[test]
fn the_sandbox_shares_nothing_but_the_table_and_values() {
    let shared = ["sandbox", "operation", "config", "secret"];
    let sources = sources();
    let sandbox = sources.iter().filter(|source| source.module() == "sandbox");
    let faults = sandbox.flat_map(|source| {
        let foreign = source.uses().into_iter().filter(|used| !shared.contains(&used.as_str()));
        foreign.map(|used| format!("src/{} uses crate::{used}", source.path.display())).collect::<Vec<_>>()
    });
    report(&faults.collect::<Vec<_>>());
}

/// A reader must not have to look up which of two types of one name a file imports.
#[test]
fn no_two_types_share_a_name() {
    let mut seen = HashMap::new();
    let mut faults = Vec::new();
    for source in sources() {
        for line in source.code.lines() {
            // Private types stay in their file, and associated types are named by their trait.
            let item = VISIBLE.iter().find_map(|visible| line.trim_start().strip_prefix(visible));
            let named = item.and_then(|item| TYPES.iter().find_map(|kind| item.strip_prefix(kind)));
            let Some(name) = named.map(first_word) else { continue };
            if let Some(first) = seen.insert(name.clone(), source.path.clone()) {
                faults.push(format!(
                    "{name} is a type of src/{} and of src/{}",
                    first.display(),
                    source.path.display()
                ));
            }
        }
    }
    assert!(seen.len() > 100, "the types were not found");
    report(&faults);
}

#[test]
fn files_are_short_enough_to_be_read_at_once() {
    let faults = sources().into_iter().filter_map(|source| {
        let path = source.path.to_string_lossy().into_owned();
        let known = STILL_LONG.iter().find(|(long, _)| *long == path);
        let (limit, lines) = (known.map_or(LINES_MAX, |(_, lines)| *lines), source.lines);
        if known.is_some() && lines <= LINES_MAX {
            return Some(format!("src/{path} is short now: take it out of STILL_LONG"));
        }
        (lines > limit).then(|| format!("src/{path} has {lines} lines without its tests, more than {limit}"))
    });
    report(&faults.collect::<Vec<_>>());
}

#[test]
fn no_exception_outlives_its_reason() {
    let sources = sources();
    let needed = |module: &str, name: &str| {
        let own = sources.iter().filter(|source| source.module() == module);
        own.into_iter().any(|source| source.names(name))
    };
    let idle = EXCEPTIONS.iter().filter(|(module, name, _)| !needed(module, name));
    report(&idle.map(|(module, name, _)| format!("{module} no longer names {name}")).collect::<Vec<_>>());
}

#[test]
fn the_reader_of_sources_sees_code_and_nothing_else() {
    let text = "use crate::{a::b, c::{d, e},\n    f};\n// crate::comment\nlet x = 1; // crate::late\n\
                #[cfg(test)]\nmod tests {\n    use crate::test;\n}\n    #[cfg(test)]\n    fn one() {\n        crate::two();\n    }\n\
                crate::last::call(my_crate::x);\n";
    let source = read(PathBuf::from("sandbox/window.rs"), text);
    assert_eq!(source.uses(), ["a", "c", "f", "last"]);
    let divided = "use crate::http1::fields::Fields;\nuse crate::{a, http1::{framing::X, head}};\n";
    let divided = read(PathBuf::from("http1/server/mod.rs"), divided);
    assert_eq!(divided.uses_parts(), ["http1::fields", "a", "http1::framing", "http1::head"]);
    assert_eq!((divided.module(), divided.part()), ("http1".to_owned(), "http1::server".to_owned()));
    assert_eq!((source.module().as_str(), source.depth(), source.lines), ("sandbox", 2, 5));
    let named = read(PathBuf::from("a.rs"), "tokio::spawn(x); hyperion(); std::envelope()");
    assert!(named.names("tokio") && !named.names("hyper") && !named.names("std::env"));
}
