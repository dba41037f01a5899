//! The vendor's answer on its way to the caller: whole where it is short, streamed where it is long.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Sleep, sleep_until, timeout_at};

use crate::operation::Family;
use crate::refusal::Refusal;
use crate::telemetry::Record;
use crate::vendor::{Answer, Lease};

/// Answers up to this length are relayed once they are whole, so that a cut one can be told as such.
const WHOLE_BYTES: usize = 64 * 1024;

/// The body of a reply to a caller.
pub enum Reply {
    /// All of it.
    Whole(Bytes),
    /// A long answer of the vendor's.
    Stream(Box<Stream>),
}

/// A long answer: what was read already, and the rest as it comes. It carries its request's record.
pub struct Stream {
    head: Bytes,
    rest: Incoming,
    lease: Option<Lease>,
    due: Pin<Box<Sleep>>,
    record: Box<Record>,
}

/// Why an answer ended early.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    /// The connection broke.
    #[error("the vendor's answer was cut off")]
    Vendor(#[source] hyper::Error),
    /// Time was up.
    #[error("the vendor's answer did not end in time")]
    Late,
}

/// The body of an answer, read as far as it is relayed at once.
pub enum Read {
    /// All of it.
    Whole(Bytes),
    /// The beginning of a long one.
    Long {
        /// What was read.
        head: Bytes,
        /// What is to come.
        rest: Incoming,
        /// Its connection.
        lease: Lease,
        /// When it must have ended.
        due: std::time::Instant,
    },
}

impl Read {
    /// Goes on with a long answer on the caller's time.
    pub fn into_reply(self, record: Box<Record>) -> Reply {
        match self {
            Self::Whole(bytes) => Reply::Whole(bytes),
            Self::Long { head, rest, lease, due } => {
                let due = Box::pin(sleep_until(due.into()));
                Reply::Stream(Box::new(Stream { head, rest, lease: Some(lease), due, record }))
            }
        }
    }

    /// All of the body, unless it is a long one.
    pub fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Long { .. } => None,
        }
    }

    /// Bytes that go out at once; a long body counts the others as they pass.
    pub fn ready_bytes(&self) -> usize {
        self.whole().map_or(0, Bytes::len)
    }
}

/// Reads the body of an answer: all of a short one, the beginning of a long one.
pub async fn read(answer: Box<Answer>) -> Result<(http::response::Parts, Read), Refusal> {
    let Answer { response, lease, due, .. } = *answer;
    let (parts, mut body) = response.into_parts();
    if body.size_hint().lower() > WHOLE_BYTES as u64 {
        return Ok((parts, Read::Long { head: Bytes::new(), rest: body, lease, due }));
    }
    let mut whole = BytesMut::new();
    let mut only = None;
    loop {
        if body.is_end_stream() {
            break;
        }
        let Ok(frame) = timeout_at(due.into(), body.frame()).await else {
            return Err(Refusal::VendorTimeout);
        };
        let Some(frame) = frame else { break };
        let Ok(frame) = frame else { return Err(Refusal::VendorInterrupted) };
        let Ok(bytes) = frame.into_data() else { continue };
        if only.is_none() && whole.is_empty() {
            only = Some(bytes);
            continue;
        }
        if let Some(first) = only.take() {
            whole.extend_from_slice(&first);
        }
        whole.extend_from_slice(&bytes);
        if whole.len() > WHOLE_BYTES {
            return Ok((parts, Read::Long { head: whole.freeze(), rest: body, lease, due }));
        }
    }
    lease.release();
    Ok((parts, Read::Whole(only.unwrap_or_else(|| whole.freeze()))))
}

/// What an answer's body says, for the record; nothing of it is ever changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The vendor's code.
    pub code: Option<u32>,
    /// Digits of the message id.
    pub msg_id: Option<Bytes>,
}

/// Reads the code and the message id of an answer, if its body is a JSON object with such.
pub fn said(body: &Bytes) -> Said {
    #[derive(Deserialize)]
    struct Members<'b> {
        #[serde(borrow, default)]
        msg_id: Option<&'b RawValue>,
        #[serde(borrow, default)]
        code: Option<&'b RawValue>,
        #[serde(borrow, default)]
        error: Option<&'b RawValue>,
    }
    #[derive(Deserialize)]
    struct Inner<'b> {
        #[serde(borrow, default)]
        code: Option<&'b RawValue>,
    }
    // An array would be read as the members in order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Said::default();
    }
    let Ok(members) = serde_json::from_slice::<Members<'_>>(body) else { return Said::default() };
    let inner = members.error.and_then(|error| serde_json::from_str::<Inner<'_>>(error.get()).ok());
    let code = inner.and_then(|inner| inner.code).or(members.code);
    let msg_id = members
        .msg_id
        .map(|id| id.get().trim_matches('"'))
        .filter(|id| matches!(id.len(), 1..=20) && id.bytes().all(|byte| byte.is_ascii_digit()));
    Said {
        code: code.and_then(|code| code.get().parse().ok()),
        msg_id: msg_id.map(|id| body.slice_ref(id.as_bytes())),
    }
}

/// Turns answers that must not reach the caller as they are into refusals.
pub fn judge(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    code: Option<u32>,
    family: Family,
) -> Result<(), Refusal> {
    let bad_file_credential = family == Family::File && code == Some(1101);
    if status == StatusCode::UNAUTHORIZED || bad_file_credential {
        return Err(Refusal::VendorRejectedCredential);
    }
    if status.is_client_error() || status.is_server_error() {
        let html = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/html"));
        let text = body.trim_ascii_start();
        if html || text.is_empty() || text.starts_with(b"<") {
            return Err(Refusal::VendorErrorPage { status });
        }
    }
    Ok(())
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
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
            Self::Stream(stream) => match stream.rest.size_hint().exact() {
                Some(rest) => SizeHint::with_exact(stream.head.len() as u64 + rest),
                None => SizeHint::default(),
            },
        }
    }
}

impl Stream {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if !self.head.is_empty() {
            let head = std::mem::take(&mut self.head);
            self.record.sent(head.len());
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        loop {
            match Pin::new(&mut self.rest).poll_frame(cx) {
                Poll::Pending => {
                    ready!(self.due.as_mut().poll(cx));
                    return Poll::Ready(Some(Err(Cut::Late)));
                }
                Poll::Ready(None) => {
                    if let Some(lease) = self.lease.take() {
                        lease.release();
                    }
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(Cut::Vendor(error)))),
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers belong to the vendor's connection.
                    if let Ok(bytes) = frame.into_data() {
                        self.record.sent(bytes.len());
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                }
            }
        }
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
            let said = said(&Bytes::from(body.to_owned()));
            assert_eq!((said.code, said.msg_id.as_deref()), (code, msg_id.map(str::as_bytes)), "{body}");
        }
    }

    #[test]
    fn answers_that_are_not_for_callers_are_replaced() {
        let reason = |status: u16, kind: &str, body: &str, family| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, kind.parse().expect("a header value"));
            let code = said(&Bytes::from(body.to_owned())).code;
            let status = StatusCode::from_u16(status).expect("a status");
            judge(status, &headers, body.as_bytes(), code, family).err().map(|refusal| refusal.reason())
        };
        let json = "application/json";
        let error = r#"{"error":{"code":1101,"message":"x"}}"#;
        assert_eq!(reason(200, json, "", Family::Device), None, "an empty 200 is a success");
        assert_eq!(reason(200, "text/html", "<html>", Family::Push), None, "only errors are replaced");
        assert_eq!(reason(401, json, error, Family::Push), Some("vendor-rejected-credential"));
        assert_eq!(reason(400, json, error, Family::File), Some("vendor-rejected-credential"));
        assert_eq!(reason(400, json, error, Family::Push), None);
        assert_eq!(reason(502, "text/html; charset=utf-8", "oops", Family::Push), Some("vendor-error-page"));
        assert_eq!(reason(404, json, " \n<html>", Family::Push), Some("vendor-error-page"));
        assert_eq!(reason(503, json, "", Family::Push), Some("vendor-error-page"));
        assert_eq!(reason(503, json, "{}", Family::Push), None);
    }
}
