//! A simulator of the vendor, good enough to develop against and to test the gateway with.
//!
//! It answers as the vendor's documentation says, counts calls as the vendor does, and fails on request. It shares
//! nothing with the gateway but the operation table and plain values, so that an error in one cannot hide the same
//! error in the other. [`Sandbox::answer`] is the whole simulator without sockets; [`Sandbox::serve`] adds them.
//!
//! Where the vendor's documentation is silent, the simulator counts more calls rather than fewer, and accepts more
//! bodies rather than fewer.

mod accounts;
mod answer;
mod audience;
mod call;
mod control;
mod demands;
mod devices;
mod faults;
mod files;
mod form;
mod handlers;
mod images;
mod journal;
mod json;
mod memory;
mod parsed_body;
mod percent;
mod picture;
mod plans;
mod pushes;
mod reports;
mod route;
mod schedules;
mod server;
mod settings;
#[cfg(test)]
mod tests;
mod window;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};

pub use accounts::{Account, AccountKind, Tier};
pub use settings::Settings;
pub use window::Windows;

use crate::operation::{BudgetName, Envelope};
use accounts::authenticate;
use answer::{BareAnswer, Codes, VendorError};
use call::{AuthenticCall, ReceivedAt};
use demands::demands;
use faults::{FaultKind, InjectedFaults};
use journal::{Journal, JournalEntry};
use memory::SandboxMemory;
use parsed_body::ParsedBody;
use route::Route;
use window::{CallCounters, RateStatus};

/// The simulated vendor: its accounts and its state.
pub struct Sandbox {
    accounts: Vec<Account>,
    state: Mutex<SandboxState>,
}

/// State that requests change, behind one lock.
#[derive(Debug)]
struct SandboxState {
    counters: CallCounters,
    journal: Journal,
    faults: InjectedFaults,
    memory: SandboxMemory,
}

impl SandboxState {
    fn clear(&mut self) {
        self.counters.clear();
        self.memory.clear();
        self.journal = Journal::default();
        self.faults = InjectedFaults::default();
    }
}

/// An answer, and how it is sent.
#[derive(Debug)]
pub struct SandboxReply {
    /// The complete answer.
    pub response: Response<Bytes>,
    /// Time to wait before it is sent.
    pub delay: Duration,
    /// Part of it that is sent.
    pub ending: AnswerEnding,
}

impl SandboxReply {
    fn whole(response: Response<Bytes>) -> Self {
        Self { response, delay: Duration::ZERO, ending: AnswerEnding::Whole }
    }
}

/// Part of an answer that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerEnding {
    /// The whole answer is sent.
    Whole,
    /// Half of the body is sent, then the connection is closed.
    Cut,
    /// Nothing is sent, and the connection is reset.
    Reset,
}

impl Sandbox {
    /// A vendor that has received no calls yet.
    pub fn new(settings: Settings) -> Arc<Self> {
        let state = SandboxState {
            counters: CallCounters::new(settings.window, settings.windows),
            journal: Journal::default(),
            faults: InjectedFaults::default(),
            memory: SandboxMemory::default(),
        };
        Arc::new(Self { accounts: settings.accounts, state: Mutex::new(state) })
    }

    /// Answers a request that has just been received completely.
    pub fn answer(&self, request: &Request<Bytes>) -> SandboxReply {
        let arrival = ReceivedRequest::read(request);
        let mut state = self.lock();
        // The clock is read under the lock, so that calls are counted in the order of their times.
        let now = ReceivedAt::now();
        self.answer_at(&mut state, arrival, now)
    }

    /// Locks the state. A poisoned lock is ignored: a handler that panics leaves no half-made change that later answers
    /// would depend on.
    fn lock(&self) -> MutexGuard<'_, SandboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer_at(
        &self,
        state: &mut SandboxState,
        arrival: ReceivedRequest<'_>,
        now: ReceivedAt,
    ) -> SandboxReply {
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

    /// Checks credentials, then budgets, then handles the call.
    fn admit(
        &self,
        state: &mut SandboxState,
        (request, route, payload): (&Request<Bytes>, &Route, &ParsedBody),
        entry: &mut JournalEntry,
        now: ReceivedAt,
    ) -> SandboxReply {
        let operation = route.operation;
        entry.operation = Some(operation.name);
        let account = match authenticate(&self.accounts, operation.credential, request.headers()) {
            Ok(account) => account,
            Err(fault) => {
                let error = Codes::of(&operation).credential_error(fault, &operation);
                return SandboxReply::whole(error.into_answer(operation.envelope).into_response(None));
            }
        };
        entry.key = Some(account.key.as_str().to_owned());
        let (minute, day) = demands(route, payload);
        let charge = state.counters.charge(account, &minute, &day, now.instant);
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

/// A request with everything that does not depend on the state. A large body is read outside the lock, so that it does
/// not delay the arrival times of other calls.
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

/// Handles a call that was counted, or lets it fail as ordered.
fn carry_out(
    state: &mut SandboxState,
    call: &AuthenticCall<'_>,
    rate_status: Option<RateStatus>,
) -> SandboxReply {
    let fault = state.faults.take(call.operation);
    if let Some(fault) = &fault
        && let Some(answer) = fault.answer(call.operation)
    {
        // This answer comes from the proxy in front of the vendor, so it has no rate headers.
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

/// The error for a call over its budget.
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
