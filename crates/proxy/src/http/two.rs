//! HTTP/2 between a client and its upstream: the same rules and the same faults on bodies as HTTP/1, stream by stream. gRPC is
//! HTTP/2 with trailers, which pass.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::plan::{Asked, FieldEdit, OwnAnswer, Plan};
use super::session::{BODY, Connect};
use crate::body::{BodyFault, Step, Steps};
use crate::events::{Happened, Milestone};
use crate::server::Connection;
use crate::socket::End;
use crate::stream::OnBody;
use crate::time::{self, Sleep};

/// What a client of HTTP/2 sends first (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

type RequestBody = Either<Incoming, Full<Bytes>>;
type ResponseBody = Either<Either<Incoming, Faulty>, Full<Bytes>>;

/// Why a stream ends with a reset.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// A rule wants it.
    #[error("a rule cut the stream")]
    Cut,
    /// The upstream, or the client.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The upstream cannot be had.
    #[error("the upstream cannot be reached")]
    Unreachable,
}

/// Runs what hyper runs beside a connection on the same thread.
#[derive(Clone)]
struct Beside(Rc<Connection>);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Beside {
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// A client connection of HTTP/2.
struct Two<K> {
    connection: Rc<Connection>,
    address: Option<IpAddr>,
    connect: K,
    upstream: RefCell<Option<SendRequest<RequestBody>>>,
    requests: Cell<u64>,
}

/// Serves HTTP/2 until the client or the upstream is done.
pub(crate) async fn serve<C, K>(connection: Rc<Connection>, client: C, address: Option<IpAddr>, connect: K)
where
    C: End + 'static,
    K: Connect + 'static,
    K::Stream: 'static,
{
    let two = Rc::new(Two { connection: connection.clone(), address, connect, upstream: RefCell::new(None), requests: Cell::new(0) });
    let service = service_fn(move |request| {
        let two = two.clone();
        async move { two.exchange(request).await }
    });
    let served = hyper::server::conn::http2::Builder::new(Beside(connection.clone()))
        .max_concurrent_streams(1000)
        .serve_connection(TokioIo::new(client), service)
        .await;
    if let Err(error) = served {
        connection.because(error.to_string());
    }
}

impl<K> Two<K>
where
    K: Connect + 'static,
    K::Stream: 'static,
{
    async fn exchange(self: Rc<Self>, request: Request<Incoming>) -> Result<Response<ResponseBody>, Ended> {
        let number = self.requests.get() + 1;
        self.requests.set(number);
        let (mut parts, body) = request.into_parts();
        let layers = self.connection.shared().layers();
        let rules = layers.http.as_ref();
        let (body, json) = if rules.is_some_and(|rules| rules.reads_body) && is_json(&parts.headers) {
            let bytes = whole(body).await?;
            let json = serde_json::from_slice(&bytes).ok();
            (Either::Right(Full::new(bytes)), json)
        } else {
            (Either::Left(body), None)
        };
        let plan = rules.and_then(|rules| self.decide(rules, &parts, json.as_ref(), number));
        let Some(mut plan) = plan else {
            let response = self.send(Request::from_parts(parts, body)).await?;
            return Ok(response.map(|body| Either::Left(Either::Left(body))));
        };
        if !plan.delay.is_zero() {
            time::sleep(plan.delay).await.map_err(|_| Ended::Cut)?;
        }
        if plan.hang {
            self.milestone(number, Milestone::Stalled);
            std::future::pending::<()>().await;
        }
        if plan.cut.is_some() {
            self.milestone(number, Milestone::Cut);
            return Err(Ended::Cut);
        }
        if let Some(answer) = plan.answer.take() {
            return Ok(own(answer));
        }
        if plan.reads_body() {
            plan.request_fields.push(FieldEdit::Remove("accept-encoding".into()));
        }
        edit(&mut parts.headers, &plan.request_fields);
        if let Some(uri) = plan.target.as_ref().and_then(|target| with_target(&parts.uri, target)) {
            parts.uri = uri;
        }
        let body = if plan.request_body.is_empty() { body } else { self.changed(body, &plan, &mut parts.headers).await? };
        self.milestone(number, Milestone::RequestSent);
        let response = self.send(Request::from_parts(parts, body)).await?;
        self.milestone(number, Milestone::ResponseHead);
        if !plan.response_delay.is_zero() {
            time::sleep(plan.response_delay).await.map_err(|_| Ended::Cut)?;
        }
        if plan.raw_head.is_some() {
            // A head that is none cannot be said in HTTP/2: the stream ends as one that broke.
            return Err(Ended::Cut);
        }
        Ok(self.change_response(response, &plan, number))
    }

    fn decide(
        &self,
        rules: &super::RuleSet,
        parts: &::http::request::Parts,
        json: Option<&serde_json::Value>,
        number: u64,
    ) -> Option<Plan> {
        let field = |name: &str| parts.headers.get(name).map(HeaderValue::as_bytes);
        let host = parts.uri.host().map(str::as_bytes).or_else(|| field("host")).unwrap_or_default();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes();
        let method = parts.method.as_str().as_bytes();
        let asked = Asked { method, target, host, field: &field, client: self.address, body: json };
        rules.decide(&asked, time::now(), |decided| {
            self.connection.record_with(|| Happened::Decided {
                request: number,
                what: format!("{} {}", parts.method, parts.uri.path()),
                key: decided.key,
                attempt: decided.attempt,
                rule: decided.rule,
                fault: decided.fault,
                control: decided.control,
            });
        })
    }

    fn milestone(&self, request: u64, milestone: Milestone) {
        self.connection.record_with(|| Happened::Milestone { request, milestone, bytes: 0 });
    }

    async fn send(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, Ended> {
        let mut upstream = self.upstream().await?;
        upstream.ready().await?;
        Ok(upstream.send_request(request).await?)
    }

    /// The one connection to the upstream that all streams of this client share.
    async fn upstream(&self) -> Result<SendRequest<RequestBody>, Ended> {
        if let Some(known) = self.upstream.borrow().as_ref().filter(|known| !known.is_closed()) {
            return Ok(known.clone());
        }
        let stream = self.connect.connect().await.ok_or(Ended::Unreachable)?;
        let (sender, driver) = hyper::client::conn::http2::handshake(Beside(self.connection.clone()), TokioIo::new(stream)).await?;
        let connection = self.connection.clone();
        self.connection.spawn(async move {
            if let Err(error) = driver.await {
                connection.because(format!("upstream: {error}"));
            }
        });
        // Of two that were opened at once, the second is for those who come later.
        *self.upstream.borrow_mut() = Some(sender.clone());
        Ok(sender)
    }

    async fn changed(&self, body: RequestBody, plan: &Plan, headers: &mut HeaderMap) -> Result<RequestBody, Ended> {
        let mut data = match body {
            Either::Left(body) => whole(body).await?.to_vec(),
            Either::Right(body) => body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default(),
        };
        for edit in &plan.request_body {
            data = edit(&data).unwrap_or(data);
        }
        headers.insert(header::CONTENT_LENGTH, data.len().into());
        Ok(Either::Right(Full::new(data.into())))
    }

    fn change_response(&self, response: Response<Incoming>, plan: &Plan, number: u64) -> Response<ResponseBody> {
        let (mut parts, body) = response.into_parts();
        let value = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default().to_owned();
        let (content_type, content_encoding) = (value(header::CONTENT_TYPE), value(header::CONTENT_ENCODING));
        let made = |(kind, seed): &(Arc<dyn OnBody>, u64)| {
            kind.fault(&crate::stream::Body { content_type: &content_type, content_encoding: &content_encoding, seed: *seed })
        };
        let faults: Vec<_> = if body.is_end_stream() { Vec::new() } else { plan.bodies.iter().filter_map(made).collect() };
        edit(&mut parts.headers, &plan.response_fields);
        if let Some(status) = plan.status.and_then(|status| StatusCode::from_u16(status).ok()) {
            parts.status = status;
        }
        if let Some(claimed) = plan.claimed_length {
            let real = body.size_hint().exact().and_then(|length| i64::try_from(length).ok()).unwrap_or(0);
            parts.headers.insert(header::CONTENT_LENGTH, u64::try_from(real.saturating_add(claimed)).unwrap_or(0).into());
        } else if !faults.is_empty() {
            // The end of the stream says where it ends.
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        let body = if faults.is_empty() {
            Either::Left(body)
        } else {
            let connection = self.connection.clone();
            Either::Right(Faulty {
                body,
                faults,
                steps: VecDeque::new(),
                sleep: None,
                trailers: None,
                ended: false,
                connection,
                number,
                sent: 0,
            })
        };
        Response::from_parts(parts, Either::Left(body))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().to_ascii_lowercase().windows(4).any(|w| w == b"json"))
}

/// A body that is read to its end, to be matched or changed.
async fn whole(body: Incoming) -> Result<Bytes, Ended> {
    Ok(Limited::new(body, BODY).collect().await.map_err(|_| Ended::Cut)?.to_bytes())
}

fn own(answer: OwnAnswer) -> Response<ResponseBody> {
    let mut response = Response::new(Either::Right(Full::new(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.fields {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn edit(headers: &mut HeaderMap, edits: &[FieldEdit]) {
    for edit in edits {
        let (name, value) = match edit {
            FieldEdit::Set(name, value) | FieldEdit::Add(name, value) => (name, Some(value)),
            FieldEdit::Remove(name) => (name, None),
        };
        // Names and values were checked when the rule was made ready.
        let Ok(name) = HeaderName::try_from(name.as_str()) else { continue };
        match (edit, value.map(HeaderValue::try_from)) {
            (FieldEdit::Add(..), Some(Ok(value))) => drop(headers.append(name, value)),
            (_, Some(Ok(value))) => drop(headers.insert(name, value)),
            _ => drop(headers.remove(name)),
        }
    }
}

fn with_target(uri: &Uri, target: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// A response's body with faults at work on it.
pub(crate) struct Faulty {
    body: Incoming,
    faults: Vec<Box<dyn BodyFault>>,
    steps: VecDeque<Step>,
    sleep: Option<Sleep>,
    trailers: Option<HeaderMap>,
    ended: bool,
    connection: Rc<Connection>,
    number: u64,
    sent: u64,
}

impl Faulty {
    fn milestone(&self, milestone: Milestone) {
        let (request, bytes) = (self.number, self.sent);
        self.connection.record_with(|| Happened::Milestone { request, milestone, bytes });
    }

    fn take(&mut self, piece: Option<Bytes>) {
        let mut steps = Steps::default();
        let end = piece.is_none();
        if let Some(piece) = piece {
            steps.send(piece);
        }
        let mut steps = super::planned::through(&mut self.faults, steps, end);
        self.steps.extend(std::iter::from_fn(|| steps.take()));
    }

    /// What the next step gives to the client; `None` where it has been done and gives nothing.
    fn poll_step(&mut self, step: Step, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        match step {
            Step::Send(bytes) => {
                self.sent += bytes.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Step::Wait(length) => {
                self.milestone(Milestone::Stalled);
                self.sleep = Some(time::sleep(length));
                Poll::Ready(None)
            }
            Step::Hang => {
                self.steps.push_front(Step::Hang);
                let _ = cx;
                // Until the client gives up, which drops this.
                Poll::Pending
            }
            Step::Cut(_) => {
                self.milestone(Milestone::Cut);
                Poll::Ready(Some(Err(Ended::Cut)))
            }
            Step::Finish => {
                self.ended = true;
                self.trailers = None;
                self.steps.clear();
                Poll::Ready(None)
            }
        }
    }
}

impl Body for Faulty {
    type Data = Bytes;
    type Error = Ended;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Ended>>> {
        let this = self.get_mut();
        loop {
            if let Some(sleep) = &mut this.sleep {
                ready!(Pin::new(sleep).poll(cx)).map_err(|_| Ended::Cut)?;
                this.sleep = None;
            }
            if let Some(step) = this.steps.pop_front() {
                match ready!(this.poll_step(step, cx)) {
                    Some(frame) => return Poll::Ready(Some(frame)),
                    None => continue,
                }
            }
            if this.ended {
                return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.take(Some(data)),
                    Err(frame) => this.trailers = frame.into_trailers().ok(),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    this.ended = true;
                    this.take(None);
                    this.milestone(Milestone::Done);
                }
            }
        }
    }
}
