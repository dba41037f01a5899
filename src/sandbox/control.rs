//! `/_sandbox`: what a test asks of the simulator itself, without credentials.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::SandboxState;
use super::answer::{BareAnswer, VendorError};
use crate::operation::Envelope;

/// Whether a path is one of the simulator's own.
pub(super) fn is_own(path: &str) -> bool {
    path.strip_prefix("/_sandbox").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Does what is asked.
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

/// What each budget has seen, by key and name.
fn counts(state: &SandboxState) -> Value {
    let mut counts = json!({});
    for (key, name, ledger) in state.ledgers.iter() {
        counts[key.as_str()][name.as_str()] = json!({
            "max_in_any_window": ledger.most_in_any_window,
            "total": ledger.total,
            "refused": ledger.refused,
        });
    }
    counts
}
