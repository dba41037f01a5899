//! Outcomes that are labels of metrics.

/// The reason why a call was recognized as a repeated one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayedBy {
    /// The caller sent the same `Idempotency-Key`.
    IdempotencyKey,
    /// The resend guard matched: the connection of the first call broke before its answer was delivered.
    ResendGuard,
}

impl ReplayedBy {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::IdempotencyKey => "idempotency-key",
            Self::ResendGuard => "resend-guard",
        }
    }
}

/// The treatment of a body that broke a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleOutcome {
    /// It was refused, which saved a call.
    Refused,
    /// It passed, because the rule is in `report` mode.
    Reported,
}

impl RuleOutcome {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reported => "reported",
        }
    }
}
