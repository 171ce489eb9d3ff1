//! One client for all probes of a program: a pool of connections for each origin.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::Full;

use super::{Answer, BodyUse, Endpoint, Http1Pool, Resolver, TlsConfigs, Trust, USER_AGENT, WireError, is_idempotent};

/// Idle connections kept for each origin: as many as probes are likely to ask it at once.
const KEEP: usize = 256;

type Key = (bool, String, u16, Trust);

/// Sends requests over kept connections.
#[derive(Debug, Default)]
pub(crate) struct Client {
    pools: Mutex<HashMap<Key, Arc<Http1Pool>>>,
    tls: Arc<TlsConfigs>,
    resolver: Arc<Resolver>,
}

/// A request made ready.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) method: Method,
    pub(crate) endpoint: Endpoint,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trust: Trust,
}

impl Client {
    /// Resolves names for those who need no HTTP.
    pub(crate) fn resolver(&self) -> &Arc<Resolver> {
        &self.resolver
    }

    /// Sends the request, follows up to `redirects` redirects, and reads the answer to its end.
    pub(crate) async fn send(&self, prepared: &Prepared, redirects: u8, body: BodyUse) -> Result<Answer, WireError> {
        let answer = self.exchange(prepared, body).await?;
        if redirects == 0 {
            return Ok(answer);
        }
        let mut current = prepared.clone();
        let mut answer = answer;
        for _ in 0..redirects {
            let Some(next) = redirected(&current, &answer)? else { return Ok(answer) };
            current = next;
            answer = self.exchange(&current, body).await?;
        }
        Ok(answer)
    }

    async fn exchange(&self, prepared: &Prepared, body: BodyUse) -> Result<Answer, WireError> {
        let host = HeaderValue::from_str(prepared.endpoint.authority.as_str()).map_err(|e| WireError::Protocol(e.to_string()))?;
        let make = || {
            let mut request = Request::new(Full::new(prepared.body.clone()));
            *request.method_mut() = prepared.method.clone();
            *request.uri_mut() = prepared.endpoint.origin_form();
            let headers = request.headers_mut();
            headers.clone_from(&prepared.headers);
            headers.entry(header::HOST).or_insert_with(|| host.clone());
            request
        };
        self.pool(prepared).exchange(is_idempotent(&prepared.method), body, make).await
    }

    fn pool(&self, prepared: &Prepared) -> Arc<Http1Pool> {
        let endpoint = &prepared.endpoint;
        let key = (endpoint.https, endpoint.host.to_ascii_lowercase(), endpoint.port, prepared.trust.clone());
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Http1Pool::new(endpoint.clone(), prepared.trust.clone(), self.tls.clone(), self.resolver.clone(), KEEP);
        pools.entry(key).or_insert_with(|| Arc::new(make())).clone()
    }
}

/// Headers as a manifest writes them. The error names the header.
pub(crate) fn header_map(headers: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::with_capacity(headers.len() + 3);
    map.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    map.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    for (name, value) in headers {
        let key = HeaderName::try_from(name).map_err(|_| format!("`{name}` is not the name of a header"))?;
        let value =
            HeaderValue::try_from(value).map_err(|_| format!("the value of header `{name}` has characters that headers cannot carry"))?;
        map.insert(key, value);
    }
    Ok(map)
}

/// The request that a redirect asks for (RFC 9110, section 15.4); `None` if the answer is not one.
fn redirected(from: &Prepared, answer: &Answer) -> Result<Option<Prepared>, WireError> {
    let status = answer.head.status;
    let follow = matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = answer.head.headers.get(header::LOCATION).and_then(|l| l.to_str().ok());
    let (true, Some(location)) = (follow, location) else { return Ok(None) };
    let wrong = |e: super::endpoint::EndpointError| WireError::Protocol(format!("redirected to `{location}`: {e}"));
    let mut next = Prepared { endpoint: from.endpoint.join(location).map_err(wrong)?, ..from.clone() };
    let rewritten = status == StatusCode::SEE_OTHER || (matches!(status.as_u16(), 301 | 302) && next.method == Method::POST);
    if rewritten && next.method != Method::HEAD {
        next.method = Method::GET;
        next.body = Bytes::new();
        next.headers.remove(header::CONTENT_TYPE);
        next.headers.remove(header::CONTENT_LENGTH);
    }
    if !next.endpoint.same_origin(&from.endpoint) {
        // Credentials and the name of the old host are not for another one.
        next.headers.remove(header::AUTHORIZATION);
        next.headers.remove(header::COOKIE);
        next.headers.remove(header::HOST);
    }
    Ok(Some(next))
}
