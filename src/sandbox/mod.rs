//! A simulator of the vendor, good enough to develop against and to judge the gateway by.
//!
//! It answers as the vendor's documentation says, counts calls as the vendor does, and goes wrong on demand. It shares
//! nothing with the gateway but the operation table and plain values: an error in one cannot hide behind the same
//! error in the other. [`Sandbox::answer`] is the whole simulator without sockets; [`Sandbox::serve`] adds them.
//!
//! Where the vendor is silent, the choice is the stricter one for whoever counts, and the laxer for bodies.

mod accounts;
mod answer;
mod audience;
mod call;
mod control;
mod devices;
mod faults;
mod files;
mod form;
mod handlers;
mod images;
mod journal;
mod json;
mod memory;
mod picture;
mod plans;
mod pushes;
mod reports;
mod route;
mod schedules;
mod server;
#[cfg(test)]
mod tests;
mod window;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};

pub use accounts::{Account, AccountKind, Settings, Tier};
pub use window::Windows;

use crate::operation::{BudgetName, Envelope};
use accounts::authenticate;
use answer::{BareAnswer, Codes, VendorError};
use call::{AuthenticCall, Moment, ParsedBody, demands};
use faults::{FaultKind, InjectedFaults};
use journal::{Journal, JournalEntry};
use memory::SandboxMemory;
use route::Route;
use window::{Ledgers, RateStatus};

/// The simulated vendor.
pub struct Sandbox {
    accounts: Vec<Account>,
    state: Mutex<SandboxState>,
}

/// Everything that changes.
#[derive(Debug)]
struct SandboxState {
    ledgers: Ledgers,
    journal: Journal,
    faults: InjectedFaults,
    memory: SandboxMemory,
}

impl SandboxState {
    fn clear(&mut self) {
        self.ledgers.clear();
        self.memory.clear();
        self.journal = Journal::default();
        self.faults = InjectedFaults::default();
    }
}

/// An answer, and what becomes of it on the wire.
#[derive(Debug)]
pub struct SandboxReply {
    /// The answer as it should be.
    pub response: Response<Bytes>,
    /// How long it is held back.
    pub delay: Duration,
    /// How much of it arrives.
    pub ending: AnswerEnding,
}

impl SandboxReply {
    fn whole(response: Response<Bytes>) -> Self {
        Self { response, delay: Duration::ZERO, ending: AnswerEnding::Whole }
    }
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerEnding {
    /// It arrives.
    Whole,
    /// Half of the body arrives, then the connection closes.
    Cut,
    /// Nothing arrives, and the connection is reset.
    Reset,
}

impl Sandbox {
    /// A vendor that has seen no call.
    pub fn new(settings: Settings) -> Arc<Self> {
        let state = SandboxState {
            ledgers: Ledgers::new(settings.window, settings.windows),
            journal: Journal::default(),
            faults: InjectedFaults::default(),
            memory: SandboxMemory::default(),
        };
        Arc::new(Self { accounts: settings.accounts, state: Mutex::new(state) })
    }

    /// Answers a request that was received completely just now.
    pub fn answer(&self, request: &Request<Bytes>) -> SandboxReply {
        let arrival = ReceivedRequest::read(request);
        let mut state = self.lock();
        // Read under the lock: calls are counted in the order of their times.
        let now = Moment::now();
        self.answer_at(&mut state, arrival, now)
    }

    /// A panic in a handler leaves nothing half changed that a later answer would trip over.
    fn lock(&self) -> MutexGuard<'_, SandboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer_at(&self, state: &mut SandboxState, arrival: ReceivedRequest<'_>, now: Moment) -> SandboxReply {
        let ReceivedRequest { request, route, payload, mut entry } = arrival;
        if control::is_own(request.uri().path()) {
            return SandboxReply::whole(control::answer(state, request).into_response(None));
        }
        let reply = match route {
            Ok(route) => self.admit(state, (request, &route, &payload), &mut entry, now),
            Err(answer) => SandboxReply::whole(answer.into_response(None)),
        };
        state.journal.record(entry, now.wall);
        reply
    }

    /// Credentials, then budgets, then what is asked.
    fn admit(
        &self,
        state: &mut SandboxState,
        (request, route, payload): (&Request<Bytes>, &Route, &ParsedBody),
        entry: &mut JournalEntry,
        now: Moment,
    ) -> SandboxReply {
        let operation = route.operation;
        entry.operation = Some(operation.name);
        let account = match authenticate(&self.accounts, operation.credential, request.headers()) {
            Ok(account) => account,
            Err(stranger) => {
                let error = Codes::of(&operation).stranger(stranger, &operation);
                return SandboxReply::whole(error.into_answer(operation.envelope).into_response(None));
            }
        };
        entry.key = Some(account.key.as_str().to_owned());
        let (minute, day) = demands(route, payload);
        let charge = state.ledgers.charge(account, &minute, &day, now.instant);
        entry.counted = charge.counted;
        if let Some(budget) = charge.refused_by {
            return SandboxReply::whole(
                exhausted(budget).into_answer(Envelope::Nested).into_response(charge.rate_status),
            );
        }
        let call = AuthenticCall::new((route, payload), (account, &self.accounts), request, now);
        carry_out(state, &call, charge.rate_status)
    }
}

/// A request with all that can be said of it without looking at the state: a large body is read outside the lock, so
/// that no other call's time waits for it.
struct ReceivedRequest<'a> {
    request: &'a Request<Bytes>,
    route: Result<Route, BareAnswer>,
    payload: ParsedBody,
    entry: JournalEntry,
}

impl<'a> ReceivedRequest<'a> {
    fn read(request: &'a Request<Bytes>) -> Self {
        let route = route::find(request.method().as_str(), request.uri().path());
        let payload = match &route {
            Ok(route) => ParsedBody::read(route.operation.body, request.headers(), request.body()),
            Err(_) => ParsedBody::Dropped,
        };
        Self { request, route, payload, entry: JournalEntry::new(request) }
    }
}

/// Handles a call that was counted, or lets it go wrong as ordered.
fn carry_out(
    state: &mut SandboxState,
    call: &AuthenticCall<'_>,
    rate_status: Option<RateStatus>,
) -> SandboxReply {
    let fault = state.faults.take(call.operation);
    if let Some(fault) = &fault
        && let Some(answer) = fault.answer(call.operation)
    {
        // Made by whatever stands in front of the counter, so without its headers.
        return SandboxReply { delay: fault.delay, ..SandboxReply::whole(answer.into_response(None)) };
    }
    let answer: BareAnswer = handlers::handle(call, &mut state.memory)
        .unwrap_or_else(|error| error.into_answer(call.operation.envelope));
    let mut reply = SandboxReply::whole(answer.into_response(rate_status));
    if let Some(fault) = fault {
        reply.delay = fault.delay;
        reply.ending = match fault.kind {
            FaultKind::Cut => AnswerEnding::Cut,
            FaultKind::Reset => AnswerEnding::Reset,
            FaultKind::Delay | FaultKind::Status(..) | FaultKind::Html(_) => AnswerEnding::Whole,
        };
    }
    reply
}

/// How a call over a budget is refused.
fn exhausted(budget: BudgetName) -> VendorError {
    match budget {
        BudgetName::Broadcast => {
            VendorError::new(StatusCode::TOO_MANY_REQUESTS, 2008, "Broadcast push limit exceeded")
        }
        BudgetName::OppoBig | BudgetName::OppoIcon => {
            VendorError::bad(1103, "The OPPO upload count exceeds the daily limit")
        }
        _ => VendorError::new(StatusCode::TOO_MANY_REQUESTS, 2002, "Rate limit exceeded"),
    }
}
