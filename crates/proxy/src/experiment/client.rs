//! The API from the side of who calls it.

use std::error::Error;
use std::io::ErrorKind;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

/// An API on this host answers at once; one that takes so long does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// Nothing listens there.
    #[error("nothing listens at {0}")]
    Gone(String),
    /// What was asked for is not there, by this message.
    #[error("{0}")]
    NotFound(String),
    /// It was refused.
    #[error("{0}")]
    Refused(String),
    /// Anything else on the way.
    #[error("{0}")]
    Failed(String),
}

/// One API.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client<'a>(pub(super) &'a str);

impl Client<'_> {
    /// The answer's body; JSON where it is.
    pub(super) async fn call(self, method: Method, path: &[&str], body: Option<&Value>) -> Result<Value, CallError> {
        let text = self.text(method, path, body).await?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The answer's body.
    pub(super) async fn text(self, method: Method, path: &[&str], body: Option<&Value>) -> Result<String, CallError> {
        let mut url = reqwest::Url::parse(self.0).map_err(|error| CallError::Failed(format!("`{}`: {error}", self.0)))?;
        url.path_segments_mut()
            .map_err(|()| CallError::Failed(format!("`{}` is no address of an API", self.0)))?
            .pop_if_empty()
            .extend(path);
        let mut request = client()?.request(method, url).timeout(PATIENCE);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let failed = |error: reqwest::Error| {
            if refused(&error) { CallError::Gone(self.0.to_owned()) } else { CallError::Failed(format!("{}: {}", self.0, whole(&error))) }
        };
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let text = answer.text().await.map_err(failed)?;
        if status.is_success() {
            return Ok(text);
        }
        let said = serde_json::from_str::<Value>(&text).ok().and_then(|value| value["error"].as_str().map(str::to_owned));
        let said = said.unwrap_or_else(|| text.trim().to_owned());
        Err(if status.as_u16() == 404 { CallError::NotFound(said) } else { CallError::Refused(format!("the proxy said: {said}")) })
    }
}

fn causes(error: &dyn Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}

/// Whether nobody listened, or whoever did is about to end.
fn refused(error: &reqwest::Error) -> bool {
    let mut kinds = causes(error).filter_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    error.is_connect() && kinds.any(|kind| matches!(kind, ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset))
}

/// An error with its causes: the outermost alone says little.
fn whole(error: &dyn Error) -> String {
    std::iter::once(error.to_string()).chain(causes(error).map(|cause| format!(": {cause}"))).collect()
}

fn client() -> Result<&'static reqwest::Client, CallError> {
    static CLIENT: OnceLock<Result<reqwest::Client, String>> = OnceLock::new();
    let build = || reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().map_err(|error| whole(&error));
    CLIENT.get_or_init(build).as_ref().map_err(|error| CallError::Failed(error.clone()))
}
