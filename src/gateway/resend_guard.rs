//! Tells the resend guard about pushes whose caller's connection breaks, at any stage.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::idempotency::{DedupKey, saved};
use super::{Answered, Handled, Worker};

use crate::answer::Reply;
use crate::budget::CallerNumber;
use crate::dedup::{AbandonedCall, Fingerprint, RepeatProtection, SavedEnding};
use crate::delivery::Delivery;
use crate::detach::{OnDetach, ResultHandler};
use crate::http1::response::Response;
use crate::store::BreakableCall;
use crate::stored_call::ClaimEnd;
use crate::tenant::Grant;

impl Worker {
    /// Makes the resend guard recognize a repeat of this call if the connection breaks from here on.
    pub(super) fn guarded(&self, grant: &Grant, key: &DedupKey) -> Guarded {
        Guarded(match key {
            DedupKey::Body(call, at_others) => Some(Guard {
                protection: Arc::clone(&self.active.repeat_protection),
                caller: grant.caller().number,
                call: *call,
                window: grant.tenant().repeats.resend_guard,
                at_others: at_others.clone(),
                broken: None,
            }),
            DedupKey::None | DedupKey::Key(..) => None,
        })
    }
}

/// A call that is reported to the resend guard if its caller's connection breaks; `None` if it needs no guard.
pub(super) struct Guarded(Option<Guard>);

/// The report about one call. It holds no credential, because an idle connection may keep it for long.
struct Guard {
    protection: Arc<RepeatProtection>,
    caller: CallerNumber,
    call: Fingerprint,
    window: Duration,
    /// The call at the other replicas, if there are any.
    at_others: Option<Arc<BreakableCall>>,
    /// Set if the call was reported already, because its caller may be gone.
    broken: Option<AbandonedCall>,
}

impl Guard {
    fn tell(&self) -> Option<AbandonedCall> {
        let broken = self.protection.guard.broke(self.caller, self.call, Instant::now(), self.window)?;
        if let Some(call) = &self.at_others {
            let mut first = broken.watch();
            call.broke(async move {
                match first.ended().await {
                    SavedEnding::Answered(saved) => ClaimEnd::answered(saved.to_bytes()),
                    SavedEnding::Lost => ClaimEnd::Lost,
                    SavedEnding::Nothing => ClaimEnd::Nothing,
                }
            });
        }
        Some(broken)
    }

    fn tell_again(&self) {
        self.protection.guard.broke_again(self.caller, &self.call, Instant::now(), self.window);
        if let Some(call) = &self.at_others {
            call.broke_again();
        }
    }
}

impl OnDetach<Answered> for Guarded {
    fn result_handler(self) -> Option<ResultHandler<Answered>> {
        let mut guard = self.0?;
        let broken = match guard.broken.take() {
            Some(broken) => {
                guard.tell_again();
                broken
            }
            None => guard.tell()?,
        };
        Some(Box::new(move |Answered { answer, delivery, .. }| broken.end(delivery, saved(&answer))))
    }
}

impl Guarded {
    /// Reports the call now, because its caller may be gone and repeat it before the answer is here.
    pub(super) fn doubt(&mut self) {
        if let Some(guard) = self.0.as_mut().filter(|guard| guard.broken.is_none()) {
            guard.broken = guard.tell();
        }
    }

    /// Wraps an answer so that its loss can be reported.
    pub(super) fn handled(mut self, answered: Answered) -> Handled {
        let Answered { answer, delivery, in_flight } = answered;
        if let Some(broken) = self.0.as_mut().and_then(|guard| guard.broken.take()) {
            broken.end(delivery, saved(&answer));
        }
        let until = self.0.as_ref().map(|guard| Instant::now() + guard.window);
        let loss = until.map(|until| Loss { guarded: self, delivery, until });
        Handled { answer, in_flight: Some(in_flight), loss }
    }
}

/// The report that is due if an answer gets lost on its way to the caller, who would then repeat the push.
pub(super) struct Loss {
    guarded: Guarded,
    delivery: Delivery,
    until: Instant,
}

impl Handled {
    /// Whether a loss of the answer has to be reported.
    pub fn matters_if_lost(&self) -> bool {
        self.loss.is_some()
    }

    /// Whether a loss of the answer would still be reported. An answer that was written long before the
    /// connection broke counts as received.
    pub fn matters_at(&self, now: Instant) -> bool {
        self.loss.as_ref().is_some_and(|loss| now < loss.until)
    }

    /// Reports that the answer may not arrive, because its caller may be gone.
    pub fn may_be_lost(&self) {
        if let Some(loss) = &self.loss {
            loss.tell(&self.answer);
        }
    }

    /// Reports that the connection broke before the answer arrived.
    pub fn lost(self) {
        if self.matters_at(Instant::now()) {
            self.may_be_lost();
        }
    }
}

impl Loss {
    fn tell(&self, answer: &Response<Reply>) {
        if let Some(broken) = self.guarded.0.as_ref().and_then(Guard::tell) {
            broken.end(self.delivery, saved(answer));
        }
    }
}
