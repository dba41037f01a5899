//! The traits by which a caller's connection uses the program around it.

use std::time::Instant;

use bytes::Bytes;
use http_body::Body;

use crate::http1::body::BodySource;
use crate::http1::head::{FieldName, Head};
use crate::http1::response::Response;

/// Answers the requests of a connection, and counts memory for long heads.
pub trait Service: Sync {
    /// The header fields that the service looks at.
    type Field: FieldName;
    /// The watch on the connection's progress.
    type Progress: Progress;
    /// The answer to a request.
    type Answer: Answer;
    /// A guard for the memory of a long head, counted until it is dropped.
    type Room: Send;

    /// Longest head, its request line included.
    const HEAD_BYTES_MAX: usize;

    /// The watch on this connection.
    fn progress(&self) -> &Self::Progress;

    /// Answers a request; `None` if its caller went away.
    fn answer(
        &self,
        head: &Head<Self::Field>,
        body: &mut dyn BodySource,
    ) -> impl Future<Output = Option<Self::Answer>> + Send;

    /// Called with bytes that are no request.
    fn not_a_request(&self, what: NotARequest<'_>);

    /// Counts so many bytes for a head that is longer than most, if there is room for them.
    fn room(&self, bytes: usize) -> Option<Self::Room>;
}

/// Watches the progress of a connection, to close it when there is none.
pub trait Progress: Send + Sync {
    /// A guard: a request is being answered until it is dropped.
    type Serving: Send;

    /// Called when part of a head has arrived. Only the first call for a head counts.
    fn head_begins(&self);

    /// Called when bytes of an answer were written.
    fn sent(&self);

    /// Until the returned guard is dropped, the caller is not the one who is waited for.
    fn serving(&self) -> Self::Serving;

    /// Whether the connection should end when it can.
    fn finishes(&self) -> bool;

    /// Asks for a poll once nothing has happened for a while; `false` if that was asked already.
    fn ask_for_reminder(&self) -> bool;
}

/// An answer, and the reports that are due if it does not arrive.
pub trait Answer: Send + Sized {
    /// The type of the body.
    type Body: Body<Data = Bytes> + Unpin + Send;
    /// A value that is kept until the answer is written or given up.
    type Held: Send;

    /// The head and the body.
    fn response(&self) -> &Response<Self::Body>;

    /// The body, if all of it is here: it leaves with the head.
    fn whole_body(&self) -> Option<&Bytes>;

    /// Takes the body out.
    fn take_body(&mut self) -> Self::Body;

    /// Takes out the value that is kept until the answer is written.
    fn take_held(&mut self) -> Self::Held;

    /// Whether the loss of the answer has to be reported.
    fn matters_if_lost(&self) -> bool;

    /// Whether the loss would still be reported at this time.
    fn matters_at(&self, now: Instant) -> bool;

    /// Reports that the answer may not arrive, because the caller may be gone.
    fn may_be_lost(&self);

    /// Reports that the connection broke before the answer arrived.
    fn lost(self);
}

/// Bytes on a connection that were no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotARequest<'b> {
    /// The bytes are not HTTP/1.
    Malformed(&'b [u8]),
    /// A head over the limits.
    TooLarge,
    /// A long head, with no memory for another.
    NoRoom,
    /// The connection ended in the middle of a head.
    Cut,
}
