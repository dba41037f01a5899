//! Answers on their way to a caller, until a later request tells that they arrived.

use std::time::Instant;

use smallvec::SmallVec;

use super::Answer;

/// Answers that no later request has confirmed yet, on one connection; who asks for more at once is asked to come again.
const ANSWERS_MAX: usize = 16;

/// The answers of one connection that may not have arrived.
pub(super) struct Unconfirmed<A> {
    /// Answers whose loss has to be reported.
    answers: SmallVec<[A; 1]>,
    /// The next request, or its beginning, was here before the last answer was: it tells nothing.
    is_next_early: bool,
    /// The kernel has all of the last answer.
    is_written: bool,
}

impl<A> Default for Unconfirmed<A> {
    fn default() -> Self {
        Self { answers: SmallVec::new(), is_next_early: false, is_written: false }
    }
}

impl<A: Answer> Unconfirmed<A> {
    /// Notes that a request arrived, which confirms the answers before it.
    pub(super) fn request_came(&mut self) {
        if !self.is_next_early {
            self.answers.clear();
        }
    }

    /// The request behind the answer that is about to be written is here already, or not.
    pub(super) fn next_is_early(&mut self, is_early: bool) {
        self.is_next_early = is_early;
    }

    /// Whether none is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Drops those of which nobody would be told any more.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.answers.retain(|answer| answer.matters_at(now));
        if self.answers.is_empty() {
            self.answers = SmallVec::new();
        }
    }

    /// Whether another answer would be one too many.
    pub(super) fn is_full(&self) -> bool {
        self.answers.len() >= ANSWERS_MAX
    }

    /// An answer is about to be written: its bytes, and what is to be told of it if it is a whole one.
    pub(super) fn begin(&mut self, answer: Option<A>) {
        self.is_written = false;
        if let Some(answer) = answer
            && answer.matters_if_lost()
        {
            self.answers.push(answer);
        }
    }

    /// Notes that the last answer is written.
    pub(super) fn end(&mut self) {
        self.is_written = true;
    }

    /// Whether there is nothing left to be written.
    pub(super) fn is_written(&self) -> bool {
        self.is_written
    }

    /// The connection broke under them.
    pub(super) fn lost(self) {
        self.answers.into_iter().for_each(A::lost);
    }
}
