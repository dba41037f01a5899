//! Reads `include`: more files, each with tenants and callers of its own, and puts the entries of all files together.
//!
//! Paths in every file start from the folder of the main one, so an entry means the same in any of them.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use glob::Pattern;
use zeroize::Zeroizing;

use super::document::BYTES_MAX;
use super::fault::{ConfigFault, FaultReport, FileReport};
use super::lines::{LineFinder, LineWork};
use super::parsed::{FileParser, ParsedFile};
use super::reader::{ConfigValue, Section};
use super::sources::{Outside, SourceError};
use super::words::shown;

/// Upper bound of included files.
const FILES_MAX: usize = 100_000;

/// The byte-order mark that editors on Windows put at the start of a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A file that was read and parsed.
pub(super) struct ConfigFile {
    /// The path as messages show it; `None` for a built-in text.
    name: Option<String>,
    /// May hold secrets, so it is wiped on drop.
    text: Zeroizing<String>,
    parsed: ParsedFile,
}

impl ConfigFile {
    pub(super) fn parse(
        name: Option<String>,
        text: Zeroizing<String>,
        parser: &FileParser<'_>,
    ) -> Result<Self, ConfigFault> {
        let parsed = parser.parse(unmarked(&text)).map_err(|fault| fault.in_file(name.as_deref()))?;
        Ok(Self { name, text, parsed })
    }

    /// The text as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What may be kept of the file for the next configuration.
    pub(super) fn parsed(&self) -> ParsedFile {
        self.parsed.clone()
    }

    /// Finds the lines of faults.
    pub(super) fn lines<'f>(&'f self, work: &'f LineWork) -> LineFinder<'f> {
        LineFinder::of(unmarked(&self.text), &self.parsed.lines, work)
    }

    fn root<'n>(&'n self, number: usize, report: &'n FaultReport) -> ConfigValue<'n> {
        ConfigValue::root(
            self.parsed.document.root(),
            FileReport { number, name: self.name.as_deref(), report },
        )
    }

    /// The keys of the main file.
    pub(super) fn main<'n>(&'n self, report: &'n FaultReport) -> Section<'n> {
        self.root(0, report).section()
    }
}

/// The YAML library takes a byte-order mark for a document of its own.
fn unmarked(text: &str) -> &str {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// A path for messages and comparison, without the `./` of a configuration in the working directory.
pub(super) fn tidy(path: &Path) -> &Path {
    path.strip_prefix(".").unwrap_or(path)
}

/// The included files.
pub(super) struct Included {
    pub(super) files: Vec<ConfigFile>,
    /// Whether all files could be read. If not, a missing name may stand in one that is not here.
    complete: bool,
}

/// Reads `include` of the main file, and the files that it names, in the order of the list and then of their paths.
/// `main_path` is the path of the main file itself, which a pattern may match without harm.
pub(super) fn read(
    main: &mut Section<'_>,
    main_path: Option<&Path>,
    outside: &Outside<'_>,
    parser: &FileParser<'_>,
) -> Included {
    let mut included = Included { files: Vec::new(), complete: true };
    let Some(list) = main.get("include").filter(|value| !value.is_empty_list()) else { return included };
    let mut reader = Reader { main_path: main_path.map(tidy), outside, parser, seen: HashSet::new() };
    let items = list.items();
    included.complete = !items.is_empty();
    for item in &items {
        let paths = reader.paths(item);
        included.complete &= paths.is_some();
        for path in paths.unwrap_or_default() {
            if !reader.seen.insert(path.clone()) {
                continue;
            }
            if included.files.len() == FILES_MAX {
                item.fault(format!("more than {FILES_MAX} files"));
                return included;
            }
            match reader.file(item, &path) {
                Ok(file) => included.files.push(file),
                Err(next) => {
                    included.complete = false;
                    if next == Next::Stop {
                        return included;
                    }
                }
            }
        }
    }
    included
}

struct Reader<'r> {
    main_path: Option<&'r Path>,
    outside: &'r Outside<'r>,
    parser: &'r FileParser<'r>,
    /// The files so far. One that two patterns match is read once.
    seen: HashSet<PathBuf>,
}

/// What follows a file that could not be read.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    Stop,
}

impl Reader<'_> {
    /// The files of one item; `None` after a fault.
    fn paths(&self, item: &ConfigValue<'_>) -> Option<Vec<PathBuf>> {
        let written = item.text()?;
        if !written.contains(['*', '?', '[']) {
            let path = tidy(&self.outside.base.join(written)).to_owned();
            if self.main_path == Some(&path) {
                return item.refuse("a file cannot include itself");
            }
            return Some(vec![path]);
        }
        if written.contains("**") {
            return item.refuse("** is not used here; write a * for each folder, such as teams/*/*.yaml");
        }
        let folder = self.outside.base.to_str().map(Pattern::escape);
        let Some(folder) = folder else { return item.refuse("the folder's path is not UTF-8") };
        let pattern =
            if Path::new(written).is_absolute() { written.to_owned() } else { format!("{folder}/{written}") };
        if let Err(error) = Pattern::new(&pattern) {
            return item.refuse(format!("not a pattern: {}", error.msg));
        }
        match self.outside.sources.matching(&pattern) {
            Err(error) => item.refuse(format!("{} {error}", shown(written))),
            Ok(paths) => {
                let paths: Vec<_> = paths.iter().map(|path| tidy(path).to_owned()).collect();
                if paths.is_empty() {
                    item.warning(&format!("{} matches no file", shown(written)));
                }
                Some(paths.into_iter().filter(|path| self.main_path != Some(path)).collect())
            }
        }
    }

    fn file(&self, item: &ConfigValue<'_>, path: &Path) -> Result<ConfigFile, Next> {
        let name = path.to_string_lossy();
        let refuse = |error: &SourceError| {
            item.fault(format!("the file {} {error}", shown(&name)));
            Next::GoOn
        };
        self.outside.note(path);
        let bytes_max = self.parser.limits.bytes();
        let mut bytes = self.outside.sources.config_file(path, bytes_max).map_err(|error| refuse(&error))?;
        if bytes.len() > bytes_max {
            let mib = BYTES_MAX >> 20;
            item.fault(format!("the configuration is longer than {mib} MiB in all with {}", shown(&name)));
            return Err(Next::Stop);
        }
        let text = String::from_utf8(std::mem::take(&mut *bytes)).map_err(|error| {
            let bytes = Zeroizing::new(error.into_bytes());
            refuse(&SourceError::of_no_text(&bytes))
        })?;
        ConfigFile::parse(Some(one_line(&name)), Zeroizing::new(text), self.parser).map_err(|fault| {
            item.file().report.add(fault);
            Next::GoOn
        })
    }
}

/// A path for messages: as it is, or escaped where it would break the line.
pub(super) fn one_line(path: &str) -> String {
    if path.chars().any(char::is_control) { shown(path) } else { path.to_owned() }
}

/// The top level of all files.
pub(super) struct Sections<'n> {
    pub(super) main: Section<'n>,
    included: Vec<Section<'n>>,
    complete: bool,
}

/// The entries of `tenants` or `callers` in all files, each name once.
pub(super) struct Named<'n> {
    pub(super) entries: Vec<(&'n str, ConfigValue<'n>)>,
    /// Whether all files could be read.
    pub(super) complete: bool,
}

impl<'n> Sections<'n> {
    pub(super) fn new(main: Section<'n>, included: &'n Included, report: &'n FaultReport) -> Self {
        let section = |(index, file): (usize, &'n ConfigFile)| {
            let root = file.root(index + 1, report);
            if root.is_null() {
                root.warning("the file is empty");
            }
            root.section().calling_unknown("an included file has tenants and callers alone")
        };
        let sections = included.files.iter().enumerate().map(section).collect();
        Self { main, included: sections, complete: included.complete }
    }

    /// The entries of a section that at least one file must have. A name that was given before is a fault.
    pub(super) fn named(&mut self, key: &'static str) -> Named<'n> {
        let sections = std::iter::once(&mut self.main).chain(&mut self.included);
        let values: Vec<_> = sections.filter_map(|section| section.get(key)).collect();
        if values.is_empty() && self.complete {
            // Records that it is missing.
            self.main.required(key);
        }
        let mut first_files = HashMap::new();
        let mut entries = Vec::new();
        for (name, value) in values.iter().flat_map(ConfigValue::named) {
            match first_files.get(name) {
                None => {
                    first_files.insert(name, value.file());
                    entries.push((name, value));
                }
                Some(first) => {
                    let first = first.name.unwrap_or("the main file");
                    value.fault(format!("a second one of this name; the first is in {first}, this one"));
                }
            }
        }
        Named { entries, complete: self.complete }
    }
}
