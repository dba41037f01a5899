//! What a connection of a caller's needs of the program around it.

use std::time::Instant;

use bytes::Bytes;
use http_body::Body;

use crate::http1::body::BodySource;
use crate::http1::head::{FieldName, Head};
use crate::http1::response::Response;

/// Who answers the requests of a connection, and lends it memory for long heads.
pub trait Service: Sync {
    /// The header fields that it looks at.
    type Field: FieldName;
    /// Who watches the connection's progress.
    type Progress: Progress;
    /// What a request is answered with.
    type Answer: Answer;
    /// Memory that a long head counts for until this is dropped.
    type Room: Send;

    /// Longest head, its request line included.
    const HEAD_BYTES_MAX: usize;

    /// Who watches this connection.
    fn progress(&self) -> &Self::Progress;

    /// Answers a request; `None` if its caller went away.
    fn answer(
        &self,
        head: &Head<Self::Field>,
        body: &mut dyn BodySource,
    ) -> impl Future<Output = Option<Self::Answer>> + Send;

    /// Is told of bytes that were no request.
    fn not_a_request(&self, what: NotARequest<'_>);

    /// Counts so many bytes for a head that is longer than most, if there is room for them.
    fn room(&self, bytes: usize) -> Option<Self::Room>;
}

/// Who watches the progress of a connection, and closes it when there is none.
pub trait Progress: Send + Sync {
    /// A request is being answered until this is dropped.
    type Serving: Send;

    /// Some of a head is here. Only its beginning counts.
    fn head_begins(&self);

    /// Bytes of an answer went out.
    fn sent(&self);

    /// It is not the caller who is waited for, until the guard is dropped.
    fn serving(&self) -> Self::Serving;

    /// Whether the connection should end when it can.
    fn finishes(&self) -> bool;

    /// Asks for a poll once nothing has happened for a while; `false` if that was asked already.
    fn asks_for_reminder(&self) -> bool;
}

/// An answer, and what has to be done if it does not arrive.
pub trait Answer: Send + Sized {
    /// Its body.
    type Body: Body<Data = Bytes> + Unpin + Send;
    /// What is held until the answer is written, or never will be.
    type Held: Send;

    /// Head and body.
    fn response(&self) -> &Response<Self::Body>;

    /// The body, if all of it is here: it leaves with the head.
    fn whole_body(&self) -> Option<&Bytes>;

    /// Takes the body out.
    fn take_body(&mut self) -> Self::Body;

    /// Takes out what is held until the answer is written.
    fn take_held(&mut self) -> Self::Held;

    /// Whether anybody has to be told if it does not arrive.
    fn matters_if_lost(&self) -> bool;

    /// Whether anybody would still be told.
    fn matters_at(&self, now: Instant) -> bool;

    /// It may not arrive: its caller may be gone.
    fn may_be_lost(&self);

    /// The connection broke under it.
    fn lost(self);
}

/// Bytes on a connection that were no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotARequest<'b> {
    /// They are not HTTP/1.
    Malformed(&'b [u8]),
    /// A head over the limits.
    TooLarge,
    /// A long head, with no memory for another.
    NoRoom,
    /// The connection ended in the middle of a head.
    Cut,
}
