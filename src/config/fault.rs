//! What is wrong with a configuration, and the list it is collected in.

use std::cell::RefCell;
use std::fmt;

use super::lines::LineFinder;

/// One thing that is wrong. Never holds a secret, a token or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// Where: the path of the key. Empty if it is the file as a whole.
    path: String,
    /// What is wrong and, where it is not obvious, what would pass.
    message: String,
    /// The line of the key, counted from 1, where it is known.
    line: Option<usize>,
}

impl ConfigFault {
    /// A fault of the file as a whole.
    pub(super) fn of_file(message: String) -> Self {
        Self { path: String::new(), message, line: None }
    }

    fn at(self, lines: &LineFinder<'_>) -> Self {
        Self { line: lines.find(&self.path), ..self }
    }

    /// The path of the key; empty if it is the file as a whole.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The line of the key, counted from 1, where it is known.
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
        self.line.map_or(Ok(()), |line| write!(f, " (line {line})"))
    }
}

/// Everything that is wrong with a configuration; at least one fault. Displays one line for each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigFaults(Vec<ConfigFault>);

impl ConfigFaults {
    /// The faults, in the order in which the file was read.
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

/// Collects faults and warnings while a file is read. Reading goes on after a fault, so that one run shows all.
#[derive(Default)]
pub(super) struct FaultReport {
    faults: RefCell<Vec<ConfigFault>>,
    warnings: RefCell<Vec<ConfigFault>>,
}

impl FaultReport {
    pub(super) fn fault(&self, path: &str, message: impl Into<String>) {
        let fault = ConfigFault { path: path.to_owned(), message: message.into(), line: None };
        self.faults.borrow_mut().push(fault);
    }

    pub(super) fn warning(&self, path: &str, message: &str) {
        let warning = ConfigFault { path: path.to_owned(), message: message.to_owned(), line: None };
        self.warnings.borrow_mut().push(warning);
    }

    /// The warnings, with the lines of their keys.
    pub(super) fn warnings(&self, lines: &LineFinder<'_>) -> Vec<String> {
        self.warnings.borrow_mut().drain(..).map(|warning| warning.at(lines).to_string()).collect()
    }

    /// The faults with the lines of their keys, if there are any.
    pub(super) fn into_faults(self, lines: &LineFinder<'_>) -> Option<ConfigFaults> {
        let faults: Vec<_> = self.faults.into_inner().into_iter().map(|fault| fault.at(lines)).collect();
        (!faults.is_empty()).then_some(ConfigFaults(faults))
    }
}

/// A text of the file's as a message can show it: quoted, on one line and not long.
pub(super) fn shown(text: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    let cut: String = text.chars().take(CHARACTERS_MAX).collect();
    if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
}
