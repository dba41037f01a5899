//! What the documentation and the comments refer to exists: links and their anchors, files, and facts about the vendor.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders of the repository that a text can name a file in.
const FOLDERS: [&str; 9] =
    ["benches", "config", "deploy", "docs", "examples", "fuzz", "scripts", "src", "tests"];

/// What is no text of ours: made by a build, found by a fuzzer, or read as data.
const LEFT_OUT: [&str; 6] =
    ["target", ".git", "fuzz/target", "fuzz/corpus", "fuzz/corpus-local", "tests/data"];

/// A text of the repository, with its path from the root.
struct Text {
    path: PathBuf,
    content: String,
}

/// A reference that leads nowhere.
#[derive(Debug, PartialEq, Eq)]
struct Broken {
    path: PathBuf,
    reference: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.path.display(), self.reference)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text of the repository.
fn texts() -> Vec<Text> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("a folder") {
            let path = folder.join(entry.expect("an entry").file_name());
            if LEFT_OUT.iter().any(|left_out| path == Path::new(left_out)) {
                continue;
            }
            let full = root().join(&path);
            if full.is_dir() {
                folders.push(path);
            } else if path.extension().is_none_or(|extension| extension != "lock")
                && let Ok(content) = fs::read_to_string(full)
            {
                found.push(Text { path, content });
            }
        }
    }
    found
}

impl Text {
    fn new(path: &str, content: &str) -> Self {
        Self { path: path.into(), content: content.into() }
    }

    fn has_extension(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|known| known == extension)
    }

    fn broken(&self, reference: impl Into<String>) -> Broken {
        Broken { path: self.path.clone(), reference: reference.into() }
    }

    /// What it says to readers: of a source its comments, one after the other, of anything else all of it. Sentences go
    /// on over the ends of lines.
    fn prose(&self) -> String {
        let comment = |line: &str| {
            let after_code = || line.split_once(" // ").map(|(_, comment)| comment);
            let comment = line.trim_start().strip_prefix("//").or_else(after_code)?;
            Some(comment.trim_start_matches(['/', '!']).trim().to_owned())
        };
        let lines = self.content.lines();
        let said: Vec<String> = if self.has_extension("rs") {
            lines.filter_map(comment).collect()
        } else {
            lines.map(|line| line.trim_start_matches([' ', '#', '-']).to_owned()).collect()
        };
        said.join(" ")
    }

    /// Its lines outside blocks of code, without what stands between backticks.
    fn markdown(&self) -> Vec<String> {
        let mut in_code = false;
        let mut lines = Vec::new();
        for line in self.content.lines() {
            if line.trim_start().starts_with("```") {
                in_code = !in_code;
            } else if !in_code && !line.starts_with("    ") {
                lines.push(line.split('`').step_by(2).collect());
            }
        }
        lines
    }

    /// Targets of links, `[text](target)` and `[key]: target`.
    fn links(&self) -> Vec<String> {
        let mut links = Vec::new();
        for line in self.markdown() {
            let inline = line.match_indices("](").map(|(at, _)| &line[at + 2..]);
            links.extend(inline.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()));
            if let Some((_, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
                links.push(target.trim().to_owned());
            }
        }
        links
    }

    /// What a link can lead to within it: its headings as they are written in addresses, and anchors of its own.
    fn anchors(&self) -> BTreeSet<String> {
        let mut anchors = BTreeSet::new();
        let mut in_code = false;
        for line in self.content.lines() {
            in_code ^= line.starts_with("```");
            if let Some(heading) = line.strip_prefix('#').filter(|_| !in_code) {
                let heading = heading.trim_start_matches('#').trim().to_lowercase();
                let kept = |letter: &char| letter.is_alphanumeric() || "-_ ".contains(*letter);
                anchors.insert(heading.chars().filter(kept).collect::<String>().replace(' ', "-"));
            }
            let own = line.split("<a id=\"").skip(1).filter_map(|rest| rest.split_once('"'));
            anchors.extend(own.map(|(anchor, _)| anchor.to_owned()));
        }
        anchors
    }

    /// Paths of files of the repository that it names.
    fn paths(&self) -> BTreeSet<String> {
        let prose = self.prose();
        let is_of_path = |letter: char| letter.is_ascii_alphanumeric() || "_./-".contains(letter);
        let words = prose.split(|letter: char| !is_of_path(letter));
        words
            .map(|word| word.trim_end_matches(['.', '-']))
            .filter(|word| word.split_once('/').is_some_and(|(folder, _)| FOLDERS.contains(&folder)))
            .map(str::to_owned)
            .collect()
    }

    /// Numbers of facts that it cites: those that follow the name of the page, and on pages like that one all.
    fn facts(&self) -> BTreeSet<u32> {
        let prose = self.prose();
        let mut facts = BTreeSet::new();
        if self.has_extension("md") {
            let words = prose.split(|letter: char| !letter.is_alphanumeric());
            facts.extend(words.filter_map(|word| word.strip_prefix('V')?.parse::<u32>().ok()));
        }
        for (at, page) in prose.match_indices("docs/vendor.md") {
            let mut rest = &prose[at + page.len()..];
            loop {
                rest = rest.trim_start_matches(['`', ',', ' ']);
                rest = rest.strip_prefix("and ").unwrap_or(rest);
                let Some(number) = rest.strip_prefix('V') else { break };
                let end = number.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(number.len());
                let Ok(fact) = number[..end].parse() else { break };
                facts.insert(fact);
                rest = &number[end..];
            }
        }
        facts
    }
}

/// Links between the pages that lead to no file, or to no place in it.
fn broken_links(texts: &[Text]) -> Vec<Broken> {
    let mut broken = Vec::new();
    for text in texts.iter().filter(|text| text.has_extension("md")) {
        for link in text.links() {
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').map_or((&*link, None), |(file, at)| (file, Some(at)));
            let path = if file.is_empty() { text.path.clone() } else { resolve(&text.path, file) };
            let target = texts.iter().find(|text| text.path == path);
            let exists = target.is_some() || root().join(&path).exists();
            let is_there = |anchor| target.is_some_and(|target| target.anchors().contains(anchor));
            if !exists || anchor.is_some_and(|anchor| !is_there(anchor)) {
                broken.push(text.broken(link));
            }
        }
    }
    broken
}

/// A path that is written in a file, from the root.
fn resolve(from: &Path, target: &str) -> PathBuf {
    let mut path = from.parent().map(Path::to_path_buf).unwrap_or_default();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(path.pop()),
            part => path.push(part),
        }
    }
    path
}

fn broken_paths(texts: &[Text], exists: impl Fn(&str) -> bool) -> Vec<Broken> {
    let cited = texts.iter().flat_map(|text| text.paths().into_iter().map(move |path| (text, path)));
    cited.filter(|(_, path)| !exists(path)).map(|(text, path)| text.broken(path)).collect()
}

/// Whether a list in the format of `.gitignore` has this path or a folder above it: a build or a fuzzer makes it, and a
/// fresh checkout does not have it.
fn is_ignored(list: &str, path: &str) -> bool {
    list.lines().filter_map(|line| line.strip_prefix('/')).any(|ignored| Path::new(path).starts_with(ignored))
}

/// The numbers of the facts, in the order of the page.
fn known_facts(page: &str) -> Vec<u32> {
    let facts = page.split("<a id=\"v").skip(1);
    facts.filter_map(|rest| rest.split_once('"')?.0.parse().ok()).collect()
}

fn broken_facts(texts: &[Text], known: &[u32]) -> Vec<Broken> {
    let cited = texts.iter().flat_map(|text| text.facts().into_iter().map(move |fact| (text, fact)));
    cited
        .filter(|(_, fact)| !known.contains(fact))
        .map(|(text, fact)| text.broken(format!("V{fact}")))
        .collect()
}

#[track_caller]
fn assert_none(broken: &[Broken]) {
    let lines: Vec<_> = broken.iter().map(Broken::to_string).collect();
    assert!(lines.is_empty(), "these lead nowhere:\n{}", lines.join("\n"));
}

fn vendor_page() -> String {
    fs::read_to_string(root().join("docs/vendor.md")).expect("the page")
}

#[test]
fn links_lead_somewhere() {
    let texts = texts();
    assert!(texts.iter().map(|text| text.links().len()).sum::<usize>() > 20);
    assert_none(&broken_links(&texts));
}

#[test]
fn files_that_are_named_exist() {
    let texts = texts();
    assert!(texts.iter().filter(|text| text.has_extension("rs")).any(|text| !text.paths().is_empty()));
    let ignored = fs::read_to_string(root().join(".gitignore")).expect("the list");
    assert_none(&broken_paths(&texts, |path| root().join(path).exists() || is_ignored(&ignored, path)));
}

#[test]
fn facts_that_are_cited_are_on_the_page() {
    let (texts, known) = (texts(), known_facts(&vendor_page()));
    let sources = texts.iter().filter(|text| text.has_extension("rs"));
    let cited: BTreeSet<u32> = sources.flat_map(Text::facts).collect();
    assert!(cited.len() > 10, "{cited:?}");
    assert_none(&broken_facts(&texts, &known));
}

/// A number is one fact, and stands behind its own anchor.
#[test]
fn facts_are_numbered_once_and_have_sources() {
    let page = vendor_page();
    let known = known_facts(&page);
    assert!(known.windows(2).all(|pair| pair[0] < pair[1]), "{known:?}");
    for fact in &known {
        assert!(page.contains(&format!("<a id=\"v{fact}\"></a>**V{fact}** (")), "V{fact}");
    }
    let defined: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.split_once("]: https://").map(|(key, _)| key))
        .collect();
    let keys = page.split('[').skip(1).filter_map(|rest| rest.split_once(']'));
    let used = keys.filter(|(_, rest)| !rest.starts_with(['(', ':'])).map(|(key, _)| key);
    let missing: Vec<&str> = used.filter(|key| !defined.contains(key)).collect();
    assert!(missing.is_empty(), "sources without an address: {missing:?}");
}

/// The tests above find what they look for.
#[test]
fn broken_references_are_found() {
    let page = Text::new(
        "docs/a.md",
        "# Two Words, `code`\n<a id=\"v7\"></a>[x](b.md#there) [y](#two-words-code)\n",
    );
    let other =
        Text::new("docs/b.md", "# There\n[up](../a.md) [z](a.md#nowhere)\n```\n[no link](c.md)\n```\n");
    let broken = broken_links(&[page, other]);
    let references: Vec<_> = broken.iter().map(|broken| &*broken.reference).collect();
    assert_eq!(references, ["../a.md", "a.md#nowhere"]);

    let source = "//! Rules (`docs/vendor.md`, V7, V8\n//! and V12). See src/a.rs, `tests/`.\nlet a = \"src/b.rs\"; // V9\n";
    let source = Text::new("src/lib.rs", source);
    assert_eq!(source.paths(), ["docs/vendor.md", "src/a.rs", "tests/"].map(str::to_owned).into());
    assert_eq!(source.facts(), BTreeSet::from([7, 8, 12]));
    let broken = broken_paths(&[source], |path| path == "docs/vendor.md" || path == "tests/");
    assert_eq!(broken, [Broken { path: "src/lib.rs".into(), reference: "src/a.rs".into() }]);
    let ignored = |path| is_ignored("/target\n/fuzz/artifacts\n", path);
    assert!(ignored("fuzz/artifacts") && ignored("fuzz/artifacts/a"));
    assert!(!ignored("fuzz/artifacts-of-old") && !ignored("fuzz") && !ignored("src/target"));
    let texts =
        [Text::new("scripts/x", "# docs/vendor.md, V7 and V8, V2\n"), Text::new("a.md", "so (V7, V9)\n")];
    let broken = broken_facts(&texts, &known_facts("<a id=\"v7\"></a>"));
    let references: Vec<_> = broken.iter().map(|broken| &*broken.reference).collect();
    assert_eq!(references, ["V2", "V8", "V9"]);
}
