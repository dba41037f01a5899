//! The line at which a key stands. The tree of values has none, because the YAML library tells places in its errors only:
//! so the text is read once more, and the reading is ended by an error at the key.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::reader::segment;

/// Bytes that are read to find lines. Of a usual file that is a thousand faults; those behind have no line.
const WORK_BYTES_MAX: usize = 32 << 20;

/// Finds lines in a text that is known to be good YAML.
pub(super) struct LineFinder<'t> {
    text: &'t str,
    left: Cell<usize>,
}

impl<'t> LineFinder<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self { text, left: Cell::new(WORK_BYTES_MAX) }
    }

    /// The line of a key by its path, counted from 1; of what it stands in, where it is missing itself.
    pub(super) fn find(&self, path: &str) -> Option<usize> {
        let mut path = path;
        while !path.is_empty() {
            self.left.set(self.left.get().checked_sub(self.text.len())?);
            if let Some(line) = self.find_written(path) {
                return Some(line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
        None
    }

    fn find_written(&self, path: &str) -> Option<usize> {
        let found = Cell::new(false);
        let walk = Walk { wanted: path, at: String::new(), found: &found };
        let error = walk.deserialize(serde_yaml::Deserializer::from_str(self.text)).err()?;
        error.location().filter(|_| found.get()).map(|place| place.line())
    }
}

/// On the way to a path.
struct Walk<'w> {
    wanted: &'w str,
    /// The path so far.
    at: String,
    found: &'w Cell<bool>,
}

impl Walk<'_> {
    /// The way on, if it leads by this step.
    fn by(&self, step: &str) -> Option<Self> {
        let at = format!("{}{step}", self.at);
        // As paths are written: the first key has no dot in front.
        let at = at.strip_prefix('.').unwrap_or(&at).to_owned();
        let rest = self.wanted.strip_prefix(&at)?;
        (rest.is_empty() || rest.starts_with(['.', '['])).then_some(Self { at, ..*self })
    }

    fn is_there(&self) -> bool {
        self.at == self.wanted
    }

    /// The library adds the place of what it was reading.
    fn stop<E: Error>(&self) -> E {
        self.found.set(true);
        E::custom("here")
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.is_there() {
            self.found.set(true);
        }
        deserializer.deserialize_any(self)
    }
}

/// What is neither a list nor a mapping is an error by itself, at its place.
impl<'de> Visitor<'de> for Walk<'_> {
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
        while let Some(way) = access.next_key_seed(KeyWalk(&self))? {
            match way {
                Some(value) => access.next_value_seed(value)?,
                None => drop(access.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// A key of a mapping: the place of its value is a line too low where it is a mapping itself.
struct KeyWalk<'w, 'k>(&'k Walk<'w>);

impl<'de, 'w> DeserializeSeed<'de> for KeyWalk<'w, '_> {
    type Value = Option<Walk<'w>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'w> Visitor<'_> for KeyWalk<'w, '_> {
    type Value = Option<Walk<'w>>;

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
        let lines = LineFinder::of(&text);
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
            // Missing: where it would stand in.
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
        let lines = LineFinder::of(&text);
        assert_eq!(lines.find("a"), Some(1));
        assert_eq!(lines.find("b"), None);
        assert_eq!(lines.find("a"), None);
    }
}
