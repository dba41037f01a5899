//! Faults of a configuration, and the report that collects them.

use std::cell::RefCell;
use std::fmt;

use super::lines::LineFinder;

/// One fault of a configuration. Never holds a secret, a token or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// Path of the key; empty if the fault concerns the file as a whole.
    path: String,
    /// Says what is wrong and, where it is not obvious, what would be accepted.
    message: String,
    /// Line of the key, counted from 1, where it is known.
    line: Option<usize>,
}

impl ConfigFault {
    /// A fault that concerns the file as a whole.
    pub(super) fn of_file(message: String) -> Self {
        Self { path: String::new(), message, line: None }
    }

    fn at(self, lines: &LineFinder<'_>) -> Self {
        Self { line: lines.find(&self.path), ..self }
    }

    /// Path of the key; empty if the fault concerns the file as a whole.
    pub fn path(&self) -> &str {
        &self.path
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

/// Collects faults and warnings while a file is read. Reading goes on after a fault, so that one run reports all of
/// them.
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

    /// Takes the warnings, each with the line of its key.
    pub(super) fn warnings(&self, lines: &LineFinder<'_>) -> Vec<String> {
        self.warnings.borrow_mut().drain(..).map(|warning| warning.at(lines).to_string()).collect()
    }

    /// The faults, each with the line of its key; `None` if there are none.
    pub(super) fn into_faults(self, lines: &LineFinder<'_>) -> Option<ConfigFaults> {
        let faults: Vec<_> = self.faults.into_inner().into_iter().map(|fault| fault.at(lines)).collect();
        (!faults.is_empty()).then_some(ConfigFaults(faults))
    }
}
