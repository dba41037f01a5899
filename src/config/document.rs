//! Parses YAML text into a tree of values, within limits that hold for hostile text too.
//!
//! The YAML library's own tree type is not used: it expands aliases almost without a limit, quotes values in its
//! errors, and does not wipe texts from memory.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::fault::ConfigFault;
use super::tree::{Node, Tree, TreeWriter};

/// Upper bound of bytes in all files of a configuration together.
pub const BYTES_MAX: usize = 64 << 20;

/// Upper bound of nodes in all documents together, after their aliases are expanded. A caller on one line has one node
/// in 16 bytes.
const NODES_MAX: usize = BYTES_MAX / 8;

/// Upper bound of bytes in all texts and keys together, after aliases are expanded.
const TEXT_BYTES_MAX: usize = 2 * BYTES_MAX;

/// The nodes and the bytes of text that one document may have although its text is short, by its aliases.
const NODES_OF_ANY: usize = 500_000;
const TEXT_BYTES_OF_ANY: usize = 8 << 20;

/// Upper bound of marks that begin or end a value in a text. The YAML library keeps about 100 bytes for each value
/// before any is counted. A caller on one line has one mark in 10 bytes.
const MARKS_MAX: usize = BYTES_MAX / 8;

/// Upper bound of nested lists and mappings. The schema needs seven.
const DEPTH_MAX: usize = 64;

/// A document that was parsed, and what it takes of the limits.
pub(super) struct Document {
    tree: Tree,
    nodes: usize,
    text_bytes: usize,
}

impl Document {
    /// The value that holds all others.
    pub(super) fn root(&self) -> Node<'_> {
        self.tree.root()
    }
}

/// Reads one YAML document. A syntax error, a duplicate key or a value beyond the limits gives one fault, with its line
/// where the library knows it. The documents of a configuration share one set of limits.
pub(super) fn read(text: &str, limits: &RemainingLimits) -> Result<Document, ConfigFault> {
    limits.take_bytes(text.len())?;
    refuse_slow_text(text)?;
    // Long texts may have more nodes. Their share is given out here, so that a short one cannot have them by aliases.
    let bounds = limits.of_one(text.len());
    let (nodes, text_bytes) = (bounds.nodes.get(), bounds.text_bytes.get());
    let tree = RefCell::new(TreeWriter::new());
    let seed = NodeSeed { bounds: &bounds, tree: &tree, depth: DEPTH_MAX };
    let read = seed.deserialize(serde_yaml::Deserializer::from_str(text));
    limits.give_back(&bounds);
    read.map_err(|error| describe(&error, &bounds))?;
    let (nodes, text_bytes) = (nodes - bounds.nodes.get(), text_bytes - bounds.text_bytes.get());
    Ok(Document { tree: tree.into_inner().finish(), nodes, text_bytes })
}

/// The fault of texts longer than [`BYTES_MAX`].
pub(super) fn too_long() -> ConfigFault {
    ConfigFault::of_file(format!("the configuration is longer than {} MiB", BYTES_MAX >> 20))
}

/// Refuses texts that would keep the YAML library's scanner busy for minutes or hours: it compares every token with
/// every open bracket, and every directive with every other. Brackets in quotes and comments count too, so a file full
/// of those is refused; nobody writes one.
fn refuse_slow_text(text: &str) -> Result<(), ConfigFault> {
    let (mut open, mut marks) = (0_usize, 0_usize);
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('%') {
            return Err(ConfigFault::of_file(format!("line {}: directives are not used here", index + 1)));
        }
        marks += 1;
        let mut before = b'\n';
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => (open, marks) = (open + 1, marks + 1),
                b']' | b'}' => open = open.saturating_sub(1),
                b',' => marks += 1,
                b' ' if matches!(before, b'-' | b'?' | b':') => marks += 1,
                _ => {}
            }
            before = byte;
            if open > 4 * DEPTH_MAX {
                return Err(ConfigFault::of_file(format!("line {}: too many open brackets", index + 1)));
            }
        }
        if marks > MARKS_MAX {
            return Err(ConfigFault::of_file(format!("line {}: too many values", index + 1)));
        }
    }
    Ok(())
}

fn describe(error: &serde_yaml::Error, bounds: &RemainingLimits) -> ConfigFault {
    let text = error.to_string();
    let place = error
        .location()
        .map_or_else(String::new, |at| format!("line {}, column {}: ", at.line(), at.column()));
    let message = if let Some(problem) = bounds.problem.get() {
        format!("{place}{problem}")
    } else if text.contains("invalid type") || text.contains("invalid value") {
        // The library's message quotes the value, which may be a secret.
        format!("{place}a key that is not a text, or a value that does not fit its tag; write it in quotes")
    } else if text.contains("cannot start any token") {
        format!(
            "not valid YAML: {text}; a tab cannot indent (use spaces), and a text that begins with @ or ` needs quotes"
        )
    } else {
        format!("not valid YAML: {text}")
    };
    ConfigFault::of_file(message)
}

/// The rest of each limit while the documents of a configuration are read.
pub(super) struct RemainingLimits {
    /// Bytes of text.
    bytes: Cell<usize>,
    nodes: Cell<usize>,
    text_bytes: Cell<usize>,
    /// The reason for a refusal by this module, reported in place of the library's own message.
    problem: Cell<Option<&'static str>>,
}

impl Default for RemainingLimits {
    fn default() -> Self {
        Self {
            bytes: Cell::new(BYTES_MAX),
            nodes: Cell::new(NODES_MAX),
            text_bytes: Cell::new(TEXT_BYTES_MAX),
            problem: Cell::new(None),
        }
    }
}

impl RemainingLimits {
    /// The number of bytes that the next text may have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Takes the share of a document with a text of so many bytes.
    fn of_one(&self, bytes: usize) -> Self {
        let share = |left: &Cell<usize>, most: usize| {
            let share = left.get().min(most);
            left.set(left.get() - share);
            Cell::new(share)
        };
        Self {
            bytes: Cell::new(0),
            nodes: share(&self.nodes, NODES_OF_ANY.max(bytes / 8)),
            text_bytes: share(&self.text_bytes, TEXT_BYTES_OF_ANY.max(2 * bytes)),
            problem: Cell::new(None),
        }
    }

    /// Takes back what a document did not use of its share.
    fn give_back(&self, rest: &Self) {
        self.nodes.set(self.nodes.get() + rest.nodes.get());
        self.text_bytes.set(self.text_bytes.get() + rest.text_bytes.get());
    }

    /// Takes what `document`, which was read from `text` before, takes of the limits. If less is left, takes nothing and
    /// returns `false`; reading the text again gives the fault.
    pub(super) fn take_known(&self, text: &str, document: &Document) -> bool {
        let rest = |left: &Cell<usize>, used| left.get().checked_sub(used);
        let left = (
            rest(&self.bytes, text.len()),
            rest(&self.nodes, document.nodes),
            rest(&self.text_bytes, document.text_bytes),
        );
        let (Some(bytes), Some(nodes), Some(text_bytes)) = left else { return false };
        self.bytes.set(bytes);
        self.nodes.set(nodes);
        self.text_bytes.set(text_bytes);
        true
    }

    fn take_bytes(&self, bytes: usize) -> Result<(), ConfigFault> {
        self.bytes.set(self.bytes.get().checked_sub(bytes).ok_or_else(too_long)?);
        Ok(())
    }

    fn refuse<E: de::Error>(&self, problem: &'static str) -> E {
        self.problem.set(Some(problem));
        E::custom(problem)
    }

    fn take<E: de::Error>(&self, left: &Cell<usize>, amount: usize) -> Result<(), E> {
        let rest = left.get().checked_sub(amount).ok_or_else(|| self.refuse("the document is too large"))?;
        left.set(rest);
        Ok(())
    }

    fn take_text<E: de::Error>(&self, text: &str) -> Result<(), E> {
        self.take(&self.text_bytes, text.len())
    }
}

/// Writes one value into the tree.
#[derive(Clone, Copy)]
struct NodeSeed<'b> {
    bounds: &'b RemainingLimits,
    tree: &'b RefCell<TreeWriter>,
    depth: usize,
}

impl NodeSeed<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| self.bounds.refuse("too many levels"))?;
        Ok(Self { depth, ..self })
    }

    fn integer(self, number: i128) {
        self.tree.borrow_mut().integer(number);
    }
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.bounds.take(&self.bounds.nodes, 1)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.tree.borrow_mut().null();
        Ok(())
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.tree.borrow_mut().flag(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.integer(value.into());
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.integer(value.into());
        Ok(())
    }

    fn visit_i128<E>(self, value: i128) -> Result<(), E> {
        self.integer(value);
        Ok(())
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<(), E> {
        match i128::try_from(value) {
            Ok(value) => self.visit_i128(value),
            Err(_) => self.visit_f64(f64::INFINITY),
        }
    }

    fn visit_f64<E>(self, _value: f64) -> Result<(), E> {
        self.tree.borrow_mut().other_number();
        Ok(())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        self.bounds.take_text(value)?;
        self.tree.borrow_mut().text(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let item = self.deeper()?;
        let open = self.tree.borrow_mut().list();
        while access.next_element_seed(item)?.is_some() {}
        self.tree.borrow_mut().close(open);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let value = self.deeper()?;
        let open = self.tree.borrow_mut().map();
        let mut seen = HashSet::new();
        while let Some(key) = access.next_key_seed(KeySeed { bounds: self.bounds, seen: &seen })? {
            self.tree.borrow_mut().key(&key);
            seen.insert(key);
            access.next_value_seed(value)?;
        }
        self.tree.borrow_mut().close(open);
        Ok(())
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, _access: A) -> Result<(), A::Error> {
        Err(self.bounds.refuse("tags are not used here"))
    }
}

/// Reads a mapping's key and refuses one that the mapping already has. Refusing it here, not after the mapping was
/// read, makes the library add the line to the error.
struct KeySeed<'b> {
    bounds: &'b RemainingLimits,
    seen: &'b HashSet<String>,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<String, E> {
        if self.seen.contains(key) {
            return Err(self.bounds.refuse("this key stands twice in its section"));
        }
        self.bounds.take_text(key)?;
        Ok(key.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(nodes: usize, text_bytes: usize) -> RemainingLimits {
        RemainingLimits {
            nodes: Cell::new(nodes),
            text_bytes: Cell::new(text_bytes),
            ..RemainingLimits::default()
        }
    }

    proptest! {
        #[test]
        fn a_known_document_takes_of_the_limits_what_reading_takes(
            texts in prop::collection::vec("[a-z]{1,5}", 0..20),
            nodes in 0..30_usize,
            text_bytes in 0..100_usize,
        ) {
            let text = format!("{{ a: &a [ {} ], b: [ *a, *a ] }}", texts.join(","));
            let known = read(&text, &RemainingLimits::default()).expect("good");
            let (anew, again) = (limits(nodes, text_bytes), limits(nodes, text_bytes));
            let fits = read(&text, &anew).is_ok();
            prop_assert_eq!(again.take_known(&text, &known), fits);
            let rest = |of: &RemainingLimits| (of.bytes.get(), of.nodes.get(), of.text_bytes.get());
            if fits {
                prop_assert_eq!(rest(&anew), rest(&again));
            } else {
                prop_assert_eq!(rest(&again), (BYTES_MAX, nodes, text_bytes));
            }
        }
    }
}
