//! Keys of the schema whose function is still to come. They may be written as off. Switching one on is a fault,
//! so that no one believes to have what is not there.

use super::document::Node;
use super::reader::Value;

/// Every such key. The function that reads one takes its line out.
pub(super) const NOT_YET: &[(&str, Shape)] = &[("shared_budgets", Shape::Section)];

/// The form of a value that switches its function on. `null`, `false` and `off` are off in every form.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A mapping; an empty one is off.
    Section,
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
        (Shape::Section, Node::Map(entries)) => Some(!entries.is_empty()),
        _ => None,
    }
}

impl Shape {
    fn expected(self) -> &'static str {
        match self {
            Self::Section => "a section",
        }
    }
}
