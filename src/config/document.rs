//! YAML text becomes a tree of nodes, within bounds that hold for hostile text too.
//!
//! The YAML library's own tree type is not used: it copies what aliases stand for almost without a limit,
//! quotes values in its errors, and leaves texts behind in memory.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use super::fault::ConfigFault;

/// The longest text that is read.
pub(super) const BYTES_MAX: usize = 4 << 20;

/// Nodes a document may have once its aliases are copied out.
const NODES_MAX: usize = 500_000;

/// Bytes its texts and keys may have then.
const TEXT_BYTES_MAX: usize = 2 * BYTES_MAX;

/// How deep lists and mappings may nest. The schema needs seven.
const DEPTH_MAX: usize = 64;

/// A value of the document.
pub(super) enum Node {
    Null,
    Bool(bool),
    Integer(i128),
    /// A fraction, or an integer too long to be of use.
    OtherNumber,
    /// Wiped when it goes: it may be a secret.
    Text(Zeroizing<String>),
    List(Vec<Node>),
    /// In the file's order; no key comes twice.
    Map(Vec<(String, Node)>),
}

/// Reads one YAML document. Syntax, duplicate keys and the bounds above give one fault, with its line where the
/// library knows it.
pub(super) fn read(text: &str) -> Result<Node, ConfigFault> {
    if text.len() > BYTES_MAX {
        return Err(too_long());
    }
    refuse_slow_text(text)?;
    let bounds = Bounds {
        nodes: Cell::new(NODES_MAX),
        text_bytes: Cell::new(TEXT_BYTES_MAX),
        problem: Cell::new(None),
    };
    let seed = NodeSeed { bounds: &bounds, depth: DEPTH_MAX };
    seed.deserialize(serde_yaml::Deserializer::from_str(text)).map_err(|error| describe(&error, &bounds))
}

/// The fault of a text of more than [`BYTES_MAX`].
pub(super) fn too_long() -> ConfigFault {
    ConfigFault::of_file(format!("the configuration is longer than {} MiB", BYTES_MAX >> 20))
}

/// Refuses what the scanner of the YAML library would take minutes or hours for: it looks at every open bracket
/// for every token, and at every directive for every other. Counting brackets in quotes and comments too errs on
/// the side of a refusal, for files that no one writes.
fn refuse_slow_text(text: &str) -> Result<(), ConfigFault> {
    let mut open = 0_usize;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('%') {
            return Err(ConfigFault::of_file(format!("line {}: directives are not used here", index + 1)));
        }
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            if open > 4 * DEPTH_MAX {
                return Err(ConfigFault::of_file(format!("line {}: too many open brackets", index + 1)));
            }
        }
    }
    Ok(())
}

fn describe(error: &serde_yaml::Error, bounds: &Bounds) -> ConfigFault {
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

/// What is left of the bounds.
struct Bounds {
    nodes: Cell<usize>,
    text_bytes: Cell<usize>,
    /// Set when this module refused, so that its own words are reported.
    problem: Cell<Option<&'static str>>,
}

impl Bounds {
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
    bounds: &'b Bounds,
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

/// Reads a key that its mapping does not have yet. Refusing the second one here makes the library add its place.
struct KeySeed<'b> {
    bounds: &'b Bounds,
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
