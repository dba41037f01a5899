//! Cids: the vendor's ids of single pushes, by which it recognises a repeated push and does not send it again.

use serde::Deserialize;

use super::media_id::is_uuid;

/// A cid of one application: `{app key}-{uuid}` (`docs/vendor.md`, V24). It needs no escaping in a JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cid(Box<str>);

/// Whether a text has the form of this application's cids.
pub(super) fn is_cid(text: &str, app_key: &str) -> bool {
    text.strip_prefix(app_key).and_then(|rest| rest.strip_prefix('-')).is_some_and(is_uuid)
}

impl Cid {
    /// Parses a cid of this application; `None` for any other text.
    pub fn parse(text: &str, app_key: &str) -> Option<Self> {
        let plain = !text.contains(['"', '\\']);
        (plain && is_cid(text, app_key)).then(|| Self(text.into()))
    }

    /// The valid cids in an answer of `GET /v3/push/cid`; empty if the answer is not of that form.
    pub fn read_list(answer: &[u8], app_key: &str) -> Vec<Self> {
        #[derive(Deserialize)]
        struct List {
            cidlist: Vec<String>,
        }
        let list = serde_json::from_slice::<List>(answer).map(|list| list.cidlist).unwrap_or_default();
        list.iter().filter_map(|cid| Self::parse(cid, app_key)).collect()
    }

    /// Whether the cid belongs to this application.
    pub fn is_of(&self, app_key: &str) -> bool {
        is_cid(&self.0, app_key)
    }

    /// The cid as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Writes the cid into a JSON object, before its first entry. Every other byte stays as it is.
    ///
    /// `None` if there is no brace; no checked push is without one.
    pub fn write_into(&self, push: &[u8]) -> Option<Vec<u8>> {
        let entries = memchr::memchr(b'{', push)? + 1;
        let (start, rest) = push.split_at(entries);
        let is_empty = rest.trim_ascii_start().starts_with(b"}");
        let end = if is_empty { &b"\""[..] } else { b"\"," };
        Some([start, b"\"cid\":\"", self.0.as_bytes(), end, rest].concat())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const KEY: &str = "7d431e42dfa6a6d693ac2d04";
    const CID: &str = "7d431e42dfa6a6d693ac2d04-374004a2-bc6c-4abc-bde5-9f1a9671d307";

    fn cid() -> Cid {
        Cid::parse(CID, KEY).expect("a cid of this key")
    }

    fn written(push: &str) -> String {
        String::from_utf8(cid().write_into(push.as_bytes()).expect("an object")).expect("UTF-8")
    }

    #[test]
    fn a_cid_stands_behind_the_first_brace() {
        assert_eq!(written(r#"{"a":{}}"#), format!(r#"{{"cid":"{CID}","a":{{}}}}"#));
        assert_eq!(written(" \n{ \"a\":1}"), format!(" \n{{\"cid\":\"{CID}\", \"a\":1}}"));
        assert_eq!(written("\u{feff}{\"a\":1}"), format!("\u{feff}{{\"cid\":\"{CID}\",\"a\":1}}"));
        assert_eq!(written("{}"), format!("{{\"cid\":\"{CID}\"}}"));
        assert_eq!(written("{ \r\n}"), format!("{{\"cid\":\"{CID}\" \r\n}}"));
        assert_eq!(cid().write_into(b"[]"), None);
    }

    #[test]
    fn only_cids_of_the_application_are_taken_from_an_answer() {
        let other = CID.replace("7d4", "8d4");
        let answer = format!(r#"{{"cidlist":["{CID}","{other}","","{CID}x","{KEY}-\"}}"]}}"#);
        assert_eq!(Cid::read_list(answer.as_bytes(), KEY), [cid()]);
        for none in ["", "{}", "[]", r#"{"cidlist":null}"#, r#"{"error":{"code":2006}}"#, "<html>"] {
            assert!(Cid::read_list(none.as_bytes(), KEY).is_empty(), "{none}");
        }
        assert_eq!(Cid::parse("a\"b-374004a2-bc6c-4abc-bde5-9f1a9671d307", "a\"b"), None);
    }

    proptest! {
        /// A push with a cid written in says what it said before, and the cid.
        #[test]
        fn nothing_else_changes(keys in prop::collection::btree_map("[a-b\"\\\\ {}é]{0,5}", ".{0,8}", 0..5), blanks in "[ \\t\\r\\n]{0,3}") {
            let push = format!("{blanks}{}{blanks}", serde_json::to_string(&keys).expect("a map"));
            let mut read: Value = serde_json::from_str(&written(&push)).expect("JSON");
            let found = read.as_object_mut().expect("an object").remove("cid");
            prop_assert_eq!(found, Some(Value::from(CID)));
            prop_assert_eq!(read, serde_json::from_str::<Value>(&push).expect("JSON"));
        }
    }
}
