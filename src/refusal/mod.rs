//! The replies that the gateway makes itself. No other place chooses a status, a code or a reason.
//!
//! SDKs branch on the vendor's codes, so a refusal carries the code that means the same at the vendor, in the
//! envelope of its operation; `X-JPush-Gateway-Reason` tells it from the vendor's own answers.

#![warn(clippy::wildcard_enum_match_arm)]

mod reply;

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

pub use reply::{REASON, ReplyContext};

use crate::auth::Unidentified;
use crate::body::Defect;
use crate::budget::Exhausted;
use crate::delivery::{Delivery, Doubt};
use crate::operation::{BadPath, BudgetName, Family, NoMatch};
use crate::tenant::Denied;
use crate::upstream::CircuitOpen;

/// The reason why the gateway answers a request itself.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The caller is not known.
    #[error(transparent)]
    Unauthenticated(#[from] Unidentified),
    /// The caller is known, but may not make this call.
    #[error(transparent)]
    Denied(Denied),
    /// The path can be read in two ways.
    #[error(transparent)]
    BadPath(#[from] BadPath),
    /// The request can be read in two ways, or has a value that is not allowed.
    #[error("{0}")]
    BadRequest(Cow<'static, str>),
    /// The same, and nothing more can be read from the connection.
    #[error("{0}")]
    Unroutable(&'static str),
    /// No operation has this path.
    #[error("unknown endpoint: the gateway forwards only the calls of its operation table")]
    UnknownEndpoint,
    /// The operations of this path have other methods.
    #[error("this endpoint takes {allow}")]
    MethodNotAllowed {
        /// The value of the `Allow` header.
        allow: String,
    },
    /// The vendor would certainly refuse the body.
    #[error(transparent)]
    InvalidBody(#[from] Defect),
    /// The body is longer than its operation allows.
    #[error("the body is longer than {limit_bytes} bytes, the most this call takes")]
    BodyTooLarge {
        /// The longest body that is accepted.
        limit_bytes: usize,
    },
    /// The head is too long or has too many fields.
    #[error("the header section is over {limit}; send fewer or shorter header fields")]
    HeaderTooLarge {
        /// The limits, for the message.
        limit: &'static str,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive within {}", humantime::format_duration(*.limit))]
    BodyTimeout {
        /// The time that the body had.
        limit: Duration,
    },
    /// The `Idempotency-Key` was used with another call before.
    #[error("this Idempotency-Key came with another call before; a new call needs a new key")]
    IdempotencyConflict,
    /// The call would exceed the vendor's limit or the caller's share.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// The gateway has reached one of its limits.
    #[error("the gateway is at its limit of {what}; nothing was sent, try again")]
    Overloaded {
        /// The name of the limit.
        what: &'static str,
    },
    /// The call could not be written to the state file, which has to be done before it is sent.
    #[error(
        "the gateway cannot write its state file, without which it sends nothing; nothing was sent, try again once its operators made room"
    )]
    StateFile,
    /// The gateway is stopping.
    #[error("the gateway is stopping; nothing was sent, try again")]
    Draining,
    /// There is no connection to the vendor.
    #[error("the vendor could not be reached; nothing was sent, so it is safe to repeat the call")]
    VendorUnreachable,
    /// The vendor's host is down.
    #[error(transparent)]
    VendorCircuitOpen(#[from] CircuitOpen),
    /// The vendor did not answer in time.
    #[error(
        "the vendor did not answer in time; the call may have been delivered, so repeat a push only with a cid"
    )]
    VendorTimeout,
    /// The vendor's connection broke before its answer was whole.
    #[error(
        "the vendor's answer was cut off; the call may have been delivered, so repeat a push only with a cid"
    )]
    VendorInterrupted,
    /// The vendor's edge sent a page in place of an answer.
    #[error("the vendor's edge answered {status} without a JSON body")]
    VendorErrorPage {
        /// The status of the page, which the caller gets too.
        status: StatusCode,
    },
    /// The vendor rejected the gateway's credential.
    #[error(
        "the vendor rejected the gateway's credential for this tenant; the gateway's operators have to renew it"
    )]
    VendorRejectedCredential,
    /// The gateway itself has a fault.
    #[error("an internal error of the gateway")]
    Internal,
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::HostOff => Self::UnknownEndpoint,
            Denied::Forbidden(_) | Denied::TenantRequired => Self::Denied(denied),
        }
    }
}

impl From<NoMatch> for Refusal {
    fn from(no_match: NoMatch) -> Self {
        match no_match {
            NoMatch::UnknownEndpoint => Self::UnknownEndpoint,
            NoMatch::MethodNotAllowed { allow } => Self::MethodNotAllowed { allow },
        }
    }
}

impl Refusal {
    /// The stable name of the refusal in headers, logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unauthenticated(_) => "unauthenticated",
            Self::Denied(Denied::Forbidden(_)) => "forbidden",
            Self::Denied(Denied::TenantRequired) => "tenant-required",
            Self::BadPath(_) => "bad-path",
            Self::BadRequest(_) | Self::Unroutable(_) => "bad-request",
            Self::InvalidBody(defect) if defect.rule.is_of_query() => "bad-request",
            Self::UnknownEndpoint | Self::Denied(Denied::HostOff) => "unknown-endpoint",
            Self::MethodNotAllowed { .. } => "method-not-allowed",
            Self::InvalidBody(_) => "invalid-body",
            Self::BodyTooLarge { .. } => "body-too-large",
            Self::HeaderTooLarge { .. } => "header-too-large",
            Self::BodyTimeout { .. } => "body-timeout",
            Self::IdempotencyConflict => "idempotency-conflict",
            Self::Exhausted(Exhausted::Budget { .. }) => "budget-exhausted",
            Self::Exhausted(Exhausted::Quota { .. }) => "quota-exhausted",
            Self::Overloaded { .. } | Self::StateFile => "overloaded",
            Self::Draining => "draining",
            Self::VendorUnreachable => "vendor-unreachable",
            Self::VendorCircuitOpen(_) => "vendor-circuit-open",
            Self::VendorTimeout => "vendor-timeout",
            Self::VendorInterrupted => "vendor-interrupted",
            Self::VendorErrorPage { .. } => "vendor-error-page",
            Self::VendorRejectedCredential => "vendor-rejected-credential",
            Self::Internal => "internal",
        }
    }

    /// The rule that a refused body broke.
    pub fn rule(&self) -> Option<&'static str> {
        if let Self::InvalidBody(defect) = self { Some(defect.rule.as_str()) } else { None }
    }

    /// The HTTP status, for calls of this family.
    pub fn status(&self, family: Family) -> StatusCode {
        match self {
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::Denied(Denied::Forbidden(_)) => StatusCode::FORBIDDEN,
            Self::UnknownEndpoint | Self::Denied(Denied::HostOff) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            // The file and image APIs answer an oversize upload with 400 and 1103.
            Self::BodyTooLarge { .. } if matches!(family, Family::File | Family::Image) => {
                StatusCode::BAD_REQUEST
            }
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Denied(Denied::TenantRequired)
            | Self::BadPath(_)
            | Self::BadRequest(_)
            | Self::Unroutable(_)
            | Self::InvalidBody(_) => StatusCode::BAD_REQUEST,
            Self::HeaderTooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::IdempotencyConflict => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Exhausted(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded { .. } | Self::StateFile | Self::Draining | Self::VendorCircuitOpen(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::VendorTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::VendorUnreachable | Self::VendorInterrupted | Self::VendorRejectedCredential => {
                StatusCode::BAD_GATEWAY
            }
            Self::VendorErrorPage { status } => *status,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether a call that ends like this may have been delivered. No arm is `_`, so that each new refusal is decided.
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::VendorTimeout => Delivery::Unknown(Doubt::TimedOut),
            Self::VendorInterrupted => Delivery::Unknown(Doubt::Interrupted),
            Self::VendorErrorPage { .. } => Delivery::Unknown(Doubt::VendorFailed),
            Self::Internal => Delivery::Unknown(Doubt::GatewayFailed),
            // These are refused before anything is sent.
            Self::Unauthenticated(_)
            | Self::Denied(_)
            | Self::BadPath(_)
            | Self::BadRequest(_)
            | Self::Unroutable(_)
            | Self::UnknownEndpoint
            | Self::MethodNotAllowed { .. }
            | Self::InvalidBody(_)
            | Self::BodyTooLarge { .. }
            | Self::HeaderTooLarge { .. }
            | Self::BodyTimeout { .. }
            | Self::IdempotencyConflict
            | Self::Exhausted(_)
            | Self::Overloaded { .. }
            | Self::StateFile
            | Self::Draining
            | Self::VendorUnreachable
            | Self::VendorCircuitOpen(_)
            // The vendor refuses these before it looks at the call.
            | Self::VendorRejectedCredential => Delivery::None,
        }
    }

    /// The vendor's code that means the same, for calls of this family.
    #[expect(clippy::match_same_arms, reason = "the order of the arms decides, and each says why")]
    pub fn code(&self, family: Family) -> u32 {
        match (self, family) {
            (Self::Unauthenticated(_), Family::File) => 1101,
            (Self::Unauthenticated(_) | Self::Denied(Denied::Forbidden(_)), Family::V4) => 23001,
            (
                Self::Unauthenticated(Unidentified::Missing | Unidentified::Ended)
                | Self::Denied(Denied::TenantRequired),
                _,
            ) => 1002,
            (Self::Unauthenticated(Unidentified::Wrong | Unidentified::OtherCaller), _) => 1004,
            (Self::Denied(Denied::Forbidden(_)), Family::File) => 1105,
            (Self::Denied(Denied::Forbidden(_)), _) => 2007,
            (
                Self::UnknownEndpoint | Self::Denied(Denied::HostOff) | Self::MethodNotAllowed { .. },
                Family::V4,
            ) => 21001,
            (Self::UnknownEndpoint | Self::Denied(Denied::HostOff) | Self::MethodNotAllowed { .. }, _) => {
                1001
            }
            (Self::InvalidBody(defect), _) => defect.code,
            (Self::BodyTooLarge { .. }, Family::File | Family::Image) => 1103,
            (Self::BodyTooLarge { .. }, _) => 1005,
            (Self::Exhausted(Exhausted::Budget { name: BudgetName::Broadcast, .. }), _) => 2008,
            (Self::Exhausted(_), _) => 2002,
            (
                Self::BadPath(_)
                | Self::BadRequest(_)
                | Self::Unroutable(_)
                | Self::HeaderTooLarge { .. }
                | Self::IdempotencyConflict
                | Self::BodyTimeout { .. },
                _,
            ) => 1003,
            (
                Self::Overloaded { .. }
                | Self::StateFile
                | Self::Draining
                | Self::VendorUnreachable
                | Self::VendorCircuitOpen(_)
                | Self::VendorTimeout
                | Self::VendorInterrupted,
                _,
            ) => 1030,
            (Self::VendorErrorPage { status }, _) if status.is_server_error() => 1030,
            (Self::VendorErrorPage { .. }, _) => 1003,
            (Self::VendorRejectedCredential | Self::Internal, _) => 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::body::Rule;
    use crate::budget::Cause;
    use crate::http1::fields::FieldValue;
    use crate::http1::response::Response;
    use crate::operation::OperationId;
    use crate::tenant::MissingRight;

    fn place(name: &str) -> ReplyContext {
        ReplyContext::Known(OperationId::named(name).expect("an operation"))
    }

    fn field<'a>(answer: &'a Response<String>, name: &str) -> &'a str {
        answer.fields.get(name).and_then(FieldValue::text).unwrap_or_default()
    }

    /// Callers that are not known yet get codes and envelope of the operation that their path is one of.
    #[test]
    fn a_path_tells_the_codes_and_the_envelope_of_its_operations() {
        for id in OperationId::all() {
            let (told, known) = (ReplyContext::of_path(id.path), ReplyContext::Known(id));
            let answer = |place| Refusal::from(Unidentified::Missing).answer(place).body;
            assert_eq!(answer(told), answer(known), "{}", id.path);
        }
    }

    #[test]
    fn every_reply_has_the_reason_status_and_code_of_the_contract() {
        let exhausted = |name| {
            let window = Duration::from_mins(1);
            Refusal::Exhausted(Exhausted::Budget {
                name,
                limit: 20,
                window,
                cause: Cause::UsedUp,
                wait: Duration::from_millis(1_001),
            })
        };
        let rows: Vec<(Refusal, &str, u16, u32)> = vec![
            (Unidentified::Missing.into(), "push", 401, 1002),
            (Unidentified::Wrong.into(), "push", 401, 1004),
            (Unidentified::OtherCaller.into(), "push", 401, 1004),
            (Unidentified::Ended.into(), "push", 401, 1002),
            (Unidentified::Wrong.into(), "file-list", 401, 1101),
            (Unidentified::Missing.into(), "image-v4-oppo", 401, 23001),
            (Denied::Forbidden(MissingRight::Tenant).into(), "push", 403, 2007),
            (Denied::Forbidden(MissingRight::Tenant).into(), "file-get", 403, 1105),
            (Denied::Forbidden(MissingRight::Tenant).into(), "image-v4-oppo", 403, 23001),
            (Denied::TenantRequired.into(), "push", 400, 1002),
            (Denied::HostOff.into(), "image-v4-oppo", 404, 21001),
            (BadPath::Escape.into(), "push", 400, 1003),
            (Refusal::BadRequest("x".into()), "push", 400, 1003),
            (NoMatch::UnknownEndpoint.into(), "push", 404, 1001),
            (Refusal::MethodNotAllowed { allow: "GET".into() }, "push", 405, 1001),
            (Refusal::BodyTooLarge { limit_bytes: 5 }, "push", 413, 1005),
            (Refusal::BodyTooLarge { limit_bytes: 5 }, "file-upload", 400, 1103),
            (Refusal::BodyTooLarge { limit_bytes: 5 }, "image-create-files", 400, 1103),
            (Refusal::HeaderTooLarge { limit: "32 KiB" }, "push", 431, 1003),
            (Refusal::BodyTimeout { limit: Duration::from_secs(30) }, "push", 408, 1003),
            (Refusal::IdempotencyConflict, "push", 422, 1003),
            (exhausted(BudgetName::File), "file-list", 429, 2002),
            (exhausted(BudgetName::Broadcast), "push", 429, 2008),
            (Refusal::Overloaded { what: "requests" }, "push", 503, 1030),
            (Refusal::StateFile, "push", 503, 1030),
            (Refusal::Draining, "push", 503, 1030),
            (Refusal::VendorUnreachable, "push", 502, 1030),
            (CircuitOpen { retry_after: Duration::ZERO }.into(), "push", 503, 1030),
            (Refusal::VendorTimeout, "push", 504, 1030),
            (Refusal::VendorInterrupted, "push", 502, 1030),
            (Refusal::VendorErrorPage { status: StatusCode::BAD_GATEWAY }, "push", 502, 1030),
            (Refusal::VendorErrorPage { status: StatusCode::NOT_FOUND }, "push", 404, 1003),
            (Refusal::VendorRejectedCredential, "push", 502, 1000),
            (Refusal::Internal, "push", 500, 1000),
        ];
        for (refusal, operation, status, code) in rows {
            let answer = refusal.answer(place(operation));
            assert_eq!(answer.status.as_u16(), status, "{refusal:?}");
            assert_eq!(field(&answer, REASON), refusal.reason());
            let body: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
            assert_eq!(body["error"]["code"], code, "{refusal:?}");
            assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
        }
    }

    #[test]
    fn every_refusal_says_whether_the_call_may_have_been_delivered() {
        let second = Duration::from_secs(1);
        let exhausted = Exhausted::Quota { limit: 1, window: second, wait: second };
        let defect = Defect { rule: Rule::Json, code: 1003, message: String::new() };
        let may_have_been_delivered = [
            (Refusal::VendorTimeout, Doubt::TimedOut),
            (Refusal::VendorInterrupted, Doubt::Interrupted),
            (Refusal::VendorErrorPage { status: StatusCode::NOT_FOUND }, Doubt::VendorFailed),
            (Refusal::Internal, Doubt::GatewayFailed),
        ];
        let was_not_delivered: [Refusal; 19] = [
            Unidentified::Wrong.into(),
            Denied::TenantRequired.into(),
            BadPath::Escape.into(),
            Refusal::BadRequest("x".into()),
            Refusal::Unroutable("x"),
            Refusal::UnknownEndpoint,
            Refusal::MethodNotAllowed { allow: "GET".into() },
            defect.into(),
            Refusal::BodyTooLarge { limit_bytes: 5 },
            Refusal::HeaderTooLarge { limit: "32 KiB" },
            Refusal::BodyTimeout { limit: second },
            Refusal::IdempotencyConflict,
            exhausted.into(),
            Refusal::Overloaded { what: "requests" },
            Refusal::StateFile,
            Refusal::Draining,
            Refusal::VendorUnreachable,
            CircuitOpen { retry_after: second }.into(),
            Refusal::VendorRejectedCredential,
        ];
        let doubts = may_have_been_delivered.map(|(refusal, doubt)| (refusal, Delivery::Unknown(doubt)));
        let rows = was_not_delivered.map(|refusal| (refusal, Delivery::None)).into_iter().chain(doubts);
        let mut told = BTreeSet::new();
        for (refusal, delivery) in rows {
            assert_eq!(refusal.delivery(), delivery, "{refusal:?}");
            told.extend(
                format!("{refusal:?}")
                    .split(|letter: char| !letter.is_alphanumeric())
                    .next()
                    .map(str::to_owned),
            );
        }
        assert_eq!(told, variants(), "each refusal has its row");
    }

    /// The names of all refusals, read from this file.
    fn variants() -> BTreeSet<String> {
        let (_, rest) = include_str!("mod.rs").split_once("pub enum Refusal {").expect("the enum");
        let (body, _) = rest.split_once("\n}\n").expect("its end");
        let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
        let names = lines.filter(|line| line.starts_with(|letter: char| letter.is_ascii_uppercase()));
        names
            .filter_map(|line| line.split(|letter: char| !letter.is_alphanumeric()).next())
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn envelopes_are_those_the_sdks_of_each_call_read() {
        let json = |operation| {
            let answer = Refusal::VendorUnreachable.answer(place(operation));
            serde_json::from_str::<serde_json::Value>(&answer.body).expect("JSON")
        };
        assert_eq!(json("push").as_object().expect("object").len(), 1);
        assert_eq!(json("push-quota")["code"], json("push-quota")["error"]["code"]);
        assert_eq!(json("push-plan-list")["message"], json("push-plan-list")["error"]["message"]);
        let flat = json("push-template");
        assert_eq!((flat["code"].as_u64(), flat.get("error")), (Some(1030), None));
    }

    #[test]
    fn headers_tell_what_to_do_next() {
        let wait = Duration::from_millis(2_001);
        let exhausted = Exhausted::Quota { limit: 1, window: Duration::from_mins(1), wait };
        assert_eq!(field(&Refusal::from(exhausted).answer(place("push")), "Retry-After"), "3");
        assert_eq!(field(&Refusal::Draining.answer(place("push")), "Retry-After"), "1");
        let open = Refusal::from(CircuitOpen { retry_after: Duration::from_millis(1_001) });
        assert_eq!(field(&open.answer(place("push")), "Retry-After"), "2");
        let challenge = Refusal::from(Unidentified::Missing).answer(ReplyContext::of_path("/v3/files"));
        assert_eq!(field(&challenge, "Www-Authenticate"), "Basic realm=\"jpush-gateway\"");
        let allow = Refusal::from(NoMatch::MethodNotAllowed { allow: "GET, POST".into() });
        assert_eq!(field(&allow.answer(place("push")), "Allow"), "GET, POST");
    }

    #[test]
    fn a_query_is_no_body() {
        let reason = |rule| Refusal::from(Defect { rule, code: 1003, message: String::new() }).reason();
        assert_eq!((reason(Rule::CidCount), reason(Rule::CidType)), ("bad-request", "bad-request"));
        assert_eq!(reason(Rule::Json), "invalid-body");
    }

    #[test]
    fn a_defect_keeps_its_code_and_words() {
        let defect = Defect { rule: Rule::Json, code: 8100, message: "line 3 is \"bad\"".into() };
        let answer = Refusal::from(defect).answer(place("schedule-create"));
        assert_eq!(
            answer.body,
            r#"{"error":{"code":8100,"message":"line 3 is \"bad\" (docs/answers.md#invalid-body)"}}"#
        );
    }
}
