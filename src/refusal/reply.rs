//! Converts refusals to answers.

use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::Refusal;
use crate::http1::fields::Fields;
use crate::http1::response::Response;
use crate::operation::{Envelope, Family, OperationId};

/// The page of the documentation that has a section for each reason, under the reason's name.
const SECTIONS: &str = "docs/answers.md#";

/// The header with the stable reason of a gateway answer; answers of the vendor never have it.
pub const REASON: &str = "X-Jpush-Gateway-Reason";

impl Refusal {
    /// Status and code of the reply.
    pub fn outcome(&self, place: ReplyContext) -> (StatusCode, u32) {
        (self.status(place.family()), self.code(place.family()))
    }

    /// What the caller is told: what was wrong, and where the documentation says what to do.
    pub fn message(&self) -> String {
        format!("{self} ({SECTIONS}{})", self.reason())
    }

    /// The whole reply: one JSON body, in the envelope of its operation.
    pub fn answer(&self, place: ReplyContext) -> Response<String> {
        let message = self.message();
        let code = self.code(place.family());
        let mut fields = Fields::with_room(0, 0);
        fields.append("Content-Type", |value| value.text("application/json"));
        fields.append(REASON, |value| value.text(self.reason()));
        self.add_fields(&mut fields);
        let body = place.envelope().write(code, &message);
        Response { closes: self.closes(), ..Response::new(self.status(place.family()), fields, body) }
    }

    fn add_fields(&self, fields: &mut Fields) {
        let retry_after = match self {
            Self::Unauthenticated(_) => {
                return fields
                    .append("Www-Authenticate", |value| value.text("Basic realm=\"jpush-gateway\""));
            }
            Self::MethodNotAllowed { allow } => {
                let allow = HeaderValue::from_str(allow).expect("methods are ASCII");
                return fields.append("Allow", |value| value.value(&allow));
            }
            Self::Exhausted(exhausted) => exhausted.retry_after_seconds(),
            Self::Overloaded { .. } | Self::StateFile | Self::Draining => 1,
            Self::VendorCircuitOpen(open) => open.retry_after_seconds(),
            Self::Denied(_)
            | Self::BadPath(_)
            | Self::BadRequest(_)
            | Self::Unroutable(_)
            | Self::UnknownEndpoint
            | Self::InvalidBody(_)
            | Self::BodyTooLarge { .. }
            | Self::HeaderTooLarge { .. }
            | Self::BodyTimeout { .. }
            | Self::IdempotencyConflict
            | Self::VendorUnreachable
            | Self::VendorTimeout
            | Self::VendorInterrupted
            | Self::VendorErrorPage { .. }
            | Self::VendorRejectedCredential
            | Self::Internal => return,
        };
        fields.append("Retry-After", |value| value.number(retry_after));
    }

    /// Whether the connection has to close, because the rest of the request was not read or its end is not known.
    fn closes(&self) -> bool {
        matches!(
            self,
            Self::Unroutable(_)
                | Self::BodyTooLarge { .. }
                | Self::BodyTimeout { .. }
                | Self::HeaderTooLarge { .. }
        )
    }
}

/// The part of the vendor's API that a reply belongs to: it decides codes and envelope.
#[derive(Clone, Copy, Debug)]
pub enum ReplyContext {
    /// The operation is known.
    Known(OperationId),
    /// The operation is not known, but the path tells the family, and in which envelope its callers expect an error.
    Unknown(Family, Envelope),
}

/// The beginnings of paths whose callers do not expect the codes or the envelope of pushes.
const GUESSES: [(&str, Family, Envelope); 6] = [
    ("v4/", Family::V4, Envelope::Nested),
    ("v3/files", Family::File, Envelope::Nested),
    ("v3/images", Family::Image, Envelope::Nested),
    ("v3/push/template", Family::Push, Envelope::Flat),
    ("v3/push/quota", Family::Push, Envelope::Both),
    ("v3/push_plan", Family::Push, Envelope::Both),
];

impl ReplyContext {
    /// Guesses family and envelope of a path that may be no operation's, so that unknown callers get them too.
    pub fn of_path(path: &str) -> Self {
        let path = path.trim_start_matches('/');
        let guess = GUESSES.iter().find(|(beginning, ..)| path.starts_with(beginning));
        guess.map_or(Self::Unknown(Family::Push, Envelope::Nested), |(_, family, envelope)| {
            Self::Unknown(*family, *envelope)
        })
    }

    fn family(self) -> Family {
        match self {
            Self::Known(operation) => operation.family(),
            Self::Unknown(family, _) => family,
        }
    }

    fn envelope(self) -> Envelope {
        match self {
            Self::Known(operation) => operation.envelope,
            Self::Unknown(_, envelope) => envelope,
        }
    }
}

impl Envelope {
    fn write(self, code: u32, message: &str) -> String {
        #[derive(Serialize)]
        struct Flat<'m> {
            code: u32,
            message: &'m str,
        }
        #[derive(Serialize)]
        struct Nested<'m> {
            error: Flat<'m>,
        }
        #[derive(Serialize)]
        struct Both<'m> {
            code: u32,
            message: &'m str,
            error: Flat<'m>,
        }
        let flat = Flat { code, message };
        let json = match self {
            Self::Flat => serde_json::to_string(&flat),
            Self::Nested => serde_json::to_string(&Nested { error: flat }),
            Self::Both => serde_json::to_string(&Both { code, message, error: flat }),
        };
        json.expect("numbers and strings always serialise")
    }
}
