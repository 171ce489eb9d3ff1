//! A client that says exactly these bytes, and reads what comes back with the eyes of a strict reader.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::generate::{Class, Request, Script};

/// For one read.
const PATIENCE: Duration = Duration::from_secs(10);

/// A response without what differs from moment to moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn closes(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// Whether it carries the request's marker, and nothing else.
    pub(crate) fn belongs_to(&self, request: &Request) -> bool {
        let empty = request.method == "HEAD" || matches!(self.status, 204 | 304);
        let body = if empty { "" } else { request.marker.as_str() };
        self.field("x-echo") == Some(request.marker.as_str()) && self.body == body.as_bytes()
    }
}

/// What came back until the connection ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) responses: Vec<Response>,
    pub(crate) error: Option<String>,
}

pub(crate) trait Stream: Read + Write {
    fn prepare(&self);
    fn end_writing(&self);
}

impl Stream for TcpStream {
    fn prepare(&self) {
        self.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    fn end_writing(&self) {
        // It may have been ended by the other side.
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Stream for UnixStream {
    fn prepare(&self) {
        self.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    // nginx takes a half-closed Unix socket for one that was left: it is told by `connection: close` alone.
    fn end_writing(&self) {}
}

/// Says what the script says, and reads until the connection ends, or all is answered.
pub(crate) fn run(mut stream: impl Stream, script: &Script) -> Outcome {
    stream.prepare();
    let bytes: Vec<u8> = script.requests.iter().flat_map(|request| request.bytes.iter().copied()).collect();
    let mut from = 0;
    for end in script.pieces.iter().copied().chain([bytes.len()]) {
        // Who refuses what comes may close before all is said.
        if stream.write_all(&bytes[from..end]).is_err() {
            break;
        }
        from = end;
    }
    if script.half_close {
        stream.end_writing();
    }
    let (mut reader, mut outcome) = (Reader { stream, bytes: Vec::new(), ended: false }, Outcome::default());
    let expects_end = script.requests.last().is_some_and(|last| last.closes) || script.half_close;
    let mut asked = script.requests.iter();
    loop {
        let method = asked.as_slice().first().map_or("GET", |request| request.method);
        if asked.as_slice().first().is_some_and(|request| request.class == Class::Damaged) {
            // Nobody knows what it asks for, and so how its answer ends.
            outcome.error = reader.drain().err();
            return outcome;
        }
        match reader.response(method) {
            Ok(Some(response)) if (100..200).contains(&response.status) => {}
            Ok(Some(response)) => {
                asked.next();
                outcome.responses.push(response);
                if asked.as_slice().is_empty() && !expects_end {
                    return outcome;
                }
            }
            Ok(None) => return outcome,
            Err(error) => {
                outcome.error = Some(error);
                return outcome;
            }
        }
    }
}

struct Reader<S> {
    stream: S,
    bytes: Vec<u8>,
    ended: bool,
}

impl<S: Stream> Reader<S> {
    fn more(&mut self) -> Result<(), String> {
        let mut piece = [0; 16 << 10];
        match self.stream.read(&mut piece) {
            Ok(0) => self.ended = true,
            Ok(count) => self.bytes.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => self.ended = true,
            Err(error) => return Err(format!("{error}, after {:?}", String::from_utf8_lossy(&self.bytes))),
        }
        Ok(())
    }

    /// Reads until the connection ends.
    fn drain(&mut self) -> Result<(), String> {
        while !self.ended {
            self.bytes.clear();
            self.more()?;
        }
        Ok(())
    }

    /// The first so many bytes; an error where the connection ends before.
    fn take(&mut self, count: usize) -> Result<Vec<u8>, String> {
        while self.bytes.len() < count {
            if self.ended {
                return Err("the connection ended in the middle of a response".into());
            }
            self.more()?;
        }
        Ok(self.bytes.drain(..count).collect())
    }

    fn line(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some(at) = self.bytes.windows(2).position(|two| two == b"\r\n") {
                let mut line = self.take(at + 2)?;
                line.truncate(at);
                return Ok(line);
            }
            if self.ended {
                return Err("the connection ended in the middle of a line".into());
            }
            self.more()?;
        }
    }

    fn response(&mut self, method: &str) -> Result<Option<Response>, String> {
        while self.bytes.is_empty() {
            if self.ended {
                return Ok(None);
            }
            self.more()?;
        }
        let first = String::from_utf8_lossy(&self.line()?).into_owned();
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|status| status.parse().ok());
        let status: u16 = status.ok_or(format!("no status line: {first:?}"))?;
        let (mut fields, mut length, mut chunked) = (Vec::new(), None, false);
        loop {
            let line = String::from_utf8_lossy(&self.line()?).into_owned();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").ok_or(format!("no field: {line:?}"))?;
            match name.to_ascii_lowercase().as_str() {
                "date" | "last-modified" | "etag" => continue,
                "content-length" => length = Some(value.parse::<usize>().map_err(|e| e.to_string())?),
                "transfer-encoding" => chunked = true,
                _ => {}
            }
            fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let body = if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) {
            Vec::new()
        } else if chunked {
            self.chunks()?
        } else if let Some(length) = length {
            self.take(length)?
        } else {
            while !self.ended {
                self.more()?;
            }
            std::mem::take(&mut self.bytes)
        };
        Ok(Some(Response { status, fields, body }))
    }

    fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8_lossy(&self.line()?).into_owned();
            let size = usize::from_str_radix(&line, 16).map_err(|_| format!("no chunk size: {line:?}"))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size)?);
            if !self.line()?.is_empty() {
                return Err("a chunk is longer than its size".into());
            }
        }
    }
}
