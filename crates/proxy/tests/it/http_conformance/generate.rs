//! Requests made from a seed: good ones, and those whose end two readers could see in two places.

use std::fmt;

/// What must become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// nginx answers it.
    Served,
    /// A rule answers it; nginx never hears of it.
    Blocked,
    /// Its head is refused with 400, and nginx never hears of it.
    Refused,
    /// Its head is good, its body is not: nothing after it is an own request.
    Broken,
    /// A good request of which some bytes were changed: whatever it is now.
    Damaged,
}

#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    pub(crate) class: Class,
    pub(crate) method: &'static str,
    pub(crate) marker: String,
    pub(crate) status: u16,
    /// Whether the connection ends after it.
    pub(crate) closes: bool,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = &self.bytes[..self.bytes.len().min(600)];
        write!(f, "{:?} {} {:?}", self.class, self.marker, String::from_utf8_lossy(start))
    }
}

/// What one connection says.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) requests: Vec<Request>,
    /// Where one write ends and the next begins.
    pub(crate) pieces: Vec<usize>,
    pub(crate) half_close: bool,
}

/// Numbers that a seed decides (`SplitMix64`: Steele, Lea and Flood, 2014).
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut draws = Self(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        draws.next();
        draws
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

impl Script {
    pub(crate) fn generate(draws: &mut Draws, number: usize) -> Self {
        let good = 1 + draws.below(5);
        let mut requests: Vec<_> = (0..good)
            .map(|n| {
                let marker = format!("m{number}-{n}");
                if draws.chance(15) { blocked(draws, marker) } else { served(draws, marker, false) }
            })
            .collect();
        let marker = format!("m{number}-{good}");
        let mut half_close = false;
        match draws.below(10) {
            0..=4 => requests.push(refused(draws, marker)),
            5 => requests.push(broken(draws, marker)),
            6 => {
                half_close = true;
                requests.push(damaged(draws, marker));
            }
            _ => requests.push(served(draws, marker, true)),
        }
        // What is hidden in the last one, for whoever sees its end too early.
        let last_class = requests.last().map(|last| last.class);
        if matches!(last_class, Some(Class::Refused | Class::Broken)) {
            let last = requests.last_mut().unwrap();
            last.bytes.extend_from_slice(b"GET /smuggled HTTP/1.1\r\nHost: a\r\nX-Marker: smuggled\r\n\r\n");
        }
        let total: usize = requests.iter().map(|request| request.bytes.len()).sum();
        let cuts = draws.one_of(&[0, 0, 0, 1, 2, 5, 40]);
        let mut pieces: Vec<_> = (0..cuts).map(|_| draws.below(total)).collect();
        pieces.sort_unstable();
        Self { requests, pieces, half_close }
    }
}

fn body_text(draws: &mut Draws) -> Vec<u8> {
    let length = draws.one_of(&[0, 1, 2, 15, 16, 17, 255, 4096, 70_000]);
    let letters = b"abcdefghijklmnopqrstuvwxyz\r\n0:; ";
    (0..length).map(|_| draws.one_of(letters)).collect()
}

fn chunked(draws: &mut Draws, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((1 + draws.below(rest.len())).min(rest.len()));
        rest = after;
        let size = match draws.below(4) {
            0 => format!("{:X}", piece.len()),
            1 => format!("000{:x}", piece.len()),
            2 => format!("{:x};name=value", piece.len()),
            _ => format!("{:x}", piece.len()),
        };
        out.extend_from_slice(size.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n");
    if draws.chance(30) {
        out.extend_from_slice(b"X-Trailer: value\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Fields that mean nothing to framing.
fn more_fields(draws: &mut Draws) -> String {
    let mut fields = String::new();
    for n in 0..draws.one_of(&[0, 0, 1, 3, 20]) {
        let value = draws.one_of(&["", "x", "a, b", "\"quoted \\\" string\"", "text with spaces", "\u{e9}\u{2713}", "a\tb"]);
        fields.push_str(&format!("{}-{n}: {value}\r\n", draws.one_of(&["X-Field", "x_under", "X!#$%&'*+.^`|~", "Accept"])));
    }
    fields
}

fn served(draws: &mut Draws, marker: String, last: bool) -> Request {
    let method = draws.one_of(&["GET", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]);
    let reads = matches!(method, "GET" | "HEAD");
    let (path, status) = match draws.below(8) {
        0 => ("/empty", 204),
        1 => ("/missing?a=b", 404),
        2 if reads => ("/chunked", 200),
        3 => ("http://a/absolute?x=%20", 200),
        4 => ("/very%2Flong/../path;p?q=1&r=%00", 200),
        _ => ("/", 200),
    };
    let path = if path.contains("%00") { "/with;p?q=1&r=%41" } else { path };
    let mut bytes = if draws.chance(5) { b"\r\n".to_vec() } else { Vec::new() };
    let connection = if last { "Connection: close\r\n" } else { draws.one_of(&["", "", "Connection: keep-alive\r\n"]) };
    let marker_field = format!("{}: {marker}\r\n", draws.one_of(&["X-Marker", "x-marker", "X-MARKER"]));
    let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{marker_field}{}{connection}", more_fields(draws));
    bytes.extend_from_slice(head.as_bytes());
    if reads && draws.chance(80) {
        bytes.extend_from_slice(b"\r\n");
    } else {
        let body = body_text(draws);
        if draws.chance(20) {
            bytes.extend_from_slice(b"Expect: 100-continue\r\n");
        }
        if draws.chance(50) {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(&body);
        } else {
            bytes.extend_from_slice(draws.one_of(&[&b"Transfer-Encoding: chunked\r\n\r\n"[..], b"transfer-encoding: Chunked\r\n\r\n"]));
            bytes.extend_from_slice(&chunked(draws, &body));
        }
    }
    Request { bytes, class: Class::Served, method, marker, status, closes: last }
}

fn blocked(draws: &mut Draws, marker: String) -> Request {
    let body = body_text(draws);
    let path = draws.one_of(&["/blocked", "/blocked/deeper", "/blocked?query"]);
    let (method, mut bytes) = match draws.below(3) {
        0 => ("GET", format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Marker: {marker}\r\n\r\n").into_bytes()),
        1 => {
            let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nX-Marker: {marker}\r\nContent-Length: {}\r\n\r\n", body.len());
            ("POST", [head.as_bytes(), &body].concat())
        }
        _ => {
            let head = format!("PUT {path} HTTP/1.1\r\nHost: a\r\nX-Marker: {marker}\r\nTransfer-Encoding: chunked\r\n\r\n");
            ("PUT", [head.as_bytes(), &chunked(draws, &body)].concat())
        }
    };
    bytes.shrink_to_fit();
    Request { bytes, class: Class::Blocked, method, marker, status: 418, closes: false }
}

/// Heads that are refused. `M` stands for the marker's field.
const REFUSED: &[&str] = &[
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nContent-Length: 0\r\nContent-Length: 60\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nContent-Length: 0, 60\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nContent-Length: +0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nContent-Length: -1\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nContent-Length: 0x10\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nContent-Length: 1 0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nContent-Length:\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nContent-Length: 18446744073709551616\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nTransfer-Encoding: identity\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nM\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.0\r\nHost: a\r\nM\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\n Host: a\r\nM\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\nM\r\n\r\n",
    "GET / HTTP/1.1\nHost: a\r\nM\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nM\r\nX: y\rz\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nM\r\nX: y\0z\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nM\r\nX: y\x01\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nM\r\nX y: z\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nM\r\nX\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nM\r\n: y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nM\r\nX(: y\r\n\r\n",
    "GET / HTTP/1.1\r\nM\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nM\r\n\r\n",
    "GET / HTTP/1.2\r\nHost: a\r\nM\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: a\r\nM\r\n\r\n",
    "GET / http/1.1\r\nHost: a\r\nM\r\n\r\n",
    "GET / HTTP/1.1 \r\nHost: a\r\nM\r\n\r\n",
    "GET  / HTTP/1.1\r\nHost: a\r\nM\r\n\r\n",
    "GET /a b HTTP/1.1\r\nHost: a\r\nM\r\n\r\n",
    "GET /a\x7f HTTP/1.1\r\nHost: a\r\nM\r\n\r\n",
    "GET\t/ HTTP/1.1\r\nHost: a\r\nM\r\n\r\n",
    "GE(T / HTTP/1.1\r\nHost: a\r\nM\r\n\r\n",
    " GET / HTTP/1.1\r\nHost: a\r\nM\r\n\r\n",
    "GET /\r\nHost: a\r\nM\r\n\r\n",
];

fn refused(draws: &mut Draws, marker: String) -> Request {
    let field = format!("X-Marker: {marker}");
    let bytes = match draws.below(REFUSED.len() + 2) {
        at if at < REFUSED.len() => REFUSED[at].replace("\nM\r\n", &format!("\n{field}\r\n")).into_bytes(),
        at if at == REFUSED.len() => {
            let long = "x".repeat(300_000);
            format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\nX-Long: {long}\r\n\r\n").into_bytes()
        }
        _ => {
            let many: String = (0..2000).map(|n| format!("X-{n}: y\r\n")).collect();
            format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n{many}\r\n").into_bytes()
        }
    };
    Request { bytes, class: Class::Refused, method: "GET", marker, status: 400, closes: true }
}

/// Chunked bodies that are none.
const BROKEN: &[&str] = &[
    "g\r\n",
    "-1\r\n",
    "0x0\r\n\r\n",
    " 0\r\n\r\n",
    "0 \r\n\r\n",
    "0\n\n",
    "0\r\r\n\r\n",
    "\r\n0\r\n\r\n",
    ";x\r\n\r\n",
    "1\r\nab\r\n0\r\n\r\n",
    "1\r\na\n0\r\n\r\n",
    "1\r\na0\r\n\r\n",
    "10000000000000000\r\n\r\n",
    "0;x\ny\r\n\r\n",
    "0\r\nX-Trailer: a\n\r\n",
];

fn broken(draws: &mut Draws, marker: String) -> Request {
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nX-Marker: {marker}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let bytes = [head.as_bytes(), draws.one_of(BROKEN).as_bytes()].concat();
    Request { bytes, class: Class::Broken, method: "POST", marker, status: 400, closes: true }
}

fn damaged(draws: &mut Draws, marker: String) -> Request {
    let mut request = served(draws, marker, true);
    for _ in 0..=draws.below(4) {
        let at = draws.below(request.bytes.len());
        // The marker stays: nobody else's request must seem to come twice.
        let marker = request.bytes.windows(request.marker.len()).position(|text| text == request.marker.as_bytes()).unwrap();
        if (marker..=marker + request.marker.len()).contains(&at) {
            continue;
        }
        match draws.below(3) {
            0 => request.bytes[at] ^= 1 << draws.below(8),
            1 => drop(request.bytes.remove(at)),
            _ => request.bytes.insert(at, draws.one_of(b"\r\n\0 \t:,;0aZ\xff")),
        }
    }
    request.class = Class::Damaged;
    request
}
