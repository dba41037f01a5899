//! An answer on its way to a caller: the vendor's, or one of ours.

use http::StatusCode;

use crate::http1::fields::Fields;

/// An answer to a caller.
#[derive(Clone, Debug)]
pub struct Response<B> {
    /// The status code.
    pub status: StatusCode,
    /// The reason phrase, if it is not the usual one.
    pub reason: Option<Box<str>>,
    /// Its header fields, without what belongs to a connection or frames the body.
    pub fields: Fields,
    /// Whether the caller's connection ends behind it.
    pub closes: bool,
    /// The body of the answer.
    pub body: B,
}

impl<B> Response<B> {
    /// An answer with nothing but a body.
    pub fn new(status: StatusCode, fields: Fields, body: B) -> Self {
        Self { status, reason: None, fields, closes: false, body }
    }

    /// The same with another body.
    pub fn map<T>(self, change: impl FnOnce(B) -> T) -> Response<T> {
        let Self { status, reason, fields, closes, body } = self;
        Response { status, reason, fields, closes, body: change(body) }
    }
}
