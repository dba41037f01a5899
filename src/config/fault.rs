//! Faults of a configuration, and the report that collects them.

use std::cell::RefCell;
use std::fmt;

use super::key_path::KeyPath;
use super::lines::LineFinder;

/// One fault of a configuration. Never holds a secret, a token or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// Path of the key; empty if the fault concerns the file as a whole.
    path: String,
    /// Says what is wrong and, where it is not obvious, what would be accepted.
    message: String,
    /// The file, as messages name it; `None` for a built-in text.
    file: Option<String>,
    /// Line of the key, counted from 1, where it is known.
    line: Option<usize>,
}

impl ConfigFault {
    /// A fault that concerns the file as a whole.
    pub(super) fn of_file(message: String) -> Self {
        Self { path: String::new(), message, file: None, line: None }
    }

    /// The same fault in a file.
    pub(super) fn in_file(self, name: Option<&str>) -> Self {
        Self { file: name.map(str::to_owned), ..self }
    }

    /// Path of the key; empty if the fault concerns the file as a whole.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Says what is wrong and, where it is not obvious, what would be accepted.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The file, as messages name it; `None` for a built-in text.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// Line of the key, counted from 1, where it is known.
    pub fn line(&self) -> Option<usize> {
        self.line
    }
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(file) = &self.file {
            write!(f, " in {file}")?;
        }
        self.line.map_or(Ok(()), |line| write!(f, " (line {line})"))
    }
}

/// All faults of a configuration; at least one. `Display` writes one line for each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigFaults(Vec<ConfigFault>);

impl ConfigFaults {
    /// The faults in the order in which the file was read.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigFault> {
        self.0.iter()
    }
}

impl From<ConfigFault> for ConfigFaults {
    fn from(fault: ConfigFault) -> Self {
        Self(vec![fault])
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

/// Collects faults and warnings while files are read. Reading goes on after a fault, so that one run reports all of
/// them.
#[derive(Default)]
pub(super) struct FaultReport {
    faults: RefCell<Vec<Found>>,
    warnings: RefCell<Vec<Found>>,
}

/// A fault or a warning, and the number of its file, if its line is still to be found.
struct Found {
    file: Option<usize>,
    fault: ConfigFault,
}

impl FaultReport {
    /// Records a fault that says all it can say.
    pub(super) fn add(&self, fault: ConfigFault) {
        self.faults.borrow_mut().push(Found { file: None, fault });
    }

    /// Takes the warnings, each with the line of its key. `lines` has an entry for each file, in the order of their
    /// numbers.
    pub(super) fn warnings(&self, lines: &[LineFinder<'_>]) -> Vec<String> {
        self.warnings.borrow_mut().drain(..).map(|found| found.at(lines).to_string()).collect()
    }

    /// Takes the faults, each with the line of its key; `None` if there are none.
    pub(super) fn faults(&self, lines: &[LineFinder<'_>]) -> Option<ConfigFaults> {
        let faults: Vec<_> = self.faults.borrow_mut().drain(..).map(|found| found.at(lines)).collect();
        (!faults.is_empty()).then_some(ConfigFaults(faults))
    }
}

impl Found {
    fn at(self, lines: &[LineFinder<'_>]) -> ConfigFault {
        let line = self.file.and_then(|file| lines.get(file)?.find(&self.fault.path)).or(self.fault.line);
        ConfigFault { line, ..self.fault }
    }
}

/// A file that is being read, and the report that its faults go to.
#[derive(Clone, Copy)]
pub(super) struct FileReport<'n> {
    /// The file's place among those that are read; the main one is 0.
    pub(super) number: usize,
    /// The file, as messages name it; `None` for a built-in text.
    pub(super) name: Option<&'n str>,
    pub(super) report: &'n FaultReport,
}

impl FileReport<'_> {
    pub(super) fn fault(&self, path: &str, message: impl Into<String>) {
        self.report.faults.borrow_mut().push(self.found(path, message.into()));
    }

    pub(super) fn warning(&self, path: &str, message: &str) {
        self.report.warnings.borrow_mut().push(self.found(path, message.to_owned()));
    }

    fn found(&self, path: &str, message: String) -> Found {
        let fault = ConfigFault { path: path.to_owned(), ..ConfigFault::of_file(message) };
        Found { file: Some(self.number), fault: fault.in_file(self.name) }
    }
}

/// The place of a key among all files.
pub(super) struct Place<'n> {
    pub(super) path: KeyPath<'n>,
    pub(super) file: FileReport<'n>,
}

impl Place<'_> {
    /// The place for a message about a key of `file`: the other file is named if it is another one.
    pub(super) fn seen_from(&self, file: &FileReport<'_>) -> String {
        match self.file.name {
            Some(name) if self.file.number != file.number => format!("{} in {name}", self.path),
            _ => self.path.to_string(),
        }
    }
}
