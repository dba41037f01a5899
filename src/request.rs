//! The header fields and targets of requests, as the gateway reads them. Pure.

use std::sync::Arc;

use http::Method;

use crate::http1::fields::FieldValue;
use crate::http1::head::{FieldName, Head, find_name};
use crate::http1::target::Target;
use crate::operation::{BadPath, Path, check_query};

/// The head of a request, with the fields that the gateway looks at.
pub type RequestHead = Head<Field>;

/// A header field that the gateway looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names are the fields' names")]
pub enum Field {
    Accept,
    Authorization,
    ContentType,
    EncryptType,
    IdempotencyKey,
    JpushCredential,
    JpushTenant,
    Prefer,
    RequestId,
    TraceParent,
    TraceState,
}

/// The names in lower case, as HTTP/2 sends them.
static NAMES: [(Field, &str); 11] = [
    (Field::Accept, "accept"),
    (Field::Authorization, "authorization"),
    (Field::ContentType, "content-type"),
    (Field::EncryptType, "x-encrypt-type"),
    (Field::IdempotencyKey, "idempotency-key"),
    (Field::JpushCredential, "x-jpush-credential"),
    (Field::JpushTenant, "x-jpush-tenant"),
    (Field::Prefer, "prefer"),
    (Field::RequestId, "x-request-id"),
    (Field::TraceParent, "traceparent"),
    (Field::TraceState, "tracestate"),
];

impl FieldName for Field {
    fn read(name: &[u8]) -> Option<Self> {
        find_name(&NAMES, name)
    }

    fn number(self) -> u32 {
        self as u32
    }
}

/// The id of a request in its answer, in the request to the vendor and in the logs: 1 to 128 visible ASCII characters.
/// Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The caller's own, if it sent one that can be an id.
    pub fn of(head: &RequestHead) -> Option<Self> {
        Self::parse(head.one(Field::RequestId).ok()??.text()?)
    }

    /// Parses an id; `None` if it is empty, too long, or not visible ASCII.
    pub fn parse(id: &str) -> Option<Self> {
        // Without a way out of the loop the compiler looks at many bytes at a time.
        let is_visible = id.bytes().fold(true, |visible, byte| visible & byte.is_ascii_graphic());
        (matches!(id.len(), 1..=128) && is_visible).then(|| Self(id.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'v> From<&'v RequestId> for FieldValue<'v> {
    fn from(id: &'v RequestId) -> Self {
        Self::parsed(id.0.as_bytes())
    }
}

/// Whether a request is a health probe, which needs no credentials, no budget and no vendor.
pub fn is_probe(head: &RequestHead) -> bool {
    matches!(head.method, Method::GET | Method::HEAD) && is_root(&head.target)
}

/// Whether a target is `/`, also with slashes repeated, with or without a query.
fn is_root(target: &Target) -> bool {
    let path = target.path();
    !path.is_empty()
        && path.bytes().all(|byte| byte == b'/')
        && target.query().is_none_or(|query| check_query(query).is_ok())
}

/// The path of a target in the one form that is matched and sent on, if all of the target can be read in one way only.
pub fn judge(target: &Target) -> Result<Path<'_>, BadPath> {
    if let Some(query) = target.query() {
        check_query(query)?;
    }
    Path::parse(target.path()).map(Path::documented)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::FIELD_NAMES_MAX;

    #[test]
    fn each_field_has_a_number_of_its_own() {
        let numbers: Vec<_> = NAMES.iter().map(|(field, _)| field.number()).collect();
        assert_eq!(numbers, (0..).take(NAMES.len()).collect::<Vec<_>>());
        assert!(numbers.len() <= FIELD_NAMES_MAX as usize);
    }

    #[test]
    fn ids_are_visible_ascii_of_some_length() {
        for (id, is_good) in [
            ("a", true),
            ("!~\"\\", true),
            (&"x".repeat(128), true),
            (&"x".repeat(129), false),
            ("", false),
            ("a b", false),
            ("a\u{7f}", false),
            ("é", false),
        ] {
            assert_eq!(RequestId::parse(id).is_some(), is_good, "{id}");
        }
    }

    #[test]
    fn all_of_a_target_is_judged() {
        let judge_path = |raw| judge(&Target::parse(raw)).map(|path| path.as_str().to_owned());
        assert_eq!(judge_path("http://h//a/?b").as_deref(), Ok("/a"));
        assert_eq!(judge_path("/v3/device/tags//x/").as_deref(), Ok("/v3/tags/x"));
        for fragment in ["/v3/tags/vip#2", "/v3/push#/validate", "/a?b#c", "/#", "http://h/a#"] {
            assert_eq!(judge_path(fragment), Err(BadPath::Fragment), "{fragment}");
        }
        assert_eq!(judge_path("http://h#/a"), Err(BadPath::Relative));
        assert!(
            is_root(&Target::parse("/?a"))
                && is_root(&Target::parse("//"))
                && !is_root(&Target::parse(""))
                && !is_root(&Target::parse("/?a#b"))
                && !is_root(&Target::parse("/#"))
        );
    }
}
