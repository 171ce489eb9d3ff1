//! The way of a request to the upstream, which goes on beside whatever else is done.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tokio::io::AsyncWrite as _;

use super::head::Head;
use super::session::{Body, Broken, Connect, Session, poll_read};
use crate::socket::End;

impl<C: End, K: Connect> Session<C, K> {
    /// Takes the head, or what comes in its place, and as much of the body as is here, to be written to the upstream.
    pub(super) fn begin_upload(&mut self, head: &Head, instead: Option<Vec<u8>>) -> Result<(), Broken> {
        let mut body = Body::new(head.framing);
        let inside = body.follow(&self.from_client[head.size..], |_| {})?;
        self.upload = match instead {
            None => self.from_client.split_to(head.size + inside).freeze(),
            Some(mut bytes) => {
                bytes.extend_from_slice(&self.from_client[head.size..head.size + inside]);
                self.from_client.advance(head.size + inside);
                bytes.into()
            }
        };
        self.uploading = (!body.is_done()).then_some(body);
        Ok(())
    }

    /// A whole request, to be written to the upstream.
    pub(super) fn set_upload(&mut self, whole: Vec<u8>) {
        self.upload = whole.into();
        self.uploading = None;
    }

    /// Writes what of the request can be written now. The rest goes on whenever something is waited for: who waited here for
    /// all of it would not hear an upstream that says `100 Continue`, or that answers before it has read everything.
    pub(super) async fn write_upload(&mut self) -> Result<(), Broken> {
        poll_fn(|cx| Poll::Ready(self.poll_upload_beside(cx))).await
    }

    /// Writes all of it.
    pub(super) async fn write_whole_upload(&mut self) -> Result<(), Broken> {
        poll_fn(|cx| self.poll_upload(cx)).await
    }

    /// Whether the upstream has all of the request in the end, so that the next byte of the client begins another. One that
    /// answers early goes on reading, to pass over the rest, or closes.
    pub(super) async fn finish_upload(&mut self) -> Result<bool, Broken> {
        poll_fn(|cx| {
            if self.poll_upload(cx)?.is_ready() {
                return Poll::Ready(Ok(!self.upload_broken));
            }
            let Some(upstream) = &mut self.upstream else { return Poll::Ready(Ok(false)) };
            // Whatever it does now, it does not wait for the rest.
            poll_read(upstream, cx, &mut self.from_upstream).map_ok(|_| false).map_err(Broken::Io)
        })
        .await
    }

    /// Ready when all of the request has been written, or will never be.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let Some(upstream) = &mut self.upstream else { return Poll::Ready(Ok(())) };
        loop {
            while !self.upload.is_empty() && !self.upload_broken {
                match Pin::new(&mut *upstream).poll_write(cx, &self.upload) {
                    Poll::Ready(Ok(count)) => self.upload.advance(count),
                    // It may have answered before, and what it said is to be had.
                    Poll::Ready(Err(_)) => self.upload_broken = true,
                    Poll::Pending => return Poll::Pending,
                }
            }
            if Pin::new(&mut *upstream).poll_flush(cx).is_pending() {
                return Poll::Pending;
            }
            let Some(body) = &mut self.uploading else { return Poll::Ready(Ok(())) };
            if self.upload_broken {
                return Poll::Ready(Ok(()));
            }
            if self.from_client.is_empty() && ready!(poll_read(&mut self.client, cx, &mut self.from_client))? == 0 {
                return Poll::Ready(Err(Broken::Left("the client left in the middle of a request")));
            }
            let count = body.follow(&self.from_client, |_| {})?;
            self.upload = self.from_client.split_to(count).freeze();
            if body.is_done() {
                self.uploading = None;
            }
        }
    }

    /// Whatever is waited for, the rest of the request goes on.
    pub(super) fn poll_upload_beside(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        if self.uploading.is_none() && self.upload.is_empty() || self.upload_broken {
            return Ok(());
        }
        match self.poll_upload(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }
}
