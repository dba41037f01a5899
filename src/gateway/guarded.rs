//! A push whose caller's connection breaks, at whatever moment: the resend guard is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::repeats::{Mark, saved};
use super::{Answered, Handled, Worker};

use crate::detach::{Heir, Testament};
use crate::retry::{Delivery, Fingerprint, Recall};
use crate::tenant::Grant;

impl Worker {
    /// What knows a call again if its caller's connection breaks from here on.
    pub(super) fn guarded(&self, grant: &Grant, mark: &Mark) -> Guarded {
        Guarded(match mark {
            Mark::Body(call) => Some(Guard {
                recall: Arc::clone(&self.setup.recall),
                caller: grant.caller().number,
                call: *call,
                window: grant.tenant().repeats.resend_guard,
            }),
            Mark::None | Mark::Key(_) => None,
        })
    }
}

/// A call that is told to the resend guard if its caller's connection breaks; or one that needs no guard.
pub(super) struct Guarded(Option<Guard>);

/// It knows the call and nothing else: an idle connection may keep it for long, and no credential with it.
struct Guard {
    recall: Arc<Recall>,
    caller: u16,
    call: Fingerprint,
    window: Duration,
}

impl Testament<Answered> for Guarded {
    fn heir(self) -> Option<Heir<Answered>> {
        let Guard { recall, caller, call, window } = self.0?;
        let broken = recall.guard.broke(caller, call, Instant::now(), window)?;
        Some(Box::new(move |Answered { answer, delivery }| broken.end(delivery, saved(&answer))))
    }
}

impl Guarded {
    /// An answer that can be told to be lost, if that matters.
    pub(super) fn handled(self, answered: Answered) -> Handled {
        let Answered { answer, delivery } = answered;
        let until = self.0.as_ref().map(|guard| Instant::now() + guard.window);
        Handled { answer, loss: until.map(|until| Loss { guarded: self, delivery, until }) }
    }
}

/// What there is to tell if an answer gets lost on its way to the caller, who would send its push again.
pub(super) struct Loss {
    guarded: Guarded,
    delivery: Delivery,
    until: Instant,
}

impl Handled {
    /// The connection broke under it. What breaks long after the answer was written did not keep it from the caller.
    pub fn lost(self) {
        let Self { answer, loss } = self;
        if let Some(Loss { guarded, delivery, .. }) = loss.filter(|loss| Instant::now() < loss.until)
            && let Some(heir) = guarded.heir()
        {
            heir(Answered { answer, delivery });
        }
    }
}
