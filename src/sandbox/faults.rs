//! Injects faults that a test ordered: the next calls of an operation fail in a given way.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::answer::{BareAnswer, Codes, VendorError};
use crate::operation::OperationId;

/// Upper bound of orders that wait at once.
const ORDERS_MAX: usize = 1000;
/// Upper bound of a delay that can be ordered.
const DELAY_MAX: Duration = Duration::from_hours(1);
/// The end of a message about a body that is no order.
const SHAPE: &str = r#"a fault is written as {"operation":"push","times":3,"kind":"status","status":503}, and the kinds are delay, status, reset, cut and html"#;

/// The way in which a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// The call succeeds, and its answer is delayed.
    Delay,
    /// The call has no effect; the answer is an error of the vendor.
    Status(StatusCode, Option<u32>),
    /// The call has its effect; the connection is reset without an answer.
    Reset,
    /// The call has its effect; the connection is closed in the middle of the answer.
    Cut,
    /// The call has no effect; the answer is an HTML page of the proxy in front of the vendor.
    Html(StatusCode),
}

/// A fault for the next calls.
#[derive(Clone, Debug)]
pub(super) struct InjectedFault {
    /// Operation that fails; `None` means any.
    operation: Option<OperationId>,
    times: u32,
    pub(super) kind: FaultKind,
    pub(super) delay: Duration,
}

/// An order as the test writes it in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultOrder {
    operation: Option<String>,
    times: Option<NonZeroU32>,
    kind: OrderKind,
    delay: Option<String>,
    status: Option<u16>,
    code: Option<u32>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum OrderKind {
    Delay,
    Status,
    Reset,
    Cut,
    Html,
}

impl InjectedFault {
    /// Parses an order; the error says what is wrong with it.
    fn parse(body: &[u8]) -> Result<Self, String> {
        // Parsed as a map first, because serde would also accept an array of the fields' values.
        let order: FaultOrder = serde_json::from_slice(body)
            .and_then(|order| serde_json::from_value(Value::Object(order)))
            .map_err(|error| format!("{error}; {SHAPE}"))?;
        let operation = match &order.operation {
            None => None,
            Some(name) => {
                Some(OperationId::named(name).ok_or_else(|| format!("there is no operation {name:?}"))?)
            }
        };
        let delay = match &order.delay {
            None => Duration::ZERO,
            Some(text) => humantime::parse_duration(text)
                .ok()
                .filter(|delay| *delay <= DELAY_MAX)
                .ok_or_else(|| format!("delay {text:?} is no duration of at most an hour, such as \"1s\""))?,
        };
        let status = match order.status {
            None => None,
            Some(number) => Some(
                StatusCode::from_u16(number)
                    .ok()
                    .filter(|status| (200..600).contains(&status.as_u16()))
                    .ok_or_else(|| format!("status {number} is not in 200-599"))?,
            ),
        };
        let kind = order.kind(status)?;
        if kind == FaultKind::Delay && order.delay.is_none() {
            return Err("kind \"delay\" needs a delay".to_owned());
        }
        Ok(Self { operation, times: order.times.map_or(1, NonZeroU32::get), kind, delay })
    }

    /// The answer, if the fault replaces it.
    pub(super) fn answer(&self, operation: OperationId) -> Option<BareAnswer> {
        match self.kind {
            FaultKind::Html(status) => Some(BareAnswer::page(status)),
            FaultKind::Status(status, code) => {
                let code = code.unwrap_or_else(|| Codes::of(&operation).for_status(status));
                let error = VendorError::new(status, code, "A fault was ordered");
                Some(error.into_answer(operation.envelope))
            }
            FaultKind::Delay | FaultKind::Reset | FaultKind::Cut => None,
        }
    }
}

impl FaultOrder {
    fn kind(&self, status: Option<StatusCode>) -> Result<FaultKind, String> {
        if self.code.is_some() && self.kind != OrderKind::Status {
            return Err("code goes with kind \"status\" only".to_owned());
        }
        match (self.kind, status) {
            (OrderKind::Status, Some(status)) => Ok(FaultKind::Status(status, self.code)),
            (OrderKind::Status, None) => Err("kind \"status\" needs a status".to_owned()),
            (OrderKind::Html, status) => Ok(FaultKind::Html(status.unwrap_or(StatusCode::BAD_GATEWAY))),
            (_, Some(_)) => Err("status goes with the kinds \"status\" and \"html\" only".to_owned()),
            (OrderKind::Delay, None) => Ok(FaultKind::Delay),
            (OrderKind::Reset, None) => Ok(FaultKind::Reset),
            (OrderKind::Cut, None) => Ok(FaultKind::Cut),
        }
    }
}

/// Orders that have not been used up, oldest first.
#[derive(Debug, Default)]
pub(super) struct InjectedFaults(VecDeque<InjectedFault>);

impl InjectedFaults {
    /// Adds an order. Returns the number of orders that wait.
    pub(super) fn order(&mut self, body: &[u8]) -> Result<usize, String> {
        let fault = InjectedFault::parse(body)?;
        if self.0.len() >= ORDERS_MAX {
            return Err(format!("{ORDERS_MAX} faults wait already; DELETE /_sandbox clears them"));
        }
        self.0.push_back(fault);
        Ok(self.0.len())
    }

    /// Uses one fault for a call of this operation, if one waits.
    pub(super) fn take(&mut self, operation: OperationId) -> Option<InjectedFault> {
        let position =
            self.0.iter().position(|fault| fault.operation.is_none_or(|only| only == operation))?;
        let fault = self.0.get_mut(position)?;
        fault.times -= 1;
        if fault.times > 0 { Some(fault.clone()) } else { self.0.remove(position) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_orders_are_named() {
        let rows = [
            ("", "EOF"),
            ("[]", "expected a map"),
            (r#"{"operation":"push"}"#, "missing field `kind`"),
            (r#"{"kind":"explode"}"#, "unknown variant `explode`"),
            (r#"{"kind":"cut","often":2}"#, "unknown field `often`"),
            (r#"{"kind":"cut","operation":"pull"}"#, "no operation \"pull\""),
            (r#"{"kind":"cut","times":0}"#, "nonzero"),
            (r#"{"kind":"cut","status":503}"#, "status goes with"),
            (r#"{"kind":"delay"}"#, "needs a delay"),
            (r#"{"kind":"delay","delay":"soon"}"#, "no duration"),
            (r#"{"kind":"delay","delay":"2h"}"#, "no duration"),
            (r#"{"kind":"status"}"#, "needs a status"),
            (r#"{"kind":"status","status":99}"#, "not in 200-599"),
            (r#"{"kind":"reset","code":1}"#, "code goes with"),
        ];
        for (order, expected) in rows {
            let error = InjectedFault::parse(order.as_bytes()).expect_err(order);
            assert!(error.contains(expected), "{order}: {error}");
        }
        for no_order in ["", "[]", r#"{"operation":"push"}"#, r#"{"kind":"explode"}"#] {
            assert!(
                InjectedFault::parse(no_order.as_bytes()).expect_err(no_order).ends_with(SHAPE),
                "{no_order}"
            );
        }
        let (_, example) = SHAPE.split_once("as ").expect("an example");
        let (example, kinds) = example.split_once(", and the kinds are ").expect("the kinds");
        InjectedFault::parse(example.as_bytes()).expect("a good order");
        for kind in kinds.split(", ").flat_map(|kinds| kinds.split(" and ")) {
            serde_json::from_value::<OrderKind>(kind.into()).expect(kind);
        }
    }

    #[test]
    fn faults_are_used_up_in_order() {
        let push = OperationId::named("push").expect("a row");
        let cid = OperationId::named("push-cid").expect("a row");
        let mut faults = InjectedFaults::default();
        for order in [r#"{"operation":"push","times":2,"kind":"cut"}"#, r#"{"kind":"reset","delay":"5ms"}"#] {
            faults.order(order.as_bytes()).expect("a good order");
        }
        let seen = [push, cid, push, push].map(|operation| faults.take(operation).map(|fault| fault.kind));
        assert_eq!(seen, [Some(FaultKind::Cut), Some(FaultKind::Reset), Some(FaultKind::Cut), None]);
    }
}
