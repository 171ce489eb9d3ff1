//! Heads of HTTP/1 messages, read strictly: what two readers could take for two different things is refused (RFC 9112, sections
//! 2.2, 5, 6.3 and 11.2), so that no connection is ever out of step with the one behind it.

use std::ops::Range;

/// The largest head that is read, in bytes.
pub(crate) const LARGEST: usize = 64 << 10;
/// The most header fields of a head.
const FIELDS: usize = 128;

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No head of HTTP/1 at all.
    #[error("the head is not HTTP/1")]
    Head,
    /// A line ends with LF alone, or has a CR within.
    #[error("a line does not end with CR LF")]
    LineEnd,
    /// It is longer than is read.
    #[error("the head is longer than 64 KiB")]
    TooLong,
    /// Not one `Host`.
    #[error("a request has exactly one Host")]
    Host,
    /// Both ways to say how long the body is, or one of them twice.
    #[error("the length of the body is said in more than one way")]
    Ambiguous,
    /// The length is no number.
    #[error("Content-Length is not a number")]
    Length,
    /// Another coding than `chunked`.
    #[error("Transfer-Encoding is not chunked")]
    Coding,
    /// A chunk's size is no number, or its end is missing.
    #[error("a chunk is malformed")]
    Chunk,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes, perhaps none.
    Length(u64),
    Chunked,
    /// When the sender closes.
    UntilClose,
    /// There is no message any more: bytes in both directions (101, CONNECT).
    Tunnel,
}

/// A head, as ranges of the bytes that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes that it takes up, with its empty line.
    pub(crate) size: usize,
    /// The first line: method and target, or status and reason.
    pub(crate) first: First,
    /// 0 or 1: HTTP/1.0 or HTTP/1.1.
    pub(crate) minor: u8,
    pub(crate) fields: Vec<(Range<usize>, Range<usize>)>,
    pub(crate) framing: Framing,
    /// Whether the connection may carry another message after this one.
    pub(crate) keep_alive: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum First {
    Request { method: Range<usize>, target: Range<usize> },
    Response { status: u16, reason: Range<usize> },
}

impl Head {
    pub(crate) fn field<'a>(&self, bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
        self.all(bytes, name).next()
    }

    pub(crate) fn all<'a>(&self, bytes: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
        let found = self.fields.iter().filter(move |(field, _)| bytes[field.clone()].eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| &bytes[value.clone()])
    }

    pub(crate) fn status(&self) -> u16 {
        match self.first {
            First::Response { status, .. } => status,
            First::Request { .. } => 0,
        }
    }
}

/// The part of an absolute target behind its scheme.
fn behind_scheme(target: &[u8]) -> Option<&[u8]> {
    let at = memchr::memmem::find(target, b"://").filter(|at| target[..*at].iter().all(u8::is_ascii_alphabetic))?;
    Some(&target[at + 3..])
}

/// The host and port of a target in absolute form.
pub(crate) fn authority(target: &[u8]) -> Option<&[u8]> {
    let rest = behind_scheme(target)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    Some(rest[..end].rsplit(|byte| *byte == b'@').next().unwrap_or_default())
}

/// Path and query of a target, whichever form it has.
pub(crate) fn origin_form(target: &[u8]) -> &[u8] {
    let Some(rest) = behind_scheme(target) else { return target };
    match rest.iter().position(|byte| matches!(byte, b'/' | b'?')) {
        Some(at) => &rest[at..],
        None => b"/",
    }
}

/// Whether the first line of a request may begin with these bytes.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    /// The longest name of a method that there is (RFC 3253 and others).
    const METHOD: usize = 20;
    let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-').count();
    let line = memchr::memchr(b'\n', bytes).map_or(bytes, |end| &bytes[..=end]);
    match line.get(method) {
        None => (1..=METHOD).contains(&method),
        Some(b' ') => (1..=METHOD).contains(&method) && (line.len() == bytes.len() && !line.ends_with(b"\n") || ends_as_request(line)),
        Some(_) => false,
    }
}

fn ends_as_request(line: &[u8]) -> bool {
    line.ends_with(b" HTTP/1.1\r\n") || line.ends_with(b" HTTP/1.0\r\n")
}

/// Where the head ends, if all of it is here.
fn end_of_head(bytes: &[u8], searched: usize) -> Result<Option<usize>, Malformed> {
    // Three bytes of the end may have been here before.
    let from = searched.saturating_sub(3).min(bytes.len());
    match memchr::memmem::find(&bytes[from..], b"\r\n\r\n") {
        Some(at) => Ok(Some(from + at + 4)),
        None if bytes.len() >= LARGEST => Err(Malformed::TooLong),
        // What can never become a head is not waited for.
        None if memchr::memmem::find(&bytes[from..], b"\n\n").is_some() => Err(Malformed::LineEnd),
        None => Ok(None),
    }
}

fn check_line_ends(head: &[u8]) -> Result<(), Malformed> {
    // `httparse` passes over empty lines here. A server may, for old clients, and whoever reads requests has done so by now; in
    // front of a response there is no place for any.
    if head.starts_with(b"\r\n") {
        return Err(Malformed::Head);
    }
    for at in memchr::memchr2_iter(b'\n', b'\r', head) {
        let good = match head[at] {
            b'\n' => at > 0 && head[at - 1] == b'\r',
            _ => head.get(at + 1) == Some(&b'\n'),
        };
        if !good {
            return Err(Malformed::LineEnd);
        }
    }
    Ok(())
}

/// Reads a request's head. `searched` bytes were here in vain before. `None`: more is needed.
pub(crate) fn request(bytes: &[u8], searched: usize) -> Result<Option<Head>, Malformed> {
    let Some(size) = end_of_head(bytes, searched)? else { return Ok(None) };
    if size > LARGEST {
        return Err(Malformed::TooLong);
    }
    check_line_ends(&bytes[..size])?;
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(&bytes[..size]) {
        Ok(httparse::Status::Complete(length)) if length == size => {}
        _ => return Err(Malformed::Head),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else { return Err(Malformed::Head) };
    if target.is_empty() || target.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(Malformed::Head);
    }
    let hosts = parsed.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("host")).count();
    if hosts > 1 || hosts == 0 && minor == 1 {
        return Err(Malformed::Host);
    }
    let connect = method == "CONNECT";
    let framing = match (framing(parsed.headers, minor)?, connect) {
        (Some(framing), false) => framing,
        (None, _) => Framing::Length(0),
        // A tunnel has no body before it.
        (Some(_), true) => return Err(Malformed::Ambiguous),
    };
    let within = |part: &str| range(bytes, part.as_bytes());
    Ok(Some(Head {
        size,
        first: First::Request { method: within(method), target: within(target) },
        minor,
        fields: ranges(bytes, parsed.headers),
        framing,
        keep_alive: keep_alive(parsed.headers, minor),
    }))
}

/// Reads a response's head, to a request with this method.
pub(crate) fn response(bytes: &[u8], searched: usize, method: &[u8]) -> Result<Option<Head>, Malformed> {
    let Some(size) = end_of_head(bytes, searched)? else { return Ok(None) };
    if size > LARGEST {
        return Err(Malformed::TooLong);
    }
    check_line_ends(&bytes[..size])?;
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    match parsed.parse(&bytes[..size]) {
        Ok(httparse::Status::Complete(length)) if length == size => {}
        _ => return Err(Malformed::Head),
    }
    let (Some(status), Some(minor)) = (parsed.code, parsed.version) else { return Err(Malformed::Head) };
    let said = framing(parsed.headers, minor)?;
    let framing = match status {
        101 => Framing::Tunnel,
        200..=299 if method == b"CONNECT" => Framing::Tunnel,
        100..=199 | 204 | 304 => Framing::Length(0),
        _ if method == b"HEAD" => Framing::Length(0),
        _ => said.unwrap_or(Framing::UntilClose),
    };
    let reason = parsed.reason.map_or(0..0, |reason| if reason.is_empty() { 0..0 } else { range(bytes, reason.as_bytes()) });
    let keep_alive = keep_alive(parsed.headers, minor) && framing != Framing::UntilClose;
    Ok(Some(Head { size, first: First::Response { status, reason }, minor, fields: ranges(bytes, parsed.headers), framing, keep_alive }))
}

fn framing(fields: &[httparse::Header<'_>], minor: u8) -> Result<Option<Framing>, Malformed> {
    let mut framing = None;
    for field in fields {
        let said = if field.name.eq_ignore_ascii_case("content-length") {
            let digits = !field.value.is_empty() && field.value.len() <= 18 && field.value.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(field.value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
            Framing::Length(number.ok_or(Malformed::Length)?)
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            if minor == 0 || !field.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed::Coding);
            }
            Framing::Chunked
        } else {
            continue;
        };
        if framing.replace(said).is_some() {
            return Err(Malformed::Ambiguous);
        }
    }
    Ok(framing)
}

fn keep_alive(fields: &[httparse::Header<'_>], minor: u8) -> bool {
    let mut keep = minor == 1;
    for field in fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection")) {
        for token in field.value.split(|byte| *byte == b',') {
            let token = token.trim_ascii();
            if token.eq_ignore_ascii_case(b"close") {
                return false;
            }
            keep |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    keep
}

/// Where a part of these bytes is in them.
fn range(bytes: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
    start..start + part.len()
}

fn ranges(bytes: &[u8], fields: &[httparse::Header<'_>]) -> Vec<(Range<usize>, Range<usize>)> {
    let place = |part: &[u8]| if part.is_empty() { 0..0 } else { range(bytes, part) };
    fields.iter().map(|field| (place(field.name.as_bytes()), place(field.value))).collect()
}

/// Follows a chunked body (RFC 9112, section 7.1): where its data is, and where it ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chunked {
    state: State,
    /// Bytes of the line that is being read.
    line: usize,
    /// The lines of the trailers, as they came.
    trailers: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Size,
    SizeNext(u64),
    /// After `;`, up to the line's end. Extensions mean nothing to anybody here.
    Extension(u64),
    SizeEnd(u64),
    Data(u64),
    DataEnd,
    DataEndNext,
    /// At the start of a trailer's line.
    Trailer,
    TrailerLine,
    TrailerEnd,
    LastEnd,
    Done,
}

/// A line of the framing, or of a trailer, that is longer is refused.
const LINE: usize = 16 << 10;

impl Chunked {
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The lines of the trailers so far, each with its end.
    pub(crate) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Follows these bytes to the end of the body at most, and calls `data` with each piece of data. How many bytes belong to it.
    pub(crate) fn follow(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            if let State::Data(left) = self.state {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                data(&bytes[at..at + count]);
                at += count;
                let left = left - count as u64;
                self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                continue;
            }
            self.line += 1;
            if self.line > LINE {
                return Err(Malformed::Chunk);
            }
            self.state = self.step(bytes[at])?;
            if matches!(self.state, State::TrailerLine | State::TrailerEnd)
                || self.state == State::Trailer && bytes[at] == b'\n' && !self.trailers.is_empty()
            {
                self.trailers.push(bytes[at]);
            }
            at += 1;
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(u64::from);
        Ok(match (self.state, byte) {
            (State::Size, byte) => State::SizeNext(digit(byte).ok_or(Malformed::Chunk)?),
            (State::SizeNext(size) | State::Extension(size), b'\r') => State::SizeEnd(size),
            (State::SizeNext(size), b';') => State::Extension(size),
            (State::SizeNext(size), byte) => {
                let digit = digit(byte).ok_or(Malformed::Chunk)?;
                if size >> 56 > 0 {
                    return Err(Malformed::Chunk);
                }
                State::SizeNext(size << 4 | digit)
            }
            (State::Extension(_) | State::Trailer | State::TrailerLine, b'\n' | 0) => return Err(Malformed::Chunk),
            (State::Extension(size), _) => State::Extension(size),
            (State::SizeEnd(size), b'\n') => {
                self.line = 0;
                if size == 0 { State::Trailer } else { State::Data(size) }
            }
            (State::DataEnd, b'\r') => State::DataEndNext,
            (State::DataEndNext, b'\n') => {
                self.line = 0;
                State::Size
            }
            (State::Trailer, b'\r') => State::LastEnd,
            (State::TrailerLine, b'\r') => State::TrailerEnd,
            (State::Trailer | State::TrailerLine, _) => State::TrailerLine,
            (State::TrailerEnd, b'\n') => State::Trailer,
            (State::LastEnd, b'\n') => State::Done,
            _ => return Err(Malformed::Chunk),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Head, Malformed> {
        request(text.as_bytes(), 0).map(|head| head.expect("whole"))
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let refused = [
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", Malformed::Ambiguous),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", Malformed::Ambiguous),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", Malformed::Length),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", Malformed::Length),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", Malformed::Length),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Malformed::Coding),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", Malformed::Coding),
            ("GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Malformed::Coding),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", Malformed::Head),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", Malformed::Head),
            ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", Malformed::LineEnd),
            ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Head),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", Malformed::LineEnd),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Malformed::Host),
            ("GET / HTTP/1.1\r\n\r\n", Malformed::Host),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Malformed::Head),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Head),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Head),
        ];
        for (text, error) in refused {
            assert_eq!(read(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn the_beginning_of_a_request_is_told_from_other_words() {
        for yes in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.0\r\n", "M-SEARCH * HTTP/1.1\r\n", "POST /a", "PO", "PUT "] {
            assert!(begins(yes.as_bytes()), "{yes:?}");
        }
        for no in [
            "",
            "PING\r\n",
            "get / HTTP/1.1\r\n",
            "SSH-2.0-x\r\n",
            "*1\r\n",
            "GET / HTTP/1.1\n",
            "GET / HTTP/2.0\r\n",
            "\u{16}\u{3}",
            " / HTTP/1.1\r\n",
        ] {
            assert!(!begins(no.as_bytes()), "{no:?}");
        }
    }

    #[test]
    fn a_head_is_read_in_place() {
        let text = "POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
        let head = read(text).unwrap();
        assert_eq!((head.size, head.framing, head.keep_alive, head.minor), (text.len() - 3, Framing::Length(3), false, 1));
        assert_eq!(head.field(text.as_bytes(), "HOST"), Some(&b"x"[..]));
        let First::Request { method, target } = head.first else { panic!("a request") };
        assert_eq!((&text[method], &text[target]), ("POST", "/a?b=c"));
        for cut in 0..text.len() - 3 {
            assert_eq!(request(&text.as_bytes()[..cut], cut.saturating_sub(1)), Ok(None), "{cut}");
        }
    }

    #[test]
    fn a_target_in_absolute_form_names_its_host() {
        let parts = |target: &'static str| (authority(target.as_bytes()), origin_form(target.as_bytes()));
        assert_eq!(parts("http://a.b:80/c?d"), (Some(&b"a.b:80"[..]), &b"/c?d"[..]));
        assert_eq!(parts("http://u@a"), (Some(&b"a"[..]), &b"/"[..]));
        assert_eq!(parts("/x?u=http://a/b"), (None, &b"/x?u=http://a/b"[..]));
    }

    #[test]
    fn a_responses_body_depends_on_its_status_and_on_what_was_asked() {
        let framing = |text: &str, method: &str| response(text.as_bytes(), 0, method.as_bytes()).unwrap().unwrap().framing;
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(framing(length, "GET"), Framing::Length(5));
        assert_eq!(framing(length, "HEAD"), Framing::Length(0));
        assert_eq!(framing("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET"), Framing::Length(0));
        assert_eq!(framing("HTTP/1.1 200\r\n\r\n", "GET"), Framing::UntilClose);
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n", "CONNECT"), Framing::Tunnel);
        assert_eq!(framing("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "GET"), Framing::Tunnel);
    }

    #[test]
    fn an_empty_line_in_front_of_a_response_is_refused() {
        assert_eq!(response(b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0, b"GET"), Err(Malformed::Head));
    }

    #[test]
    fn a_chunked_body_ends_where_it_ends_however_it_is_cut() {
        let text = b"4;x=y\r\nWiki\r\n6\r\npedia \r\n0\r\nTrailer: a\r\n\r\nNEXT";
        for cut in 0..text.len() {
            let (mut chunked, mut data) = (Chunked::default(), Vec::new());
            let mut used = chunked.follow(&text[..cut], |piece| data.extend_from_slice(piece)).unwrap();
            used += chunked.follow(&text[used..], |piece| data.extend_from_slice(piece)).unwrap();
            assert!(chunked.is_done());
            assert_eq!((used, data.as_slice()), (text.len() - 4, &b"Wikipedia "[..]), "{cut}");
            assert_eq!(chunked.trailers(), b"Trailer: a\r\n", "{cut}");
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for text in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "1\na\r\n",
            "1\r\nab\r\n",
            "1\r\na\n",
            "10000000000000000\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1 \r\n",
            "0\r\na: b\n\r\n",
        ] {
            assert_eq!(Chunked::default().follow(text.as_bytes(), |_| {}), Err(Malformed::Chunk), "{text:?}");
        }
    }
}
