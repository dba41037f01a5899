//! Finds the budgets that a call draws on.

use serde_json::Value;

use super::images;
use super::parsed_body::ParsedBody;
use super::route::Route;
use crate::operation::{Audience, BudgetName};

/// Budgets that a call draws on: those by the minute, the operation's own first, and the daily ones.
pub(super) fn demands(route: &Route, payload: &ParsedBody) -> (Vec<BudgetName>, Vec<BudgetName>) {
    let operation = route.operation;
    let (mut minute, mut day) = (vec![operation.budget], Vec::new());
    let audiences = audiences(operation.audience, payload);
    let names = |name: &str| {
        let is_set = |value: &Value| !value.is_null() && *value != false;
        audiences.iter().any(|audience| audience.get(name).is_some_and(is_set))
    };
    if matches!(operation.audience, Audience::Push | Audience::Params) && names("file") {
        minute.push(BudgetName::File);
    }
    if names("all") || audiences.iter().any(|audience| **audience == "all") {
        day.push(BudgetName::Broadcast);
    }
    day.extend(images::demands(route, payload));
    (minute, day)
}

/// The audiences of a call's pushes; empty for batches, where each push goes to one device.
fn audiences(place: Audience, payload: &ParsedBody) -> Vec<&Value> {
    let found: Vec<Option<&Value>> = match place {
        Audience::Nobody | Audience::Targets => Vec::new(),
        Audience::Body => vec![payload.member("audience")],
        Audience::Push => vec![payload.member("push").and_then(|push| push.get("audience"))],
        Audience::Params => {
            let pushes = payload.member("params").and_then(Value::as_array).into_iter().flatten();
            pushes.map(|push| push.get("audience")).collect()
        }
    };
    found.into_iter().flatten().filter(|audience| !audience.is_null()).collect()
}
