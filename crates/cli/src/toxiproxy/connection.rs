//! Requests to an API of Toxiproxy's kind: Squall's own, or Toxiproxy itself.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;

/// As long as Toxiproxy's own client waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the API is.
#[derive(Debug, Clone)]
pub struct Api {
    url: String,
}

impl Api {
    /// At this URL; `http://` may be left out.
    pub fn at(url: &str) -> Self {
        let url = url.trim_end_matches('/');
        Self { url: if url.contains("://") { url.to_owned() } else { format!("http://{url}") } }
    }

    /// Asks, and gives the answer's JSON; null where it has none. The error is worded as Toxiproxy's client words it.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let failed = |error: String| {
            let method = method.chars().take(1).chain(method.chars().skip(1).map(|c| c.to_ascii_lowercase())).collect::<String>();
            format!("fail to request: {method} \"{}{path}\": {error}", self.url)
        };
        let (status, text) = self.exchange(method, path, body).map_err(failed)?;
        if (200..300).contains(&status) {
            return Ok(serde_json::from_str(&text).unwrap_or(Value::Null));
        }
        let error: Value = serde_json::from_str(&text).map_err(|_| format!("HTTP {status}: {}", text.trim()))?;
        let message = error["error"].as_str().unwrap_or_default();
        Err(format!("HTTP {}: {message}", error["status"].as_u64().unwrap_or(u64::from(status))))
    }

    fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, String), String> {
        let rest = self.url.strip_prefix("http://").ok_or_else(|| format!("only http:// is supported, not {}", self.url))?;
        let (authority, base) = rest.split_once('/').map_or((rest, String::new()), |(host, base)| (host, format!("/{base}")));
        let with_port = if authority.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok()) {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            // 1.0, so that the answer is not in chunks.
            "{method} {base}{path} HTTP/1.0\r\nHost: {authority}\r\nUser-Agent: toxiproxy-cli/{} (linux/{})\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            squall_proxy::api::VERSION,
            std::env::consts::ARCH,
            body.len()
        );
        let answer = send(&with_port, &request).map_err(|(address, error)| match address {
            Some(address) => format!("dial tcp {address}: connect: {}", reason(&error)),
            None => reason(&error),
        })?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("EOF")?;
        let status =
            head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| format!("malformed HTTP response {head:?}"))?;
        Ok((status, body.to_owned()))
    }
}

/// The address is given with the error where it was the connection that failed.
fn send(authority: &str, request: &str) -> Result<Vec<u8>, (Option<String>, io::Error)> {
    let mut last = (None, io::Error::from(io::ErrorKind::NotFound));
    for address in authority.to_socket_addrs().map_err(|error| (None, error))? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(mut stream) => {
                let mut exchange = || {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.write_all(request.as_bytes())?;
                    let mut answer = Vec::new();
                    stream.read_to_end(&mut answer)?;
                    Ok(answer)
                };
                return exchange().map_err(|error| (None, error));
            }
            Err(error) => last = (Some(address.to_string()), error),
        }
    }
    Err(last)
}

/// In Go's words: lower case, without a number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// A name as a part of a path.
pub fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_parts_of_a_path() {
        assert_eq!(segment("shopify_http-1.a"), "shopify_http-1.a");
        assert_eq!(segment("a b/ü"), "a%20b%2F%C3%BC");
    }

    #[test]
    fn nobody_there_is_said_as_go_says_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let error = Api::at(&address.to_string()).ask("GET", "/proxies", None).expect_err("nobody is there");
        assert_eq!(error, format!("fail to request: Get \"http://{address}/proxies\": dial tcp {address}: connect: connection refused"));
    }
}
