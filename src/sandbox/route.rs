//! Finds a request's operation in the table that the gateway uses, too.

use http::StatusCode;

use super::answer::{BareAnswer, Codes, VendorError};
use super::percent::decoded;
use crate::operation::{self, Envelope, NoMatch, OperationId, Path};

/// A request matched to a row of the table.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) operation: OperationId,
    /// Segments of the documented path, percent-decoded.
    pub(super) segments: Vec<String>,
}

/// Path prefixes of the Beijing data centre, with the documented ones. The longer of two that match comes first.
const BEIJING: &[(&str, &str)] = &[
    ("/v3/push/schedules", "/v3/schedules"),
    ("/v3/report", "/v3"),
    ("/v3/device/aliases", "/v3/aliases"),
    ("/v3/device/tags", "/v3/tags"),
    ("/v3/device", "/v3/devices"),
];

/// Finds the row for a request. The error is the vendor's answer to an unknown path or method.
pub(super) fn find(method: &str, raw: &str) -> Result<Route, BareAnswer> {
    let unknown = |code| {
        VendorError::new(StatusCode::NOT_FOUND, code, "The url is not supported")
            .into_answer(Envelope::Nested)
    };
    let path = Path::parse(raw)
        .map_err(|bad| VendorError::bad(1003, bad.to_string()).into_answer(Envelope::Nested))?;
    let documented = documented(path.as_str());
    let path = Path::parse(&documented).map_err(|_| unknown(1001))?;
    match operation::find(method, &path) {
        Ok(hit) => {
            let segments = path.as_str().split('/').skip(1).map(decoded).collect();
            Ok(Route { operation: hit.operation, segments })
        }
        Err(NoMatch::UnknownEndpoint) => {
            Err(unknown(if documented.starts_with("/v4/") { 21001 } else { 1001 }))
        }
        Err(NoMatch::MethodNotAllowed { allow }) => {
            // Uses the error codes of a row that has the path.
            let row = allow.split(", ").find_map(|verb| operation::find(verb, &path).ok());
            let row = row.ok_or_else(|| unknown(1001))?.operation;
            Err(Codes::of(&row).wrong_method().into_answer(row.envelope))
        }
    }
}

/// The documented path for a path of the Beijing data centre; other paths stay.
fn documented(path: &str) -> String {
    BEIJING
        .iter()
        .find_map(|(theirs, ours)| {
            let rest = path.strip_prefix(theirs)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| format!("{ours}{rest}"))
        })
        .unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_data_centres_lead_to_one_table() {
        let rows = [
            ("POST", "/v3//push/", "push"),
            ("POST", "/v3/push/schedules", "schedule-create"),
            ("DELETE", "/v3/push/schedules/x", "schedule-delete"),
            ("DELETE", "/v3/push/42", "push-withdraw"),
            ("GET", "/v3/report/received", "report-received"),
            ("GET", "/v3/report/group/users", "report-group-users"),
            ("GET", "/v3/device/190e35f7e07", "device-get"),
            ("POST", "/v3/device/status", "device-status"),
            ("GET", "/v3/device/aliases/a", "alias-get"),
            ("GET", "/v3/device/tags/", "tag-list"),
            ("POST", "/v3/device/tags/t", "tag-update"),
            ("GET", "/v3/devices/190e35f7e07", "device-get"),
        ];
        for (method, path, expected) in rows {
            let route = find(method, path).unwrap_or_else(|_| panic!("{method} {path} is known"));
            assert_eq!(route.operation.name, expected, "{path}");
        }
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        let rows = [
            ("GET", "/", 404, "1001"),
            ("POST", "/v1/app", 404, "1001"),
            ("POST", "/v4/push", 404, "21001"),
            ("GET", "/v4/image/oppo", 404, "21001"),
            ("PUT", "/v3/push", 405, "1001"),
            ("POST", "/v3/push/quota", 405, "1001"),
            ("POST", "/v3/../push", 400, "1003"),
        ];
        for (method, path, status, code) in rows {
            let answer = find(method, path).expect_err("no row has this");
            assert_eq!(answer.status.as_u16(), status, "{method} {path}");
            assert!(String::from_utf8_lossy(&answer.body).contains(code), "{method} {path}: {answer:?}");
        }
    }
}
