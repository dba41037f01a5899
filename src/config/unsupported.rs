//! Keys of the schema whose function is still to come. They may be written as off. Switching one on is a fault,
//! so that no one believes to have what is not there.

use std::time::Duration;

use super::document::Node;
use super::reader::Value;
use super::units;

/// Every such key. The function that reads one takes its line out.
pub(super) const NOT_YET: &[(&str, Shape)] = &[
    ("tenants.*.cid", Shape::Word("inject")),
    ("tenants.*.cid_batch", Shape::Count),
    ("tenants.*.resend_guard", Shape::Duration),
];

/// The form of a value that switches its function on. `null`, `false` and `off` are off in every form.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// This one word.
    Word(&'static str),
    /// An integer from 1 to 1,000.
    Count,
    /// A duration; zero is off.
    Duration,
}

/// Whether the value's key is in the table.
pub(super) fn is_listed(value: &Value<'_>) -> bool {
    shape_of(value).is_some()
}

/// Judges the value of a key in the table.
pub(super) fn check(value: &Value<'_>) {
    let Some(shape) = shape_of(value) else { return };
    match is_on(shape, value.node()) {
        None => value.fault(format!("expected {}", shape.expected())),
        Some(true) => value.fault("not yet supported; remove the key"),
        Some(false) => {}
    }
}

fn shape_of(value: &Value<'_>) -> Option<Shape> {
    NOT_YET.iter().find(|(schema, _)| *schema == value.schema()).map(|(_, shape)| *shape)
}

/// `None`: the value has another form.
fn is_on(shape: Shape, node: &Node) -> Option<bool> {
    match (shape, node) {
        (_, Node::Null | Node::Bool(false)) => Some(false),
        (_, Node::Text(text)) if text.as_str() == "off" => Some(false),
        (Shape::Word(word), Node::Text(text)) => (text.as_str() == word).then_some(true),
        (Shape::Duration, Node::Text(text)) => {
            units::duration(text).ok().map(|duration| duration > Duration::ZERO)
        }
        (Shape::Count, Node::Integer(count)) => (1..=1000).contains(count).then_some(true),
        _ => None,
    }
}

impl Shape {
    fn expected(self) -> String {
        match self {
            Self::Word(word) => format!("off or {word}"),
            Self::Count => "an integer from 1 to 1000".to_owned(),
            Self::Duration => "a duration such as 500ms, 10s or 24h, at most 31 days".to_owned(),
        }
    }
}
