//! As much of an HTTP client as Toxiproxy's API needs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Where the API is.
#[derive(Debug, Clone, Copy)]
pub struct Api(pub SocketAddr);

impl Api {
    fn call(self, method: &str, path: &str, body: &Value) -> Result<String> {
        let mut stream = TcpStream::connect(self.0)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.0,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status: u16 = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no status")?;
        if !(200..300).contains(&status) {
            bail!("{method} {path}: {answer}");
        }
        Ok(answer)
    }

    /// A proxy.
    pub fn create(self, name: &str, listen: SocketAddr, upstream: SocketAddr) -> Result<()> {
        let body = json!({ "name": name, "listen": listen.to_string(), "upstream": upstream.to_string(), "enabled": true });
        self.call("POST", "/proxies", &body).map(drop)
    }

    /// A toxic on what comes from the upstream.
    pub fn add_toxic(self, proxy: &str, kind: &str, toxicity: f64, attributes: &Value) -> Result<()> {
        let body = json!({ "name": "bench", "type": kind, "stream": "downstream", "toxicity": toxicity, "attributes": attributes });
        self.call("POST", &format!("/proxies/{proxy}/toxics"), &body).map(drop)
    }

    /// Takes it away again.
    pub fn remove_toxic(self, proxy: &str) -> Result<()> {
        self.call("DELETE", &format!("/proxies/{proxy}/toxics/bench"), &Value::Null).map(drop)
    }

    /// A rule, of Squall's own.
    pub fn add_rule(self, proxy: &str, rule: &Value) -> Result<()> {
        self.call("POST", &format!("/proxies/{proxy}/rules"), rule).map(drop)
    }
}
