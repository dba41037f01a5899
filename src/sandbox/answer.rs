//! The vendor's answers: successes, errors, and the error codes of each API.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, SERVER};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::accounts::CredentialFault;
use super::window::RateStatus;
use crate::operation::{Envelope, Family, Host, Operation};

const JSON: &str = "application/json; charset=utf-8";

/// An answer without its headers.
#[derive(Debug)]
pub(super) struct BareAnswer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

impl BareAnswer {
    /// An answer with a status and a JSON body.
    pub(super) fn json(status: StatusCode, value: &Value) -> Self {
        Self { status, content_type: JSON, body: Bytes::from(value.to_string()) }
    }

    /// An answer of 200 with a JSON body.
    pub(super) fn good(value: &Value) -> Self {
        Self::json(StatusCode::OK, value)
    }

    /// An answer of 200 without a body, with which the vendor confirms changes.
    pub(super) fn empty() -> Self {
        Self { status: StatusCode::OK, content_type: JSON, body: Bytes::new() }
    }

    /// An HTML error page, as the proxy in front of the vendor sends it.
    pub(super) fn page(status: StatusCode) -> Self {
        let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
        let page = format!(
            "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
             <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
        );
        Self { status, content_type: "text/html", body: Bytes::from(page) }
    }

    /// Adds the headers. `rate_status` is that of the budget that the call drew on, for the rate headers.
    pub(super) fn into_response(self, rate_status: Option<RateStatus>) -> Response<Bytes> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(SERVER, HeaderValue::from_static("nginx"));
        if let Some(rate_status) = rate_status {
            headers.insert("x-rate-limit-limit", HeaderValue::from(rate_status.limit));
            headers.insert("x-rate-limit-remaining", HeaderValue::from(rate_status.remaining));
            headers.insert("x-rate-limit-reset", HeaderValue::from(whole_seconds(rate_status.reset)));
        }
        response
    }
}

/// Rounds up to whole seconds: the first call of a minute shows 60.
fn whole_seconds(left: Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

/// An error without its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VendorError {
    pub(super) status: StatusCode,
    pub(super) code: u32,
    pub(super) message: Cow<'static, str>,
}

impl VendorError {
    /// An error with a status, a code and a message.
    pub(super) fn new(status: StatusCode, code: u32, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// An error with status 400.
    pub(super) fn bad(code: u32, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Writes the error in this envelope.
    pub(super) fn into_answer(self, envelope: Envelope) -> BareAnswer {
        let inner = json!({ "code": self.code, "message": self.message });
        let body = match envelope {
            Envelope::Nested => json!({ "error": inner }),
            // The gateway's own errors carry both forms where SDKs disagree; the vendor's are flat.
            Envelope::Both | Envelope::Flat => inner,
        };
        BareAnswer::json(self.status, &body)
    }
}

/// The error codes of one of the vendor's APIs.
#[derive(Debug)]
pub(super) struct Codes {
    no_credentials: (StatusCode, u32),
    wrong_credentials: (StatusCode, u32),
    missing: u32,
    bad: u32,
    internal: u32,
    timeout: u32,
    wrong_method: (StatusCode, u32),
}

const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
const BAD_REQUEST: StatusCode = StatusCode::BAD_REQUEST;
const WRONG_METHOD: (StatusCode, u32) = (StatusCode::METHOD_NOT_ALLOWED, 1001);

const PUSH: Codes = Codes {
    no_credentials: (UNAUTHORIZED, 1004),
    wrong_credentials: (UNAUTHORIZED, 1004),
    missing: 1002,
    bad: 1003,
    internal: 1000,
    timeout: 1030,
    wrong_method: WRONG_METHOD,
};
const FILE: Codes = Codes {
    no_credentials: (BAD_REQUEST, 1101),
    wrong_credentials: (BAD_REQUEST, 1101),
    missing: 1102,
    bad: 1103,
    internal: 1100,
    timeout: 1100,
    wrong_method: WRONG_METHOD,
};
const IMAGE: Codes = Codes { no_credentials: (BAD_REQUEST, 1002), missing: 1102, bad: 1103, ..PUSH };
const SCHEDULE: Codes = Codes {
    no_credentials: (UNAUTHORIZED, 8101),
    wrong_credentials: (UNAUTHORIZED, 8101),
    missing: 8100,
    bad: 8100,
    internal: 8200,
    timeout: 8203,
    wrong_method: WRONG_METHOD,
};
const DEVICE: Codes = Codes {
    no_credentials: (UNAUTHORIZED, 7001),
    wrong_credentials: (UNAUTHORIZED, 7004),
    missing: 7002,
    bad: 7002,
    internal: 7000,
    timeout: 7030,
    wrong_method: WRONG_METHOD,
};
const REPORT: Codes = Codes {
    no_credentials: (UNAUTHORIZED, 3001),
    wrong_credentials: (UNAUTHORIZED, 3001),
    missing: 3004,
    bad: 3004,
    internal: 10,
    timeout: 10,
    wrong_method: WRONG_METHOD,
};
const V4: Codes = Codes {
    no_credentials: (UNAUTHORIZED, 23001),
    wrong_credentials: (UNAUTHORIZED, 23001),
    missing: 23002,
    bad: 21003,
    internal: 23100,
    timeout: 27000,
    wrong_method: (StatusCode::NOT_FOUND, 21001),
};

impl Codes {
    /// The codes of the API that an operation belongs to.
    pub(super) fn of(operation: &Operation) -> &'static Self {
        match (operation.host, operation.family()) {
            (Host::Report, _) => &REPORT,
            (_, Family::Push) => &PUSH,
            (_, Family::File) => &FILE,
            (_, Family::Image) => &IMAGE,
            (_, Family::Schedule) => &SCHEDULE,
            (_, Family::Device) => &DEVICE,
            (_, Family::V4) => &V4,
        }
    }

    /// The error for a required parameter that is absent.
    pub(super) fn missing(&self, what: impl Into<Cow<'static, str>>) -> VendorError {
        VendorError::bad(self.missing, what)
    }

    /// The error for a parameter that is present and wrong.
    pub(super) fn bad(&self, what: impl Into<Cow<'static, str>>) -> VendorError {
        VendorError::bad(self.bad, what)
    }

    /// The error for a known path with the wrong method.
    pub(super) fn wrong_method(&self) -> VendorError {
        let (status, code) = self.wrong_method;
        VendorError::new(status, code, "The method is not supported")
    }

    /// The error for refused credentials.
    pub(super) fn credential_error(&self, fault: CredentialFault, operation: &Operation) -> VendorError {
        let ((status, code), message) = match fault {
            // The sample of the quota API answers an unknown key with 400.
            CredentialFault::UnknownKey if operation.name == "push-quota" => {
                ((BAD_REQUEST, 1004), "app_key does not exist")
            }
            CredentialFault::Missing if operation.family() == Family::Image => {
                (self.no_credentials, "Missing authen info.")
            }
            CredentialFault::Missing => (self.no_credentials, "Authen failed"),
            CredentialFault::UnknownKey | CredentialFault::Wrong => (self.wrong_credentials, "Authen failed"),
        };
        VendorError::new(status, code, message)
    }

    /// The code that this API sends with a status that a fault order chose.
    pub(super) fn for_status(&self, status: StatusCode) -> u32 {
        match status.as_u16() {
            401 => self.wrong_credentials.1,
            403 => 2007,
            429 => 2002,
            503 | 504 => self.timeout,
            500.. => self.internal,
            _ => self.bad,
        }
    }
}

/// A date in the vendor's form: Beijing time, without a zone.
pub(super) fn local_date(wall: SystemTime) -> String {
    let beijing = wall + Duration::from_hours(8);
    humantime::format_rfc3339_seconds(beijing).to_string().replace('T', " ").replace('Z', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_beijing() {
        assert_eq!(local_date(SystemTime::UNIX_EPOCH), "1970-01-01 08:00:00");
    }
}
