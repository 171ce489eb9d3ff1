//! A client of the API, for the command line and for tests.
//!
//! ```no_run
//! # async fn example() -> Result<(), squall_api::client::ClientError> {
//! use squall_api::client::{Client, Credential};
//! use squall_api::users::User;
//!
//! let client = Client::new("https://squall.example", None)?.with(Credential::Token("sqt_…".into()));
//! for user in client.pages::<User>("users", 100).all().await? {
//!     assert!(!user.name.is_empty());
//! }
//! # Ok(())
//! # }
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderValue};
use reqwest::{Certificate, Method, RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Page, Problem};

/// How long an answer may take, other than a stream's.
const PATIENCE: Duration = Duration::from_mins(1);
/// Longest line of a stream of events, in bytes.
const LONGEST_LINE: usize = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server says no.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// It cannot be reached.
    #[error("{server} cannot be reached: {reason}")]
    Unreachable {
        /// Its URL.
        server: String,
        /// Why.
        reason: String,
    },
    /// What answers is not this API.
    #[error("{server} does not answer as a Squall server does: {reason}")]
    Odd {
        /// Its URL.
        server: String,
        /// What came.
        reason: String,
    },
    /// It was not even asked.
    #[error("{0}")]
    Usage(String),
}

impl ClientError {
    /// The problem, where the server gave one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// The status of the problem.
    pub fn status(&self) -> Option<u16> {
        self.problem().map(|problem| problem.status)
    }
}

/// How the client proves who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// An API token.
    Token(String),
    /// A session: the whole cookie, `name=value`, and the CSRF token.
    Session {
        /// `name=value`.
        cookie: String,
        /// For requests that change something.
        csrf: String,
    },
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token([redacted])",
            Self::Session { .. } => "Session([redacted])",
        })
    }
}

/// A client of one server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    server: Url,
    credential: Option<Credential>,
}

impl Client {
    /// For the server at this URL. With certificates (PEM), it trusts those alone in place of the system's.
    pub fn new(server: &str, authority: Option<&[u8]>) -> Result<Self, ClientError> {
        let usage = |reason: String| ClientError::Usage(format!("`{server}` is no URL of a server: {reason}"));
        let mut url = Url::parse(server).map_err(|e| usage(format!("{e}; write it as `https://squall.example`")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(usage("it has to start with `https://` or `http://`".into()));
        }
        url.set_query(None);
        url.set_fragment(None);
        let _ = (url.set_username(""), url.set_password(None));
        let path = format!("{}/", url.path().trim_end_matches('/'));
        url.set_path(&path);
        // A redirect would carry the credential to wherever it leads.
        let mut http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).connect_timeout(Duration::from_secs(10));
        if let Some(pem) = authority {
            let certificates =
                Certificate::from_pem_bundle(pem).map_err(|e| ClientError::Usage(format!("the authority's certificates: {e}")))?;
            http = http.tls_certs_only(certificates);
        }
        let http = http.user_agent(concat!("squall/", env!("CARGO_PKG_VERSION"))).build().map_err(|e| ClientError::Usage(e.to_string()))?;
        Ok(Self { http, server: url, credential: None })
    }

    /// With a credential for every request.
    #[must_use]
    pub fn with(self, credential: Credential) -> Self {
        Self { credential: Some(credential), ..self }
    }

    /// The server's URL.
    pub fn server(&self) -> &str {
        self.server.as_str().trim_end_matches('/')
    }

    /// `GET`; `path` is what follows `/api/v1/`, with its query.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.decode(self.send(self.request(Method::GET, path)?.timeout(PATIENCE)).await?).await
    }

    /// `GET` of something that is not JSON: a report, an export.
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        let response = self.send(self.request(Method::GET, path)?.timeout(PATIENCE)).await?;
        response.text().await.map_err(|e| self.unreachable(&e))
    }

    /// `POST`.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.change(Method::POST, path, Some(body)).await
    }

    /// `PUT`.
    pub async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.change(Method::PUT, path, Some(body)).await
    }

    /// `PATCH`.
    pub async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.change(Method::PATCH, path, Some(body)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.change::<(), ()>(Method::DELETE, path, None).await
    }

    /// `DELETE` of something that answers with what is left.
    pub async fn delete_for<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.change::<T, ()>(Method::DELETE, path, None).await
    }

    /// A change of any kind. An answer without content can be decoded as `()`.
    pub async fn change<T: DeserializeOwned, B: Serialize>(&self, method: Method, path: &str, body: Option<&B>) -> Result<T, ClientError> {
        let mut request = self.request(method, path)?.timeout(PATIENCE);
        if let Some(body) = body {
            let body = serde_json::to_vec(body).map_err(|e| ClientError::Usage(e.to_string()))?;
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        self.decode(self.send(request).await?).await
    }

    /// A list, page by page: so many items at a time.
    pub fn pages<T: DeserializeOwned>(&self, path: &str, limit: u32) -> Pages<'_, T> {
        let sign = if path.contains('?') { '&' } else { '?' };
        Pages { client: self, path: format!("{path}{sign}limit={limit}"), after: None, ended: false, items: VecDeque::new() }
    }

    /// Follows server-sent events, after the one with this id.
    pub async fn events(&self, path: &str, after: Option<&str>) -> Result<Events, ClientError> {
        let mut request = self.request(Method::GET, path)?.header("accept", "text/event-stream");
        if let Some(after) = after {
            request = request.header("last-event-id", header(after)?);
        }
        Ok(Events {
            response: self.send(request).await?,
            server: self.server().to_owned(),
            buffer: Vec::new(),
            id: after.map(str::to_owned),
        })
    }

    /// Signs in, and gives the client with the session as its credential.
    pub async fn login(self, login: &crate::session::Login) -> Result<(Self, crate::session::Whoami), ClientError> {
        let body = serde_json::to_vec(login).map_err(|e| ClientError::Usage(e.to_string()))?;
        let anonymous = Self { credential: None, ..self };
        let request = anonymous.request(Method::POST, "session")?.timeout(PATIENCE).header(CONTENT_TYPE, "application/json").body(body);
        let response = anonymous.send(request).await?;
        let cookie = response.headers().get("set-cookie").and_then(|value| value.to_str().ok()).and_then(|value| value.split(';').next());
        let cookie = cookie.ok_or_else(|| anonymous.odd("it sets no cookie"))?.to_owned();
        let whoami: crate::session::Whoami = anonymous.decode(response).await?;
        let csrf = whoami.csrf.clone().ok_or_else(|| anonymous.odd("it gives no CSRF token"))?;
        Ok((anonymous.with(Credential::Session { cookie, csrf }), whoami))
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, ClientError> {
        let url = self.server.join(&format!("api/v1/{}", path.trim_start_matches('/'))).map_err(|e| ClientError::Usage(e.to_string()))?;
        let changes = method != Method::GET;
        let request = self.http.request(method, url);
        Ok(match &self.credential {
            None => request,
            Some(Credential::Token(token)) => request.header(AUTHORIZATION, header(&format!("Bearer {token}"))?),
            Some(Credential::Session { cookie, csrf }) => {
                let request = request.header(COOKIE, header(cookie)?);
                if changes { request.header("x-squall-csrf", header(csrf)?) } else { request }
            }
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
            Err(_) => Err(self.odd(&format!("it answers {status}"))),
        }
    }

    async fn decode<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let body = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(body).map_err(|e| self.odd(&e.to_string()))
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let mut error: &dyn std::error::Error = error;
        while let Some(source) = error.source() {
            error = source;
        }
        ClientError::Unreachable { server: self.server().to_owned(), reason: error.to_string() }
    }

    fn odd(&self, reason: &str) -> ClientError {
        ClientError::Odd { server: self.server().to_owned(), reason: reason.to_owned() }
    }
}

/// A header that is kept out of logs.
fn header(text: &str) -> Result<HeaderValue, ClientError> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| ClientError::Usage("a credential or id has characters that no header can have".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// One segment of a path or value of a query, escaped (RFC 3986, 2.3).
pub fn escape(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// The items of a list. Each page is asked for when it is needed.
#[derive(Debug)]
pub struct Pages<'a, T> {
    client: &'a Client,
    path: String,
    after: Option<String>,
    ended: bool,
    items: VecDeque<T>,
}

impl<T: DeserializeOwned> Pages<'_, T> {
    /// The next item.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        while self.items.is_empty() && !self.ended {
            let after = self.after.as_ref().map(|after| format!("&after={}", escape(after))).unwrap_or_default();
            let page: Page<T> = self.client.get(&format!("{}{after}", self.path)).await?;
            self.ended = page.next.is_none();
            self.after = page.next;
            self.items = page.items.into();
        }
        Ok(self.items.pop_front())
    }

    /// All items.
    pub async fn all(mut self) -> Result<Vec<T>, ClientError> {
        let mut all = Vec::new();
        while let Some(item) = self.next().await? {
            all.push(item);
        }
        Ok(all)
    }
}

/// One server-sent event (WHATWG HTML, 9.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// What kind; `message` where the server says nothing.
    pub event: String,
    /// What to begin after when the stream was cut.
    pub id: Option<String>,
    /// Its content.
    pub data: String,
}

/// Events as they come.
#[derive(Debug)]
pub struct Events {
    response: Response,
    server: String,
    buffer: Vec<u8>,
    id: Option<String>,
}

impl Events {
    /// The next event; `None` when the server has ended the stream. Comments, which keep the connection alive, are skipped.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        let (mut event, mut data, mut seen) = (String::new(), String::new(), false);
        while let Some(line) = self.line().await? {
            if line.is_empty() {
                if seen {
                    data.pop();
                    let event = if event.is_empty() { "message".to_owned() } else { event };
                    return Ok(Some(Event { event, id: self.id.clone(), data }));
                }
                event.clear();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut event),
                "data" => {
                    seen = true;
                    data.push_str(value);
                    data.push('\n');
                }
                "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
                _ => {}
            }
        }
        Ok(None)
    }

    async fn line(&mut self) -> Result<Option<String>, ClientError> {
        let odd = |reason: &str| ClientError::Odd { server: self.server.clone(), reason: reason.to_owned() };
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=searched + end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return String::from_utf8(line).map(Some).map_err(|_| odd("an event is not UTF-8"));
            }
            searched = self.buffer.len();
            if searched > LONGEST_LINE {
                return Err(odd("an event does not end"));
            }
            let chunk = self.response.chunk().await;
            let chunk = chunk.map_err(|e| ClientError::Unreachable { server: self.server.clone(), reason: e.to_string() })?;
            match chunk {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
