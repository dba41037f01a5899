//! Finds the line of a key. The tree of values carries no lines, because the YAML library gives positions in errors
//! only: so the text is parsed once more, and the parser is stopped by an error at the key.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::words::segment;

/// Upper bound of bytes parsed to find lines. That is enough for a thousand faults in a file of usual size, and for one
/// in a file of any size; faults after that are reported without a line.
const WORK_BYTES_MAX: usize = 32 << 20;

/// The rest of [`WORK_BYTES_MAX`], which all files of a configuration share.
pub(super) struct LineWork(Cell<usize>);

impl Default for LineWork {
    fn default() -> Self {
        Self(Cell::new(WORK_BYTES_MAX))
    }
}

impl LineWork {
    /// Pays for one look through a text; `None` if nothing is left.
    fn pay(&self, bytes: usize) -> Option<()> {
        let left = self.0.get();
        self.0.set(left.saturating_sub(bytes));
        (left > 0).then_some(())
    }
}

/// The lines of keys in one text by their paths; `None` for a path that is not in it.
pub(super) type Lines = HashMap<String, Option<usize>>;

/// Finds lines in a text that has been parsed as YAML before.
pub(super) struct LineFinder<'t> {
    text: &'t str,
    /// Lines that were found in this text before.
    known: &'t Lines,
    found: RefCell<Lines>,
    work: &'t LineWork,
}

impl<'t> LineFinder<'t> {
    pub(super) fn of(text: &'t str, known: &'t Lines, work: &'t LineWork) -> Self {
        Self { text, known, found: RefCell::default(), work }
    }

    /// Every line that was asked for.
    pub(super) fn into_found(self) -> Lines {
        self.found.into_inner()
    }

    /// The line of the key at `path`, counted from 1. A key that is missing gives the line of the nearest section or
    /// list above it. `None` for the root, and once [`WORK_BYTES_MAX`] are used up.
    pub(super) fn find(&self, path: &str) -> Option<usize> {
        let mut path = path;
        while !path.is_empty() {
            // A known line is paid for as well: the same files shall give the same lines, whatever was known.
            self.work.pay(self.text.len())?;
            let line = self.known.get(path).copied().unwrap_or_else(|| self.find_written(path));
            self.found.borrow_mut().insert(path.to_owned(), line);
            if let Some(line) = line {
                return Some(line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
        None
    }

    fn find_written(&self, path: &str) -> Option<usize> {
        let found = Cell::new(false);
        let search = KeyPathSearch { wanted: path, at: String::new(), found: &found };
        let error = search.deserialize(serde_yaml::Deserializer::from_str(self.text)).err()?;
        error.location().filter(|_| found.get()).map(|place| place.line())
    }
}

/// One step of a depth-first search for the key at `wanted`.
struct KeyPathSearch<'w> {
    wanted: &'w str,
    /// The path of the value that is being read.
    at: String,
    found: &'w Cell<bool>,
}

impl KeyPathSearch<'_> {
    /// The search one step further, if `wanted` leads through that step.
    fn by(&self, step: &str) -> Option<Self> {
        let at = format!("{}{step}", self.at);
        // The root has no name, so a path starts with its first key and not with a dot.
        let at = at.strip_prefix('.').unwrap_or(&at).to_owned();
        let rest = self.wanted.strip_prefix(&at)?;
        (rest.is_empty() || rest.starts_with(['.', '['])).then_some(Self { at, ..*self })
    }

    fn is_there(&self) -> bool {
        self.at == self.wanted
    }

    /// Ends the parse with an error, to which the library adds the position it has reached.
    fn stop<E: Error>(&self) -> E {
        self.found.set(true);
        E::custom("here")
    }
}

impl<'de> DeserializeSeed<'de> for KeyPathSearch<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.is_there() {
            self.found.set(true);
        }
        deserializer.deserialize_any(self)
    }
}

/// Accepts lists and mappings only. A scalar is an error at its position, which is where the search may have ended.
impl<'de> Visitor<'de> for KeyPathSearch<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or a mapping")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        if self.is_there() {
            return Err(self.stop());
        }
        for index in 0.. {
            let more = match self.by(&format!("[{index}]")) {
                Some(item) => access.next_element_seed(item)?.is_some(),
                None => access.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        if self.is_there() {
            return Err(self.stop());
        }
        while let Some(way) = access.next_key_seed(KeySearch(&self))? {
            match way {
                Some(value) => access.next_value_seed(value)?,
                None => drop(access.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Reads a mapping's key and stops there if it is the wanted one. Stopping at the value instead would give the line
/// below, where the value is a mapping itself.
struct KeySearch<'w, 'k>(&'k KeyPathSearch<'w>);

impl<'de, 'w> DeserializeSeed<'de> for KeySearch<'w, '_> {
    type Value = Option<KeyPathSearch<'w>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'w> Visitor<'_> for KeySearch<'w, '_> {
    type Value = Option<KeyPathSearch<'w>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        let way = self.0.by(&format!(".{}", segment(key)));
        match way {
            Some(way) if way.is_there() => Err(way.stop()),
            way => Ok(way),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
listeners:
  - address: 127.0.0.1:8080
  -
    address: 127.0.0.1:8081
tenants:
  shop:
    app: { key: appkey,
           secret: { env: X } }
  \"a.b\":
    app: *anchor
callers:
  one: &one { allow: [ push,
                       file ] }
  two: *one
";

    #[test]
    fn keys_have_the_line_they_are_written_at() {
        let text = TEXT.replace("*anchor", "5");
        let (known, work) = (Lines::new(), LineWork::default());
        let lines = LineFinder::of(&text, &known, &work);
        let rows = [
            ("listeners", Some(1)),
            ("listeners[0]", Some(2)),
            ("listeners[0].address", Some(2)),
            ("listeners[1].address", Some(4)),
            ("tenants.shop", Some(6)),
            ("tenants.shop.app", Some(7)),
            ("tenants.shop.app.secret", Some(8)),
            ("tenants.\"a.b\".app", Some(10)),
            ("callers.one.allow[0]", Some(12)),
            ("callers.one.allow[1]", Some(13)),
            // Where the anchor is.
            ("callers.two.allow[1]", Some(13)),
            // A missing key has the line of what it would be in.
            ("tenants.shop.group.key", Some(6)),
            ("listeners[5]", Some(1)),
            ("callers.one.allow[0].x", Some(12)),
            ("budgets.push.limit", None),
            ("", None),
        ];
        for (path, expected) in rows {
            assert_eq!(lines.find(path), expected, "{path}");
        }
    }

    #[test]
    fn the_work_is_bounded() {
        let text = format!("a: {}\n", "x".repeat(WORK_BYTES_MAX / 2));
        let (known, work) = (Lines::new(), LineWork::default());
        let lines = LineFinder::of(&text, &known, &work);
        assert_eq!(lines.find("a"), Some(1));
        assert_eq!(lines.find("b"), None);
        assert_eq!(lines.find("a"), None);
    }
}
