//! Where a body says whom its call reaches.

/// Where a call's body says whom it reaches. The right to reach everybody or a target list hangs on it, and what those cost.
///
/// It is a column of its own and no part of the body rule: a call that delivers under a rule that reads no audience
/// would slip past both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Nowhere: the call delivers nothing to anybody.
    Nobody,
    /// In `audience`.
    Body,
    /// In `push.audience`: a schedule.
    Push,
    /// In `params[].audience`, one a push: a template (`docs/vendor.md`, V40).
    Params,
    /// In `pushlist.*.target`, one alias or device a push. An `audience` beside it counts, too: SDKs send whole pushes
    /// (`docs/vendor.md`, V41).
    Targets,
}

impl Audience {
    /// Every place.
    pub const ALL: [Self; 5] = [Self::Nobody, Self::Body, Self::Push, Self::Params, Self::Targets];
}
