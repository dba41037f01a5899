//! The vendor's answer on its way to the caller: a short one as a whole, a long one as a stream.

#![warn(clippy::wildcard_enum_match_arm)]

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};

use crate::body;
use crate::http1::fields::Fields;
use crate::operation::Family;
use crate::refusal::Refusal;
use crate::telemetry::Record;
use crate::upstream::{self, AnswerCut};

/// Answers up to this length are relayed once they are complete, so that the caller can be told of a cut one.
const WHOLE_BYTES: usize = 64 * 1024;

/// The body of an answer to a caller.
pub enum Reply {
    /// All bytes of a short answer.
    Whole(Bytes),
    /// A long body of the vendor's, relayed as it arrives.
    Stream(Box<AnswerStream>),
}

/// A long body: the bytes read so far, the rest as it arrives, and the record of its request.
pub struct AnswerStream {
    head: Bytes,
    rest: upstream::AnswerBody,
    record: Box<Record>,
}

/// The body of an answer after [`read`].
pub enum ReadAnswer {
    /// All bytes of a short answer.
    Whole(Bytes),
    /// The beginning of a long body.
    Long {
        /// The bytes read so far.
        head: Bytes,
        /// The rest of the body.
        rest: upstream::AnswerBody,
    },
}

impl ReadAnswer {
    /// Converts it to the body of an answer. A long one takes the record along and counts its bytes there.
    pub fn into_reply(self, record: Box<Record>) -> Reply {
        match self {
            Self::Whole(bytes) => Reply::Whole(bytes),
            Self::Long { head, rest } => Reply::Stream(Box::new(AnswerStream { head, rest, record })),
        }
    }

    /// The complete body; `None` for a long one.
    pub fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Long { .. } => None,
        }
    }

    /// Length of a complete body; zero for a long one, whose bytes are counted as they are sent.
    pub fn ready_bytes(&self) -> usize {
        self.whole().map_or(0, Bytes::len)
    }
}

/// Reads the body of an answer: a short one completely, the beginning of a long one.
pub async fn read(mut body: upstream::AnswerBody) -> Result<ReadAnswer, AnswerCut> {
    if body.left().is_some_and(|bytes| bytes > WHOLE_BYTES as u64) {
        return Ok(ReadAnswer::Long { head: Bytes::new(), rest: body });
    }
    let mut whole = Bytes::new();
    loop {
        match poll_fn(|cx| body.poll_next(cx)).await? {
            None => return Ok(ReadAnswer::Whole(whole)),
            // Most answers arrive in one piece, which is passed on without a copy.
            Some(bytes) if whole.is_empty() => whole = bytes,
            Some(bytes) => {
                let mut longer = BytesMut::from(whole);
                longer.extend_from_slice(&bytes);
                whole = longer.freeze();
            }
        }
        if whole.len() > WHOLE_BYTES {
            return Ok(ReadAnswer::Long { head: whole, rest: body });
        }
    }
}

/// The values that the record needs from an answer's body. The body itself is never changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AnswerSummary {
    /// The vendor's code; 0 or absent for a success.
    pub code: Option<u32>,
    /// The digits of the message id.
    pub msg_id: Option<Box<str>>,
}

/// Reads the code and the message id of an answer whose body is a JSON object with these members.
pub fn summary(body: &[u8]) -> AnswerSummary {
    let (mut code, mut inner, mut msg_id) = (None, None, None);
    let read = body::members(body, |key, value| match key {
        "code" => code = value.parse().ok(),
        "error" => {
            // Where `error` is a string and not an object, it has no code.
            let _ = body::members(value.as_bytes(), |key, value| {
                if key == "code" {
                    inner = value.parse().ok();
                }
            });
        }
        "msg_id" => msg_id = Some(value.trim_matches('"')),
        _ => {}
    });
    if read.is_err() {
        return AnswerSummary::default();
    }
    let digits = |id: &&str| matches!(id.len(), 1..=20) && id.bytes().all(|byte| byte.is_ascii_digit());
    AnswerSummary { code: inner.or(code), msg_id: msg_id.filter(digits).map(Box::from) }
}

/// Returns a refusal for an answer that must not reach the caller unchanged.
pub fn judge(
    status: StatusCode,
    fields: &Fields,
    body: &[u8],
    code: Option<u32>,
    family: Family,
) -> Result<(), Refusal> {
    // The file API never answers 401, and the quota API has 400 for a key that it does not know (`docs/vendor.md`,
    // V55).
    let of_credentials = matches!((family, code), (Family::File, Some(1101)) | (Family::Push, Some(1004)));
    let bad_credential = status.is_client_error() && of_credentials;
    if status == StatusCode::UNAUTHORIZED || bad_credential {
        return Err(Refusal::VendorRejectedCredential);
    }
    if status.is_client_error() || status.is_server_error() {
        let html = fields.get("Content-Type").is_some_and(|value| value.starts_with(b"text/html"));
        let text = body.trim_ascii_start();
        if html || text.is_empty() || text.starts_with(b"<") {
            return Err(Refusal::VendorErrorPage { status });
        }
    }
    Ok(())
}

impl Body for Reply {
    type Data = Bytes;
    type Error = AnswerCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerCut>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => stream.poll_next(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => match stream.rest.left() {
                Some(rest) => SizeHint::with_exact(stream.head.len() as u64 + rest),
                None => SizeHint::default(),
            },
        }
    }
}

impl AnswerStream {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerCut>>> {
        if !self.head.is_empty() {
            let head = std::mem::take(&mut self.head);
            self.record.sent(head.len());
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        let part = ready!(self.rest.poll_next(cx));
        match &part {
            Ok(Some(bytes)) => self.record.sent(bytes.len()),
            Ok(None) => {}
            Err(cut) => self.record.was_cut(cut),
        }
        Poll::Ready(part.map(|part| part.map(Frame::data)).transpose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_message_id_are_read_in_every_envelope() {
        let rows: [(&str, Option<u32>, Option<&str>); 9] = [
            (r#"{"sendno":"0","msg_id":"18100287008546343"}"#, None, Some("18100287008546343")),
            (r#"{"msg_id":58546795264977810}"#, None, Some("58546795264977810")),
            (
                r#"{"msg_id": 3316595082, "error": {"message": "no", "code": 1011}}"#,
                Some(1011),
                Some("3316595082"),
            ),
            (r#"{"code":1004,"message":"no"}"#, Some(1004), None),
            (r#"{"code":0,"message":"success","data":{}}"#, Some(0), None),
            (r#"{"msg_id":"1\",\"caller\":\"x"}"#, None, None),
            (r#"{"error":"text"}"#, None, None),
            ("[1,2]", None, None),
            ("<html>", None, None),
        ];
        for (body, code, msg_id) in rows {
            let summary = summary(body.as_bytes());
            assert_eq!((summary.code, summary.msg_id.as_deref()), (code, msg_id), "{body}");
        }
    }

    #[test]
    fn answers_that_are_not_for_callers_are_replaced() {
        let reason = |status: u16, kind: &str, body: &str, family| {
            let mut fields = Fields::default();
            fields.append_parsed(&httparse::Header { name: "content-type", value: kind.as_bytes() });
            let code = summary(body.as_bytes()).code;
            let status = StatusCode::from_u16(status).expect("a status");
            judge(status, &fields, body.as_bytes(), code, family).err().map(|refusal| refusal.reason())
        };
        let json = "application/json";
        let error = r#"{"error":{"code":1101,"message":"x"}}"#;
        assert_eq!(reason(200, json, "", Family::Device), None, "an empty 200 is a success");
        assert_eq!(reason(200, "text/html", "<html>", Family::Push), None, "only errors are replaced");
        assert_eq!(reason(401, json, error, Family::Push), Some("vendor-rejected-credential"));
        assert_eq!(reason(400, json, error, Family::File), Some("vendor-rejected-credential"));
        assert_eq!(reason(400, json, error, Family::Push), None);
        let flat = r#"{"code":1004,"message":"app_key does not exist"}"#;
        assert_eq!(reason(400, json, flat, Family::Push), Some("vendor-rejected-credential"));
        assert_eq!(reason(400, json, flat, Family::File), None);
        assert_eq!(reason(400, json, &flat.replace("1004", "1003"), Family::Push), None);
        assert_eq!(reason(502, "text/html; charset=utf-8", "oops", Family::Push), Some("vendor-error-page"));
        assert_eq!(reason(404, json, " \n<html>", Family::Push), Some("vendor-error-page"));
        assert_eq!(reason(503, json, "", Family::Push), Some("vendor-error-page"));
        assert_eq!(reason(503, json, "{}", Family::Push), None);
    }
}
