//! The place in a body that names the recipients of a call.

/// The place in a call's body that names its recipients. The right to reach every device or a target list is checked
/// against it, and so is the budget that such a call draws on.
///
/// This is a column of its own and no part of [`BodyRule`](super::BodyRule): a call that delivers under a rule that
/// reads no audience would escape both checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// No place: the call delivers nothing.
    Nobody,
    /// The member `audience` of the body.
    Body,
    /// `push.audience` in the body of a schedule.
    Push,
    /// `params[].audience`, one for each push made from a template (`docs/vendor.md`, V40).
    Params,
    /// `pushlist.*.target`, one alias or device for each push. An `audience` beside it counts, too: SDKs send whole
    /// pushes (`docs/vendor.md`, V41).
    Targets,
}

impl Audience {
    /// All places, for tests and tables.
    pub const ALL: [Self; 5] = [Self::Nobody, Self::Body, Self::Push, Self::Params, Self::Targets];
}
