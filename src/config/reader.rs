//! Reads typed values out of the tree. A wrong value records a fault with the path of its key, and reading goes on.
//!
//! Methods return `None` only after they have recorded why, or where the value is absent.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::fault::{FileReport, Place};
use super::key_path::KeyPath;
use super::tree::{Mapping, Node};
use super::{units, words};

/// Whether a duration may be zero.
#[derive(Clone, Copy)]
pub(super) enum Zero {
    /// Zero is allowed and means off.
    Allowed,
    /// Zero is a fault.
    Refused,
}

/// A value that is written in the file and is not `null`.
pub(super) struct ConfigValue<'n> {
    node: Node<'n>,
    path: KeyPath<'n>,
    file: FileReport<'n>,
}

impl<'n> ConfigValue<'n> {
    /// The value of a whole document.
    pub(super) fn root(node: Node<'n>, file: FileReport<'n>) -> Self {
        Self { node, path: KeyPath::default(), file }
    }

    /// The file that the value is written in.
    pub(super) fn file(&self) -> FileReport<'n> {
        self.file
    }

    /// The place of its key, for faults of other values.
    pub(super) fn place(&self) -> Place<'n> {
        Place { path: self.path.clone(), file: self.file }
    }

    /// The path of its key.
    pub(super) fn path(&self) -> &KeyPath<'n> {
        &self.path
    }

    pub(super) fn fault(&self, message: impl Into<String>) {
        self.file.fault(&self.path.to_string(), message);
    }

    pub(super) fn warning(&self, message: &str) {
        self.file.warning(&self.path.to_string(), message);
    }

    /// Records a fault and returns nothing, for the end of a reading function.
    pub(super) fn refuse<T>(&self, message: impl Into<String>) -> Option<T> {
        self.fault(message);
        None
    }

    /// Reads a text that is not empty. A value of another type is not quoted in the fault: it may be a secret.
    pub(super) fn text(&self) -> Option<&'n str> {
        match self.node {
            Node::Text("") => self.refuse("empty"),
            Node::Text(text) => Some(text),
            Node::Bool(_) | Node::Integer(_) | Node::OtherNumber => {
                self.refuse("expected a text; write it in quotes")
            }
            Node::Null | Node::List(_) | Node::Map(_) => self.refuse("expected a text"),
        }
    }

    /// Reads a share, such as `5%`.
    pub(super) fn percent(&self, what: &str, example: &str) -> Option<u8> {
        let percent = match self.node {
            Node::Text(text) => text.strip_suffix('%').and_then(units::percent),
            _ => None,
        };
        percent.or_else(|| {
            self.refuse(format!(
                "expected a share of the {what} such as {example}, from 0% to 100%{}",
                self.not_this()
            ))
        })
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self.node {
            Node::Bool(flag) => Some(flag),
            _ => self.refuse(format!("expected true or false{}", self.not_this())),
        }
    }

    /// Reads an integer within a range, both ends included.
    pub(super) fn integer(&self, range: &RangeInclusive<u32>) -> Option<u32> {
        let (low, high) = (range.start(), range.end());
        match self.node {
            Node::Integer(number) => match u32::try_from(number) {
                Ok(number) if range.contains(&number) => Some(number),
                _ => self.refuse(format!("{number} is not within {low} and {high}")),
            },
            _ => self.refuse(format!("expected an integer from {low} to {high}{}", self.not_this())),
        }
    }

    /// Reads an integer from 1 to `max`.
    pub(super) fn positive(&self, max: u32) -> Option<NonZeroU32> {
        self.integer(&(1..=max)).map(|number| NonZeroU32::new(number).expect("the range starts at 1"))
    }

    pub(super) fn duration(&self, zero: Zero) -> Option<Duration> {
        let text = match self.node {
            Node::Text(text) => text,
            Node::Integer(_) | Node::OtherNumber => {
                return self.refuse("a duration needs a unit, such as 500ms, 10s or 24h");
            }
            _ => return self.refuse("expected a duration such as 500ms, 10s, 1m30s or 24h"),
        };
        match (units::duration(text), zero) {
            (Err(problem), _) => self.refuse(format!("{problem}{}", self.not_this())),
            (Ok(Duration::ZERO), Zero::Refused) => self.refuse("must be longer than 0"),
            (Ok(duration), _) => Some(duration),
        }
    }

    /// Reads a number of bytes from 1 to `max`.
    pub(super) fn size(&self, max: u64) -> Option<usize> {
        let bytes = match self.node {
            Node::Integer(number) => u64::try_from(number).ok(),
            Node::Text(text) => units::size(text),
            _ => None,
        };
        match bytes {
            None => self.refuse(format!(
                "expected a size such as 50KiB, 10MiB or a number of bytes{}",
                self.not_this()
            )),
            Some(0) => self.refuse("must be more than 0"),
            Some(bytes) if bytes > max => self.refuse(format!("must be at most {max} bytes")),
            Some(bytes) => {
                usize::try_from(bytes).ok().or_else(|| self.refuse("more than this machine can address"))
            }
        }
    }

    /// Reads one of the given words and returns the value beside it.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = if let Node::Text(text) = self.node { text } else { "" };
        let chosen = choices.iter().find(|(word, _)| *word == text);
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        chosen.map(|(_, choice)| *choice).or_else(|| {
            let (known, hint) = (words.join(", "), words::hint(text, words.iter().copied()));
            let written = self.written().map_or_else(String::new, |text| format!("; {text} is none of them"));
            self.refuse(format!("expected one of: {known}{written}{hint}"))
        })
    }

    /// The end of a message that says what was written, such as `, not "soon"`; empty where it may be a secret.
    pub(super) fn not_this(&self) -> String {
        self.written().map_or_else(String::new, |text| format!(", not {text}"))
    }

    /// The text that was written, quoted; `None` for other types and for what may be a secret.
    fn written(&self) -> Option<String> {
        match self.node {
            Node::Text(text) if !text.is_empty() => words::quoted(text),
            _ => None,
        }
    }

    /// The items of a list, which must not be empty. An item that is `null` counts.
    pub(super) fn items(&self) -> Vec<Self> {
        match self.node {
            Node::List(items) if !items.is_empty() => items
                .iter()
                .enumerate()
                .map(|(index, node)| self.child(node, self.path.item(index)))
                .collect(),
            Node::List(_) => self.refuse("must not be empty").unwrap_or_default(),
            _ => self.refuse("expected a list").unwrap_or_default(),
        }
    }

    /// The entries of a mapping whose keys are names that the operator chose. The mapping must not be empty.
    pub(super) fn named(&self) -> Vec<(&'n str, Self)> {
        match self.node {
            Node::Map(entries) if !entries.is_empty() => {
                entries.iter().map(|(name, node)| (name, self.child(node, self.path.key(name)))).collect()
            }
            Node::Map(_) => self.refuse("must not be empty").unwrap_or_default(),
            _ => self.refuse("expected a mapping of names").unwrap_or_default(),
        }
    }

    pub(super) fn is_text(&self, text: &str) -> bool {
        matches!(self.node, Node::Text(written) if written == text)
    }

    pub(super) fn is_empty_list(&self) -> bool {
        matches!(self.node, Node::List(items) if items.is_empty())
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.node, Node::Null)
    }

    pub(super) fn is_section(&self) -> bool {
        matches!(self.node, Node::Map(_))
    }

    /// Reads a mapping whose keys the schema fixes. `null` counts as an empty one.
    pub(super) fn section(&self) -> Section<'n> {
        let (entries, broken) = match self.node {
            Node::Map(entries) => (entries, false),
            Node::Null => (Mapping::default(), false),
            _ => {
                self.fault("expected a section");
                (Mapping::default(), true)
            }
        };
        let value = self.child(self.node, self.path.clone());
        Section { value, entries, known: Vec::new(), broken, private: false, unknown: "unknown key" }
    }

    fn child(&self, node: Node<'n>, path: KeyPath<'n>) -> Self {
        Self { node, path, file: self.file }
    }
}

/// A mapping whose keys the schema fixes. On drop, every key that was not asked for becomes a fault. Doing this in
/// `Drop` means that no early return can skip the check.
pub(super) struct Section<'n> {
    value: ConfigValue<'n>,
    entries: Mapping<'n>,
    known: Vec<&'static str>,
    /// The value is no mapping. That has been reported, so missing keys are not reported as well.
    broken: bool,
    // Unknown keys are not quoted in messages.
    private: bool,
    /// The message for unknown keys.
    unknown: &'static str,
}

impl<'n> Section<'n> {
    /// Says `message` of unknown keys.
    pub(super) fn calling_unknown(mut self, message: &'static str) -> Self {
        self.unknown = message;
        self
    }

    /// Hides unknown keys in messages. In a section that holds secrets, a forgotten colon turns a secret into a key.
    pub(super) fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// The section as a value, for faults that concern all of it.
    pub(super) fn value(&self) -> &ConfigValue<'n> {
        &self.value
    }

    /// The value of a key; `None` if it is absent or `null`, so that the default applies.
    pub(super) fn get(&mut self, key: &'static str) -> Option<ConfigValue<'n>> {
        self.known.push(key);
        let (_, node) =
            self.entries.iter().find(|(name, node)| *name == key && !matches!(node, Node::Null))?;
        Some(self.child(node, key))
    }

    /// The value of a key that has no default. Records a fault if it is absent.
    pub(super) fn required(&mut self, key: &'static str) -> Option<ConfigValue<'n>> {
        let value = self.get(key);
        if value.is_none() && !self.broken {
            self.child(Node::Null, key).fault("missing");
        }
        value
    }

    /// A section that may be left out because all its keys have defaults.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'n> {
        self.get(key).unwrap_or_else(|| self.child(Node::Null, key)).section()
    }

    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.get(key).and_then(|value| value.flag()).unwrap_or(default)
    }

    pub(super) fn duration(&mut self, key: &'static str, zero: Zero, default: Duration) -> Duration {
        self.get(key).and_then(|value| value.duration(zero)).unwrap_or(default)
    }

    pub(super) fn size(&mut self, key: &'static str, max: u64, default: usize) -> usize {
        self.get(key).and_then(|value| value.size(max)).unwrap_or(default)
    }

    fn child(&self, node: Node<'n>, key: &'n str) -> ConfigValue<'n> {
        self.value.child(node, self.value.path.key(key))
    }

    fn refuse_unknown(&self, name: &'n str, node: Node<'n>) {
        let value = self.child(node, name);
        let hint = words::hint(name, self.known.iter().copied());
        if self.private {
            self.value.fault(format!("an unknown key, not shown because it may be a secret{hint}"));
        } else {
            value.fault(format!("{}{hint}", self.unknown));
        }
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        for (name, node) in self.entries.iter() {
            if !self.known.contains(&name) {
                self.refuse_unknown(name, node);
            }
        }
    }
}
