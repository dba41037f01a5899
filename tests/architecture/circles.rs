//! Checks that the files of one folder do not import each other in a circle, also through files between them.
//!
//! A subfolder counts as one file of its folder. Imports from the folder's own `mod.rs` are left out: it re-exports the
//! types of its files, so they count for the file that a re-export comes from. Circles between the folders right under
//! `src` are the subject of `dependencies_run_one_way`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, branches, ends_in_word, first_word, report, sources};

/// Words before `use` at a re-export.
const VISIBILITIES: &[&str] = &["pub ", "pub(super) ", "pub(crate) "];

/// A module, as the names that lead to it from the crate's root.
type Module = Vec<String>;

/// The imports between the files of one folder: for each file, those that it imports from.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// All modules, each with the imports of its `use` lines, by which others reach what it re-exports.
struct Modules(BTreeMap<Module, Vec<Module>>);

impl Modules {
    fn of(sources: &[Source]) -> Self {
        Self(sources.iter().map(|source| (module(source), uses(source))).collect())
    }

    /// The module that has the item which a path names.
    fn owner(&self, path: &[String]) -> Module {
        let mut owner = Module::new();
        for name in path {
            owner.push(name.clone());
            if !self.0.contains_key(&owner) {
                owner.pop();
                let known = self.0.get(&owner).into_iter().flatten();
                let original = known.into_iter().find(|known| known.last() == Some(name) && *known != path);
                return original.map_or(owner, |original| self.owner(original));
            }
        }
        owner
    }
}

fn module(source: &Source) -> Module {
    let path = source.path.with_extension("");
    let mut module: Module = path.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    module.pop_if(|last| ["mod", "lib", "main"].contains(&last.as_str()));
    module
}

/// The paths in the `use` lines at the start of a line.
fn uses(source: &Source) -> Vec<Module> {
    let mut found = Vec::new();
    for statement in source.code.split(';').map(str::trim_start) {
        let bare = VISIBILITIES.iter().find_map(|visibility| statement.strip_prefix(visibility));
        if let Some(used) = bare.unwrap_or(statement).strip_prefix("use ") {
            expand(module(source), used, &mut found);
        }
    }
    found
}

/// The paths in a source that start with `crate::` or `super::`.
fn paths(source: &Source) -> Vec<Module> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in source.code.match_indices(start) {
            let before = &source.code[..at];
            if !ends_in_word(before) && !before.ends_with("::") {
                expand(module(source), &source.code[at..], &mut found);
            }
        }
    }
    found
}

/// Adds the paths at the start of a text, which the module `from` names: one, or each of a group in braces.
fn expand(from: Module, text: &str, found: &mut Vec<Module>) {
    if let Some(group) = text.strip_prefix('{') {
        for branch in branches(group) {
            expand(from.clone(), branch, found);
        }
        return;
    }
    let (mut path, word) = (from, first_word(text));
    match word.as_str() {
        "" | "self" => {}
        "crate" => path.clear(),
        "super" => drop(path.pop()),
        _ => path.push(word.clone()),
    }
    match text[word.len()..].strip_prefix("::") {
        Some(rest) if !word.is_empty() => expand(path, rest, found),
        _ => found.push(path),
    }
}

/// The imports between files of one folder, by folder.
fn imports(sources: &[Source]) -> BTreeMap<Module, Imports> {
    let modules = Modules::of(sources);
    let mut folders: BTreeMap<Module, Imports> = BTreeMap::new();
    for source in sources {
        let own = module(source);
        for used in paths(source).iter().map(|path| modules.owner(path)) {
            let shared = own.iter().zip(&used).take_while(|(own, used)| own == used).count();
            // One that contains the other is a folder's `mod.rs`; what shares nothing is in another folder under `src`.
            if let (1.., Some(file), Some(other)) = (shared, own.get(shared), used.get(shared)) {
                let folder = folders.entry(own[..shared].to_vec()).or_default();
                folder.entry(file.clone()).or_default().insert(other.clone());
            }
        }
    }
    folders
}

/// The files that a file imports from, directly or through others.
fn reached<'i>(imports: &'i Imports, file: &'i str) -> BTreeSet<&'i str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![file];
    while let Some(file) = next.pop() {
        let new = imports.get(file).into_iter().flatten().map(String::as_str);
        next.extend(new.filter(|new| reached.insert(*new)));
    }
    reached
}

/// The circles in a folder, each as all files that reach one another.
fn circles(imports: &Imports) -> BTreeSet<Vec<&str>> {
    let all: BTreeMap<&str, _> = imports.keys().map(|file| (file.as_str(), reached(imports, file))).collect();
    let mut circles = BTreeSet::new();
    for (file, others) in &all {
        let is_mutual = |other: &&str| all.get(other).is_some_and(|back| back.contains(file));
        let circle: Vec<_> = others.iter().copied().filter(is_mutual).collect();
        if !circle.is_empty() {
            circles.insert(circle);
        }
    }
    circles
}

#[test]
fn files_of_one_folder_do_not_import_each_other_in_a_circle() {
    let folders = imports(&sources());
    assert!(folders.len() > 10, "the imports were not found");
    let mut faults = Vec::new();
    for (folder, imports) in &folders {
        let folder = folder.join("/");
        let told =
            |circle: Vec<&str>| format!("src/{folder}: {} import each other in a circle", circle.join(", "));
        faults.extend(circles(imports).into_iter().map(told));
    }
    report(&faults);
}

#[test]
fn imports_are_found_in_every_spelling() {
    let file = |path: &str, code: &str| super::read(path.into(), code);
    let sources = [
        file("shop/mod.rs", "mod a;\nmod b;\npub use b::{Kind, Size};\npub struct Own;\n"),
        file("shop/a.rs", "use super::{Own, Size};\n"),
        file("shop/b.rs", "use super::c::{\n    self,\n    One,\n};\n"),
        file("shop/c.rs", "fn one() {\n    crate::shop::deep::two();\n}\n"),
        file("shop/d.rs", "use crate::shop::{b::Kind, c};\nuse std::fmt;\nuse crate::other::e;\n"),
        file("shop/deep/mod.rs", "mod inner;\n"),
        file("shop/deep/inner.rs", "use super::super::a;\nuse super::Nothing;\n"),
        file("other.rs", "use crate::shop::a;\n"),
    ];
    let folders = imports(&sources);
    assert_eq!(folders.keys().collect::<Vec<_>>(), [&["shop"]]);
    let imports = &folders[&vec!["shop".to_owned()]];
    let named = |file: &str| imports[file].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!((named("a"), named("b"), named("c")), (vec!["b"], vec!["c"], vec!["deep"]));
    assert_eq!((named("d"), named("deep")), (vec!["b", "c"], vec!["a"]));
    assert_eq!(circles(imports).into_iter().collect::<Vec<_>>(), [["a", "b", "c", "deep"]]);
}
