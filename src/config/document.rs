//! Parses YAML text into a tree of nodes, within limits that hold for hostile text too.
//!
//! The YAML library's own tree type is not used: it expands aliases almost without a limit, quotes values in its
//! errors, and does not wipe texts from memory.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use super::fault::ConfigFault;

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

/// One value of the document, with everything below it.
pub(super) enum Node {
    Null,
    Bool(bool),
    Integer(i128),
    /// A fraction, or an integer that does not fit `i128`. No key of the schema takes one.
    OtherNumber,
    /// Wiped on drop: it may be a secret.
    Text(Zeroizing<String>),
    List(Vec<Node>),
    /// The entries in the file's order; no key occurs twice.
    Map(Vec<(String, Node)>),
}

/// Reads one YAML document. A syntax error, a duplicate key or a value beyond the limits gives one fault, with its line
/// where the library knows it. The documents of a configuration share one set of limits.
pub(super) fn read(text: &str, limits: &RemainingLimits) -> Result<Node, ConfigFault> {
    limits.take_bytes(text.len())?;
    refuse_slow_text(text)?;
    // Long texts may have more nodes. Their share is given out here, so that a short one cannot have them by aliases.
    let bounds = limits.of_one(text.len());
    let seed = NodeSeed { bounds: &bounds, depth: DEPTH_MAX };
    let node = seed.deserialize(serde_yaml::Deserializer::from_str(text));
    let node = node.map_err(|error| describe(&error, &bounds));
    limits.give_back(&bounds);
    node
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

#[derive(Clone, Copy)]
struct NodeSeed<'b> {
    bounds: &'b RemainingLimits,
    depth: usize,
}

impl NodeSeed<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| self.bounds.refuse("too many levels"))?;
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.bounds.take(&self.bounds.nodes, 1)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Integer(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(i128::try_from(value).map_or(Node::OtherNumber, Node::Integer))
    }

    fn visit_f64<E>(self, _value: f64) -> Result<Node, E> {
        Ok(Node::OtherNumber)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        self.bounds.take_text(value)?;
        Ok(Node::Text(Zeroizing::new(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let item = self.deeper()?;
        let mut items = Vec::new();
        while let Some(node) = access.next_element_seed(item)? {
            items.push(node);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let value = self.deeper()?;
        let mut seen = HashSet::new();
        let mut entries = Vec::new();
        while let Some(key) = access.next_key_seed(KeySeed { bounds: self.bounds, seen: &seen })? {
            seen.insert(key.clone());
            entries.push((key, access.next_value_seed(value)?));
        }
        Ok(Node::Map(entries))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, _access: A) -> Result<Node, A::Error> {
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
