//! Handles `/_sandbox`: requests of tests to the simulator itself, without credentials.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::SandboxState;
use super::answer::{BareAnswer, VendorError};
use crate::operation::Envelope;

/// Whether a path is the simulator's own.
pub(super) fn is_own(path: &str) -> bool {
    path.strip_prefix("/_sandbox").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers a request to `/_sandbox`.
pub(super) fn answer(state: &mut SandboxState, request: &Request<Bytes>) -> BareAnswer {
    let path = request.uri().path().trim_end_matches('/');
    match (request.method(), path) {
        (&Method::GET, "/_sandbox/journal") => BareAnswer::good(&json!(state.journal.entries())),
        (&Method::GET, "/_sandbox/counts") => BareAnswer::good(&counts(state)),
        (&Method::GET, "/_sandbox/delivered") => {
            let delivered = state.memory.delivered.iter().map(|(key, pushes)| (key.as_str(), *pushes));
            BareAnswer::good(&json!(delivered.collect::<BTreeMap<_, _>>()))
        }
        (&Method::POST, "/_sandbox/faults") => match state.faults.order(request.body()) {
            Ok(waiting) => BareAnswer::good(&json!({ "waiting": waiting })),
            Err(message) => refused(StatusCode::BAD_REQUEST, message),
        },
        (&Method::DELETE, "/_sandbox") => {
            state.clear();
            BareAnswer::good(&json!({}))
        }
        _ => refused(
            StatusCode::NOT_FOUND,
            "there are GET /_sandbox/journal, GET /_sandbox/counts, GET /_sandbox/delivered, \
             POST /_sandbox/faults and DELETE /_sandbox"
                .to_owned(),
        ),
    }
}

fn refused(status: StatusCode, message: String) -> BareAnswer {
    VendorError::new(status, 1003, message).into_answer(Envelope::Nested)
}

/// Counts of calls by key and budget.
fn counts(state: &SandboxState) -> Value {
    let mut counts = json!({});
    for (key, name, counter) in state.counters.iter() {
        counts[key.as_str()][name.as_str()] = json!({
            "max_in_any_window": counter.most_in_any_window,
            "total": counter.total,
            "refused": counter.refused,
        });
    }
    counts
}
