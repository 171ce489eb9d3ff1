//! An exchange that a plan changes.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::head::{First, Framing, Head};
use super::plan::{FieldEdit, OwnAnswer, Plan};
use super::session::{BODY, Body, Broken, Connect, Next, Session};
use crate::body::{BodyFault, Cut, Step, Steps};
use crate::events::{Happened, Milestone};
use crate::socket::End;
use crate::{stream, time};

/// While an exchange waits, between two looks whether its client is still there.
const LOOK: Duration = Duration::from_secs(1);

/// How the body of a response is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// As it is: its length was said, or its end is that of the connection.
    Plain,
    Chunked,
}

impl<C: End, K: Connect> Session<C, K> {
    /// Carries the plan out.
    pub(super) async fn carry_out(&mut self, head: &Head, mut plan: Plan) -> Result<Next, Broken> {
        if !plan.delay.is_zero() {
            self.wait(plan.delay).await?;
        }
        if plan.hang {
            self.milestone(Milestone::Stalled, 0);
            return self.until_client_leaves().await;
        }
        if let Some(cut) = plan.cut {
            return self.cut(cut, 0);
        }
        if let Some(answer) = plan.answer.take() {
            return self.answer(head, &answer).await;
        }
        if self.upstream.is_none() && !self.open().await {
            return Ok(Next::Close);
        }
        let method = self.method(head);
        self.send_request(head, &plan).await?;
        self.milestone(Milestone::RequestSent, 0);
        let response = self.read_final_response(&method).await?;
        self.milestone(Milestone::ResponseHead, 0);
        if !plan.response_delay.is_zero() {
            self.wait(plan.response_delay).await?;
        }
        self.send_response(head, &response, &plan, method == b"HEAD").await
    }

    pub(super) fn milestone(&self, milestone: Milestone, bytes: u64) {
        let request = self.requests;
        self.connection.record_with(|| Happened::Milestone { request, milestone, bytes });
    }

    /// Waits, as long as there is somebody to wait for.
    ///
    /// A client that has only finished sending (FIN) still wants its answer. One that reset the connection, or closed it
    /// altogether, does not: its connection, and the upstream's, are given back within [`LOOK`] of being known to be gone.
    async fn wait(&mut self, length: Duration) -> Result<(), Broken> {
        let end = time::now().saturating_add(length);
        loop {
            let next = end.min(time::now().saturating_add(LOOK));
            time::sleep_until(next).await?;
            if next >= end {
                return Ok(());
            }
            if self.client.is_gone() {
                return Err(Broken::Left("the client left while a rule made it wait"));
            }
        }
    }

    /// Ends the connection in the middle.
    fn cut(&mut self, cut: Cut, bytes: u64) -> Result<Next, Broken> {
        self.milestone(Milestone::Cut, bytes);
        match cut {
            Cut::Close => Ok(Next::Close),
            Cut::Reset => {
                self.client.reset_on_close();
                // An end in order first would be the one that the client sees.
                Err(Broken::Left("a rule reset the connection"))
            }
        }
    }

    async fn until_client_leaves(&mut self) -> Result<Next, Broken> {
        poll_fn(|cx| {
            loop {
                self.from_client.clear();
                match tokio_util::io::poll_read_buf(Pin::new(&mut self.client), cx, &mut self.from_client) {
                    std::task::Poll::Ready(Ok(1..)) => {}
                    std::task::Poll::Ready(_) => return std::task::Poll::Ready(()),
                    std::task::Poll::Pending => return std::task::Poll::Pending,
                }
            }
        })
        .await;
        Ok(Next::Close)
    }

    /// Answers instead of the upstream, and keeps the connection if the request's body is here and can be passed over.
    async fn answer(&mut self, head: &Head, answer: &OwnAnswer) -> Result<Next, Broken> {
        let method = self.method(head);
        // These have no body, whatever is said of it (RFC 9110, section 6.4.1); with one, the client would be out of step.
        let bodiless = method == b"HEAD" || matches!(answer.status, 204 | 304);
        // A client whose CONNECT is granted takes what follows for a tunnel.
        let keep = self.pass_over_request(head).await? && head.keep_alive && method != b"CONNECT";
        let mut bytes = BytesMut::new();
        let reason = http::StatusCode::from_u16(answer.status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown");
        bytes.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", answer.status).as_bytes());
        for (name, value) in &answer.fields {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if answer.status != 204 {
            bytes.extend_from_slice(format!("content-length: {}\r\n", answer.body.len()).as_bytes());
        }
        if !keep {
            bytes.extend_from_slice(b"connection: close\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        if !bodiless {
            bytes.extend_from_slice(&answer.body);
        }
        self.write_client(bytes.freeze()).await?;
        self.milestone(Milestone::Done, answer.body.len() as u64);
        Ok(if keep { Next::Request } else { Next::Close })
    }

    /// Whether the whole request was passed over: one with a large body, or that waits to be asked for it, was not.
    async fn pass_over_request(&mut self, head: &Head) -> Result<bool, Broken> {
        if head.field(&self.from_client, "expect").is_some() {
            return Ok(false);
        }
        let mut body = Body::new(head.framing);
        let mut passed = head.size;
        loop {
            passed += body.follow(&self.from_client[passed..], |_| {})?;
            if body.is_done() {
                let _ = self.from_client.split_to(passed);
                return Ok(true);
            }
            if passed > BODY || self.read_client().await? == 0 {
                return Ok(false);
            }
        }
    }

    async fn read_client(&mut self) -> Result<usize, Broken> {
        poll_fn(|cx| {
            self.from_client.reserve(4096);
            tokio_util::io::poll_read_buf(Pin::new(&mut self.client), cx, &mut self.from_client).map_err(Broken::Io)
        })
        .await
    }

    /// Sends the request, changed as planned.
    async fn send_request(&mut self, head: &Head, plan: &Plan) -> Result<(), Broken> {
        let mut edits = plan.request_fields.clone();
        if plan.reads_body() {
            // What is compressed cannot be looked into.
            edits.push(FieldEdit::Remove("accept-encoding".into()));
        }
        let whole = if plan.request_body.is_empty() { None } else { self.whole_request(head).await? };
        let Some(mut data) = whole else {
            // Nothing is to be done to the body, or it is too long for that and goes as it is.
            if !plan.request_body.is_empty() {
                // The client was told to go on when its body was to be read.
                edits.push(FieldEdit::Remove("expect".into()));
            }
            let instead = (!edits.is_empty() || plan.target.is_some()).then(|| self.request_head(head, &edits, plan.target.as_deref()));
            self.begin_upload(head, instead)?;
            return self.write_upload().await;
        };
        for edit in &plan.request_body {
            data = edit(&data).unwrap_or(data);
        }
        edits.push(FieldEdit::Remove("transfer-encoding".into()));
        edits.push(FieldEdit::Remove("expect".into()));
        edits.push(FieldEdit::Set("content-length".into(), data.len().to_string()));
        let mut bytes = self.request_head(head, &edits, plan.target.as_deref());
        bytes.extend_from_slice(&data);
        let used = self.whole_size(head)?;
        let _ = self.from_client.split_to(used);
        self.set_upload(bytes);
        self.write_upload().await
    }

    /// The data of the request's body, all of which is read and stays where it is. `None`: it is too long.
    async fn whole_request(&mut self, head: &Head) -> Result<Option<Vec<u8>>, Broken> {
        if head.field(&self.from_client, "expect").is_some() {
            self.write_client(Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n")).await?;
        }
        let (mut body, mut used, mut data) = (Body::new(head.framing), head.size, Vec::new());
        loop {
            used += body.follow(&self.from_client[used..], |piece| data.extend_from_slice(piece))?;
            if body.is_done() {
                return Ok(Some(data));
            }
            if data.len() > BODY {
                return Ok(None);
            }
            if self.read_client().await? == 0 {
                return Err(Broken::Left("the client left in the middle of a request"));
            }
        }
    }

    fn whole_size(&self, head: &Head) -> Result<usize, Broken> {
        Ok(head.size + Body::new(head.framing).follow(&self.from_client[head.size..], |_| {})?)
    }

    fn request_head(&self, head: &Head, edits: &[FieldEdit], target: Option<&str>) -> Vec<u8> {
        let bytes = &self.from_client[..head.size];
        let First::Request { method, target: known } = &head.first else { return bytes.to_vec() };
        let mut out = bytes[method.clone()].to_vec();
        out.push(b' ');
        out.extend_from_slice(target.map_or(&bytes[known.clone()], str::as_bytes));
        out.extend_from_slice(if head.minor == 1 { b" HTTP/1.1\r\n" } else { b" HTTP/1.0\r\n" });
        write_fields(&mut out, bytes, head, edits);
        out
    }

    /// Sends the response, changed as planned.
    async fn send_response(&mut self, request: &Head, response: &Head, plan: &Plan, to_head: bool) -> Result<Next, Broken> {
        if let Some(raw) = &plan.raw_head {
            self.write_client(raw.clone()).await?;
            return self.cut(Cut::Close, 0);
        }
        let head = self.from_upstream.split_to(response.size).freeze();
        let content_type = response.field(&head, "content-type").map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        let content_encoding = response.field(&head, "content-encoding").map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        let has_body = response.framing != Framing::Length(0) && response.framing != Framing::Tunnel && !to_head;
        let made = |(kind, seed): &(std::sync::Arc<dyn stream::OnBody>, u64)| {
            kind.fault(&stream::Body { content_type: &content_type, content_encoding: &content_encoding, seed: *seed })
        };
        let mut faults: Vec<_> = if has_body { plan.bodies.iter().filter_map(made).collect() } else { Vec::new() };
        let mut edits = plan.response_fields.clone();
        if response.framing == Framing::Tunnel {
            // What follows is no body: of the head only fields are changed.
            let head = if edits.is_empty() { head } else { response_head(response, &head, &edits, None) };
            self.write_client(head).await?;
            return Ok(Next::Tunnel);
        }
        let (coding, keep) = frame(request, response, plan, &mut faults, &mut edits);
        if plan.status.is_some() && matches!(response.status(), 204 | 304) && !to_head {
            // Under the new status a body would be looked for, and none comes.
            edits.push(FieldEdit::Remove("transfer-encoding".into()));
            edits.push(FieldEdit::Set("content-length".into(), "0".into()));
        }
        let changed = !edits.is_empty() || plan.status.is_some();
        let head = if changed { response_head(response, &head, &edits, plan.status) } else { head };
        self.write_client(head).await?;
        let ended = self.send_body(response, &mut faults, coding).await?;
        if let ControlFlow::Break(next) = ended {
            return Ok(next);
        }
        // An upstream may answer before it has the whole request. The rest of that is no request.
        let keep = keep && request.keep_alive && response.keep_alive && self.finish_upload().await?;
        Ok(if keep { Next::Request } else { Next::Close })
    }

    async fn send_body(&mut self, response: &Head, faults: &mut [Box<dyn BodyFault>], coding: Coding) -> Result<ControlFlow<Next>, Broken> {
        let mut body = Body::new(response.framing);
        let mut sent = 0;
        loop {
            let mut pieces = Vec::new();
            let count = body.follow(&self.from_upstream, |piece| pieces.push(Bytes::copy_from_slice(piece)))?;
            let _ = self.from_upstream.split_to(count);
            for piece in pieces {
                let mut steps = Steps::default();
                steps.send(piece);
                let steps = through(faults, steps, false);
                if let ControlFlow::Break(next) = self.take_steps(steps, coding, &mut sent).await? {
                    return Ok(ControlFlow::Break(next));
                }
            }
            if body.is_done() {
                break;
            }
            if self.from_upstream.is_empty() && self.read_upstream().await? == 0 {
                match body {
                    Body::UntilClose => break,
                    _ => return Err(Broken::Left("the upstream left in the middle of a response")),
                }
            }
        }
        let steps = through(faults, Steps::default(), true);
        if let ControlFlow::Break(next) = self.take_steps(steps, coding, &mut sent).await? {
            return Ok(ControlFlow::Break(next));
        }
        let trailers = if let Body::Chunked(chunked) = &body { Bytes::copy_from_slice(chunked.trailers()) } else { Bytes::new() };
        self.finish(coding, sent, &trailers).await?;
        Ok(ControlFlow::Continue(()))
    }

    async fn finish(&mut self, coding: Coding, sent: u64, trailers: &[u8]) -> Result<(), Broken> {
        if coding == Coding::Chunked {
            self.write_client([b"0\r\n", trailers, b"\r\n"].concat().into()).await?;
        }
        self.milestone(Milestone::Done, sent);
        Ok(())
    }

    async fn take_steps(&mut self, mut steps: Steps, coding: Coding, sent: &mut u64) -> Result<ControlFlow<Next>, Broken> {
        while let Some(step) = steps.take() {
            match step {
                Step::Send(bytes) => {
                    if *sent == 0 {
                        self.milestone(Milestone::FirstByte, 0);
                    }
                    *sent += bytes.len() as u64;
                    let bytes = if coding == Coding::Chunked { chunk(&bytes) } else { bytes };
                    self.write_client(bytes).await?;
                }
                Step::Wait(length) => {
                    self.milestone(Milestone::Stalled, *sent);
                    self.wait(length).await?;
                }
                Step::Hang => {
                    self.milestone(Milestone::Stalled, *sent);
                    return self.until_client_leaves().await.map(ControlFlow::Break);
                }
                Step::Cut(cut) => return self.cut(cut, *sent).map(ControlFlow::Break),
                Step::Finish => {
                    self.finish(coding, *sent, &[]).await?;
                    // The rest of what the upstream sends belongs to nobody.
                    return Ok(ControlFlow::Break(Next::Close));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// How the body will be framed, and what the head says of it. Whether the connection may go on after it.
fn frame(request: &Head, response: &Head, plan: &Plan, faults: &mut [Box<dyn BodyFault>], edits: &mut Vec<FieldEdit>) -> (Coding, bool) {
    if let Some(claimed) = plan.claimed_length {
        edits.push(FieldEdit::Remove("transfer-encoding".into()));
        let real = if let Framing::Length(length) = response.framing { i64::try_from(length).unwrap_or(i64::MAX) } else { 0 };
        edits.push(FieldEdit::Set("content-length".into(), real.saturating_add(claimed).max(0).to_string()));
        // The client is out of step by what was claimed: nothing may follow.
        edits.push(FieldEdit::Set("connection".into(), "close".into()));
        return (Coding::Plain, false);
    }
    let original = if let Framing::Length(length) = response.framing { Some(length) } else { None };
    let length = original.and_then(|original| faults.iter().try_fold(original, |length, fault| fault.length(length)));
    match (faults.is_empty(), original, length) {
        (true, ..) => {
            let coding = if response.framing == Framing::Chunked { Coding::Chunked } else { Coding::Plain };
            (coding, true)
        }
        (false, Some(original), Some(length)) => {
            if original != length {
                edits.push(FieldEdit::Set("content-length".into(), length.to_string()));
            }
            (Coding::Plain, true)
        }
        _ if request.minor == 1 && response.minor == 1 => {
            edits.push(FieldEdit::Remove("content-length".into()));
            edits.push(FieldEdit::Set("transfer-encoding".into(), "chunked".into()));
            (Coding::Chunked, true)
        }
        _ => {
            edits.push(FieldEdit::Remove("content-length".into()));
            edits.push(FieldEdit::Remove("transfer-encoding".into()));
            edits.push(FieldEdit::Set("connection".into(), "close".into()));
            (Coding::Plain, false)
        }
    }
}

/// What comes out of the faults, one behind the other, for these steps; and at the end, what they kept back.
pub(crate) fn through(faults: &mut [Box<dyn BodyFault>], mut steps: Steps, end: bool) -> Steps {
    for fault in faults {
        let mut out = Steps::default();
        while let Some(step) = steps.take() {
            match step {
                Step::Send(bytes) => fault.piece(bytes, &mut out),
                other => out.push(other),
            }
        }
        if end {
            fault.end(&mut out);
        }
        steps = out;
    }
    steps
}

fn chunk(bytes: &[u8]) -> Bytes {
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out.into()
}

fn response_head(head: &Head, bytes: &[u8], edits: &[FieldEdit], status: Option<u16>) -> Bytes {
    let First::Response { status: known, reason } = &head.first else { return Bytes::copy_from_slice(bytes) };
    let mut out = if head.minor == 1 { b"HTTP/1.1 ".to_vec() } else { b"HTTP/1.0 ".to_vec() };
    match status.filter(|status| status != known) {
        None => {
            out.extend_from_slice(format!("{known} ").as_bytes());
            out.extend_from_slice(&bytes[reason.clone()]);
        }
        Some(status) => {
            let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown");
            out.extend_from_slice(format!("{status} {reason}").as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
    write_fields(&mut out, bytes, head, edits);
    out.into()
}

fn write_fields(out: &mut Vec<u8>, bytes: &[u8], head: &Head, edits: &[FieldEdit]) {
    let gone = |name: &[u8]| {
        edits.iter().any(|edit| match edit {
            FieldEdit::Set(edited, _) | FieldEdit::Remove(edited) => name.eq_ignore_ascii_case(edited.as_bytes()),
            FieldEdit::Add(..) => false,
        })
    };
    for (name, value) in head.fields.iter().filter(|(name, _)| !gone(&bytes[name.clone()])) {
        out.extend_from_slice(&bytes[name.clone()]);
        out.extend_from_slice(b": ");
        out.extend_from_slice(&bytes[value.clone()]);
        out.extend_from_slice(b"\r\n");
    }
    for edit in edits {
        if let FieldEdit::Set(name, value) | FieldEdit::Add(name, value) = edit {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}
