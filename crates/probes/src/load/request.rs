//! One kind of request, made ready once and sent many times.

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use bytes::Bytes;
use http_body_util::Full;
use squall_model::{HttpTraffic, HttpVersion};

use super::stats::Class;
use crate::wire::{BodyUse, Endpoint, Http1Pool, Http2Pool, Resolver, TlsConfigs, Trust, USER_AGENT, WireError, is_idempotent};

/// Idle connections kept for each origin: more than a steady load needs, fewer than a stall leaves behind.
const KEEP: usize = 1024;

/// What is shared by all kinds of request of a run.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) tls: Arc<TlsConfigs>,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) trust: Trust,
    pools: std::sync::Mutex<Vec<(Endpoint, Pool)>>,
}

#[derive(Debug, Clone)]
enum Pool {
    Http1(Arc<Http1Pool>),
    Http2(Arc<Http2Pool>),
}

/// A kind of request.
#[derive(Debug)]
pub(crate) struct Kind {
    pool: Pool,
    method: Method,
    target: Uri,
    headers: HeaderMap,
    body: Bytes,
    idempotent: bool,
    success: Vec<u16>,
}

impl Network {
    pub(crate) fn new(trust: Trust) -> Self {
        Self { trust, ..Self::default() }
    }

    fn pool(&self, endpoint: &Endpoint, version: HttpVersion) -> Pool {
        let mut pools = self.pools.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let same = |pool: &Pool| matches!((pool, version), (Pool::Http1(_), HttpVersion::Http1) | (Pool::Http2(_), HttpVersion::Http2));
        if let Some((_, pool)) = pools.iter().find(|(other, pool)| other.same_origin(endpoint) && same(pool)) {
            return pool.clone();
        }
        let (trust, tls, resolver) = (self.trust.clone(), self.tls.clone(), self.resolver.clone());
        let pool = match version {
            HttpVersion::Http1 => Pool::Http1(Arc::new(Http1Pool::new(endpoint.clone(), trust, tls, resolver, KEEP))),
            HttpVersion::Http2 => Pool::Http2(Arc::new(Http2Pool::new(endpoint.clone(), trust, tls, resolver))),
        };
        pools.push((endpoint.clone(), pool.clone()));
        pool
    }

    /// Checks a kind of request and makes it ready. The error says what is wrong with it.
    pub(crate) fn kind(&self, spec: &HttpTraffic) -> Result<Kind, String> {
        let endpoint = Endpoint::parse(&spec.url).map_err(|e| format!("{e}; {}", e.hint))?;
        let method: Method = spec.method.parse().map_err(|_| format!("`{}` is not an HTTP method", spec.method))?;
        let http2 = spec.version == HttpVersion::Http2;
        let mut headers = HeaderMap::new();
        if !http2 {
            let host = HeaderValue::from_str(endpoint.authority.as_str()).map_err(|e| e.to_string())?;
            headers.insert(header::HOST, host);
        }
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        for (name, value) in &spec.headers {
            let key = HeaderName::try_from(name).map_err(|_| format!("`{name}` is not the name of a header"))?;
            let value = HeaderValue::try_from(value)
                .map_err(|_| format!("the value of header `{name}` has characters that headers cannot carry"))?;
            headers.insert(key, value);
        }
        let target = if http2 { endpoint.absolute_form() } else { endpoint.origin_form() };
        let idempotent = is_idempotent(&method);
        let body = Bytes::from(spec.body.clone().unwrap_or_default());
        Ok(Kind { pool: self.pool(&endpoint, spec.version), method, target, headers, body, idempotent, success: spec.success.clone() })
    }
}

impl Kind {
    /// Sends it and reads the answer to its end, for no longer than `timeout`. `None` is success.
    pub(crate) async fn send(&self, timeout: Duration) -> Option<Class> {
        let make = || {
            let mut request = Request::new(Full::new(self.body.clone()));
            *request.method_mut() = self.method.clone();
            *request.uri_mut() = self.target.clone();
            *request.headers_mut() = self.headers.clone();
            if matches!(self.pool, Pool::Http2(_)) {
                *request.version_mut() = http::Version::HTTP_2;
            }
            request
        };
        let exchange = async {
            match &self.pool {
                Pool::Http1(pool) => pool.exchange(self.idempotent, BodyUse::Discard, make).await,
                Pool::Http2(pool) => pool.exchange(self.idempotent, BodyUse::Discard, make).await,
            }
        };
        match tokio::time::timeout(timeout, exchange).await {
            Err(_) => Some(Class::Timeout),
            Ok(Err(error)) => Some(class(&error)),
            Ok(Ok(answer)) => {
                let status = answer.head.status.as_u16();
                let good = if self.success.is_empty() { (200..400).contains(&status) } else { self.success.contains(&status) };
                (!good).then_some(Class::Status(status))
            }
        }
    }
}

fn class(error: &WireError) -> Class {
    match error {
        WireError::Dns { .. } => Class::Dns,
        WireError::Connect { .. } => Class::Connect,
        WireError::Exhausted(_) => Class::Overload,
        WireError::Tls { .. } => Class::Tls,
        WireError::Reset => Class::Reset,
        WireError::Closed => Class::Closed,
        WireError::Protocol(_) | WireError::TooLarge(_) => Class::Protocol,
    }
}
