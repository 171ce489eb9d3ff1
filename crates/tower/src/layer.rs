//! The middleware.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_layer::Layer;
use tower_service::Service;

use crate::clock;
use crate::fault::{Active, Subject};
use crate::faults::Faults;

/// On every response that was made up instead of asking the service: the name of the fault.
pub const HEADER: HeaderName = HeaderName::from_static("squall-fault");
/// How late a request that is held back sees that its fault is over.
const SLICE: Duration = Duration::from_millis(100);

/// Puts [`FaultService`] around services.
#[derive(Debug, Clone)]
pub struct FaultLayer(Faults);

impl FaultLayer {
    /// For the service of this name. Starts a thread: see [`Faults::watch`].
    pub fn new(service: &str) -> Self {
        Self(Faults::watch(service))
    }

    pub(crate) fn of(faults: Faults) -> Self {
        Self(faults)
    }

    /// The faults that it obeys.
    pub fn faults(&self) -> &Faults {
        &self.0
    }
}

impl<S> Layer<S> for FaultLayer {
    type Service = FaultService<S>;

    fn layer(&self, inner: S) -> FaultService<S> {
        FaultService { inner, faults: self.0.clone() }
    }
}

/// A service whose requests are held back, or answered with an error, as the faults say. A request that is to fail does not
/// reach the service within.
#[derive(Debug, Clone)]
pub struct FaultService<S> {
    inner: S,
    faults: Faults,
}

impl<S, B, R> Service<Request<B>> for FaultService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        let subject = Subject::Request { method: request.method(), path: request.uri().path() };
        match self.faults.treatment(subject) {
            None => ResponseFuture { stage: Stage::Through { inner: self.inner.call(request) } },
            Some(treatment) => {
                // The one that is ready goes with the request; its clone has to become ready for the next.
                let next = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, next);
                let held = Held { waiting: Waiting::new(treatment), call: Some((inner, request)) };
                ResponseFuture { stage: Stage::Held { held: Box::new(held) } }
            }
        }
    }
}

pin_project! {
    /// The response to come.
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        stage: Stage<S::Future, Held<S, B>>,
    }
}

pin_project! {
    #[project = Step]
    enum Stage<F, H> {
        // No fault is meant for it, or it was held back long enough.
        Through {
            #[pin]
            inner: F,
        },
        // Held back, or to fail.
        Held {
            held: Box<H>,
        },
    }
}

/// A request that has not reached the service yet.
struct Held<S, B> {
    waiting: Waiting,
    call: Option<(S, Request<B>)>,
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Output = Result<Response<R>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let inner = match self.as_mut().project().stage.project() {
                Step::Through { inner } => return inner.poll(cx),
                Step::Held { held } => match (ready!(Pin::new(&mut held.waiting).poll(cx)), held.call.take()) {
                    (None, Some((mut inner, request))) => inner.call(request),
                    (Some((fault, status)), _) => return Poll::Ready(Ok(made_up(&fault, status))),
                    // Polled again after it was ready, which no caller may do.
                    (None, None) => return Poll::Pending,
                },
            };
            self.as_mut().project().stage.set(Stage::Through { inner });
        }
    }
}

fn made_up<R: Default>(fault: &str, status: u16) -> Response<R> {
    let mut response = Response::new(R::default());
    // Both were checked when the fault was read.
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(name) = HeaderValue::from_str(fault) {
        response.headers_mut().insert(HEADER, name);
    }
    response
}

/// What has to be done to one subject.
#[derive(Debug, Default)]
pub(crate) struct Treatment {
    /// Delays add up.
    delays: Vec<(Arc<Active>, Duration)>,
    /// The first to fail it.
    failure: Option<(Arc<Active>, u16)>,
}

impl Treatment {
    pub(crate) fn add(&mut self, active: &Arc<Active>, delay: Duration, failure: Option<u16>) {
        if !delay.is_zero() {
            self.delays.push((active.clone(), delay));
        }
        if let (None, Some(status)) = (&self.failure, failure) {
            self.failure = Some((active.clone(), status));
        }
    }

    /// None if there is nothing to do.
    pub(crate) fn some(self) -> Option<Self> {
        (!self.delays.is_empty() || self.failure.is_some()).then_some(self)
    }

    /// Waits, and then says which fault makes it fail, and how.
    pub(crate) async fn endured(self) -> Option<(String, u16)> {
        Waiting::new(self).await
    }

    /// How long it still has to wait: the delays of those faults that are not over.
    fn total(&self) -> Duration {
        self.delays.iter().filter(|(active, _)| !active.is_over()).map(|(_, delay)| *delay).sum()
    }
}

/// The time until something goes on or fails. What is over meanwhile does not count.
struct Waiting {
    treatment: Treatment,
    from: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Waiting {
    fn new(treatment: Treatment) -> Self {
        Self { treatment, from: clock::boottime(), sleep: None }
    }
}

impl Future for Waiting {
    type Output = Option<(String, u16)>;

    #[expect(clippy::disallowed_methods, reason = "a service's own runtime has no other clock; what ends the wait is looked at each time")]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(cx));
                self.sleep = None;
            }
            let left = (self.from + self.treatment.total()).saturating_sub(clock::boottime());
            if left.is_zero() {
                let failure = self.treatment.failure.as_ref().filter(|(active, _)| !active.is_over());
                return Poll::Ready(failure.map(|(active, status)| (active.setting.id.clone(), *status)));
            }
            self.sleep = Some(Box::pin(tokio::time::sleep(left.min(SLICE))));
        }
    }
}
