//! The body of a request on its way from the connection to where it stays.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut};
use http::Version;
use tokio::io::AsyncReadExt;

use super::{CallerStream, READ_BYTES, ServerConnection, Service};

use crate::http1::body::{BodyCut, BodySource, Gone};
use crate::http1::framing::{BodyPart, Framing};
use crate::http1::head::Head;

/// Room for reading a body in chunks.
const READ_BYTES_LONG: usize = 64 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The body of the request that is being answered.
pub(super) struct IncomingBody<'c, 'v, S, V: Service> {
    connection: &'c mut ServerConnection<'v, S, V>,
    framing: Framing,
    /// The rest of `100 Continue`, which is still to be written before the caller sends the body.
    interim: Option<&'static [u8]>,
}

impl<'c, 'v, S: CallerStream, V: Service> IncomingBody<'c, 'v, S, V> {
    pub(super) fn of(
        head: &Head<V::Field>,
        framing: Framing,
        connection: &'c mut ServerConnection<'v, S, V>,
    ) -> Self {
        let waits = head.version == Version::HTTP_11 && head.expects_continue();
        let interim = (waits && !framing.is_done()).then_some(CONTINUE);
        Self { connection, framing, interim }
    }

    /// Passes what is here of a body nobody read; whether that was all of it.
    pub(super) fn skip(&mut self) -> bool {
        while let Ok(BodyPart::Data(_)) = self.framing.take(&mut self.connection.buffer) {}
        self.framing.is_done()
    }

    /// Whether the caller came into doubt since its call was answered: both can have been here when we looked.
    pub(super) async fn has_just_ended(&mut self) -> bool {
        let knew = self.connection.is_in_doubt();
        poll_fn(|cx| Poll::Ready(self.poll_gone(cx))).await.is_ready() && !knew
    }

    /// Asks the caller for the body, if it waits for that.
    fn poll_ask(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &mut self.connection.stream;
        while let Some(rest) = &mut self.interim {
            if rest.is_empty() {
                ready!(Pin::new(&mut *stream).poll_flush(cx))?;
                self.interim = None;
                break;
            }
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *rest = &rest[written..];
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, straight to where the body stays.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_ask(cx))?;
        pin!(self.connection.stream.read_buf(&mut buffer.limit(most))).poll(cx)
    }
}

/// The body of a request of which nobody can tell where it ends: none of it is read.
pub(super) struct UnframedBody;

impl BodySource for UnframedBody {
    fn declared(&self) -> Option<u64> {
        None
    }

    fn poll_append(&mut self, _: &mut Context<'_>, _: &mut Vec<u8>, _: usize) -> Poll<Result<bool, BodyCut>> {
        Poll::Ready(Err(BodyCut))
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<Gone> {
        Poll::Pending
    }
}

impl<S: CallerStream, V: Service> BodySource for IncomingBody<'_, '_, S, V> {
    fn declared(&self) -> Option<u64> {
        self.framing.left()
    }

    fn poll_append(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        most: usize,
    ) -> Poll<Result<bool, BodyCut>> {
        if let Framing::Length(left @ 1..) = &mut self.framing {
            let most = usize::try_from(*left).unwrap_or(usize::MAX).min(most);
            let here = &mut self.connection.buffer;
            let added = if here.is_empty() {
                ready!(self.poll_read(cx, buffer, most)).unwrap_or(0)
            } else {
                let added = most.min(here.len());
                buffer.extend_from_slice(&here[..added]);
                here.advance(added);
                added
            };
            let Framing::Length(left) = &mut self.framing else { return Poll::Ready(Err(BodyCut)) };
            *left -= added as u64;
            return Poll::Ready(if added == 0 { Err(BodyCut) } else { Ok(true) });
        }
        loop {
            match self.framing.take(&mut self.connection.buffer) {
                Err(_) => return Poll::Ready(Err(BodyCut)),
                Ok(BodyPart::End) => {
                    self.connection.shrink();
                    return Poll::Ready(Ok(false));
                }
                Ok(BodyPart::Data(bytes)) => {
                    buffer.extend_from_slice(&bytes);
                    return Poll::Ready(Ok(true));
                }
                Ok(BodyPart::More) => {}
            }
            ready!(self.poll_ask(cx)).map_err(|_| BodyCut)?;
            match ready!(self.connection.poll_fill(READ_BYTES_LONG, cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(Err(BodyCut)),
            }
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        while !self.connection.is_in_doubt() {
            if ready!(self.connection.poll_fill(READ_BYTES, cx)).is_err() {
                return Poll::Ready(Gone::Certainly);
            }
        }
        Poll::Ready(Gone::Perhaps)
    }
}
