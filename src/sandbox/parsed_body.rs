//! Bodies, parsed as their operation expects.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::form::{self, ReceivedPart};
use super::json::{self, member};
use crate::operation::BodyRule;

/// A body parsed as its operation expects. `None` inside means that it could not be parsed.
#[derive(Debug)]
pub(super) enum ParsedBody {
    Dropped,
    Json(Option<Map<String, Value>>),
    Form(Option<Vec<ReceivedPart>>),
}

impl ParsedBody {
    pub(super) fn read(rule: BodyRule, headers: &HeaderMap, body: &Bytes) -> Self {
        match rule {
            BodyRule::None | BodyRule::CidQuery => Self::Dropped,
            BodyRule::TargetList | BodyRule::ImageFiles => {
                let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
                Self::Form(content_type.and_then(|content_type| form::read(content_type, body)))
            }
            _ => Self::Json(json::object(body)),
        }
    }

    /// A member of a JSON body that is not `null`.
    pub(super) fn member(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Json(Some(object)) => member(object, name),
            _ => None,
        }
    }

    /// A file of a form that is not empty: browsers send an empty part for a file input without a file.
    pub(super) fn file(&self, name: &str) -> Option<&ReceivedPart> {
        self.part(name).filter(|part| !part.data.is_empty())
    }

    /// The first part of a form with this name.
    pub(super) fn part(&self, name: &str) -> Option<&ReceivedPart> {
        match self {
            Self::Form(Some(parts)) => parts.iter().find(|part| part.name == name),
            _ => None,
        }
    }
}
