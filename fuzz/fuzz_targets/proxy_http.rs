//! Any bytes as the head of an HTTP/1 message and as a chunked body. However they are cut they are read the same, and what is
//! accepted is what two other readers make of it: `httparse`, and the grammar of RFC 9112 as a regular expression.
//!
//! An input is a byte that says what is read, a byte that says where it is cut, and the bytes themselves.
#![no_main]

mod cuts;

use std::ops::Range;
use std::sync::LazyLock;

use cuts::Cuts;
use libfuzzer_sys::fuzz_target;
use regex::bytes::Regex;
use squall_proxy::fuzzing::{Chunks, Framing, Message, begins_request, request, response};
use squall_proxy::http::Malformed;

static FIELDS: &str = r"(?-u)(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n$";
static REQUEST: LazyLock<Regex> = LazyLock::new(|| grammar(r"(?-u)^[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e]+ HTTP/1\.[01]\r\n"));
static RESPONSE: LazyLock<Regex> = LazyLock::new(|| grammar(r"(?-u)^HTTP/1\.[01] [0-9]{3}(?: [\t\x20-\x7e\x80-\xff]*)?\r\n"));
static CHUNKED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?-u)^([0-9A-Fa-f]+)(?:;[^\r\n\x00]*)?\r\n").expect("a regular expression"));

fn grammar(first: &str) -> Regex {
    Regex::new(&format!("{first}{FIELDS}")).expect("a regular expression")
}

fuzz_target!(|input: &[u8]| {
    let [what, cuts, bytes @ ..] = input else { return };
    let method: &[u8] = [&b"GET"[..], b"HEAD", b"CONNECT"][usize::from(what >> 2) % 3];
    match what % 3 {
        0 => head(bytes, *cuts, None),
        1 => head(bytes, *cuts, Some(method)),
        _ => chunked(bytes, *cuts),
    }
});

fn read(bytes: &[u8], searched: usize, answered: Option<&[u8]>) -> Result<Option<Message>, Malformed> {
    answered.map_or_else(|| request(bytes, searched), |method| response(bytes, searched, method))
}

fn head(bytes: &[u8], cuts: u8, answered: Option<&[u8]>) {
    let whole = read(bytes, 0, answered);
    let mut searched = 0;
    let mut grown = Ok(None);
    for end in Cuts::of(bytes.len(), cuts) {
        grown = read(&bytes[..end], searched, answered);
        searched = end;
        if !matches!(grown, Ok(None)) {
            break;
        }
    }
    match (&whole, &grown) {
        (Ok(whole), Ok(grown)) => assert_eq!(whole, grown),
        // Which of two things that are wrong is found first may depend on what is there.
        (Err(_), Err(_)) => return,
        other => panic!("in pieces it is another: {other:?}"),
    }
    if let Ok(Some(message)) = &whole {
        let bytes = &bytes[..message.size];
        let grammar = if answered.is_none() { &*REQUEST } else { &*RESPONSE };
        assert!(grammar.is_match(bytes), "accepted against the grammar");
        agrees(message, bytes, answered);
    }
}

/// What `httparse` says, and what the fields that it finds say of the length.
fn agrees(message: &Message, bytes: &[u8], answered: Option<&[u8]>) {
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let part = |range: &Range<usize>| &bytes[range.clone()];
    let fields = if answered.is_none() {
        let mut parsed = httparse::Request::new(&mut fields);
        assert_eq!(parsed.parse(bytes), Ok(httparse::Status::Complete(message.size)));
        let (method, target) = message.request.as_ref().expect("a request");
        assert_eq!((parsed.method.map(str::as_bytes), parsed.path.map(str::as_bytes)), (Some(part(method)), Some(part(target))));
        assert_eq!(parsed.version, Some(message.minor));
        if part(method).len() <= 20 && part(method).iter().all(u8::is_ascii_uppercase) {
            assert!((1..=bytes.len()).all(|end| begins_request(&bytes[..end])), "it did not look like one");
        }
        parsed.headers
    } else {
        let mut parsed = httparse::Response::new(&mut fields);
        assert_eq!(parsed.parse(bytes), Ok(httparse::Status::Complete(message.size)));
        assert_eq!((parsed.code, parsed.version), (Some(message.status), Some(message.minor)));
        parsed.headers
    };
    assert_eq!(fields.len(), message.fields.len());
    for (field, (name, value)) in fields.iter().zip(&message.fields) {
        assert_eq!((field.name.as_bytes(), field.value), (part(name), part(value)));
    }
    assert_eq!(message.framing, framing(fields, message, answered));
}

/// RFC 9112, section 6.3, for a message that says it in one way at most.
fn framing(fields: &[httparse::Header<'_>], message: &Message, answered: Option<&[u8]>) -> Framing {
    let all = |name: &str| fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value).collect::<Vec<_>>();
    let (codings, lengths) = (all("transfer-encoding"), all("content-length"));
    assert!(codings.len() + lengths.len() <= 1, "two ways to see its end");
    let connect =
        answered.map_or_else(|| message.request.as_ref().is_some_and(|(method, _)| *method == (0..7)), |method| method == b"CONNECT");
    match (answered, message.status) {
        (Some(_), 101) => return Framing::Tunnel,
        (Some(_), 200..=299) if connect => return Framing::Tunnel,
        (Some(_), 100..=199 | 204 | 304) => return Framing::Length(0),
        (Some(b"HEAD"), _) => return Framing::Length(0),
        _ => {}
    }
    if let [coding] = codings[..] {
        assert!(coding.eq_ignore_ascii_case(b"chunked") && message.minor == 1);
        return Framing::Chunked;
    }
    if let [length] = lengths[..] {
        let length = std::str::from_utf8(length).expect("digits");
        assert!(length.bytes().all(|byte| byte.is_ascii_digit()));
        return Framing::Length(length.parse().expect("a number"));
    }
    if answered.is_some() { Framing::UntilClose } else { Framing::Length(0) }
}

/// Everything that is known of a chunked body: how many bytes it takes, what it carries, its trailers.
type Read = Result<(usize, Vec<u8>, Vec<u8>, bool), Malformed>;

fn follow(bytes: &[u8], ends: impl Iterator<Item = usize>) -> Read {
    let (mut body, mut data, mut used) = (Chunks::default(), Vec::new(), 0);
    for end in ends {
        let given = end - used;
        let count = body.follow(&bytes[used..end], |piece| data.extend_from_slice(piece))?;
        assert!(count <= given, "it claims more than it was given");
        assert!(count == given || body.is_done(), "it leaves bytes that are its own");
        used += count;
        if body.is_done() {
            assert_eq!(body.follow(&bytes[used..], |_| panic!("it is over"))?, 0);
            break;
        }
    }
    Ok((used, data, body.trailers().to_vec(), body.is_done()))
}

fn chunked(bytes: &[u8], cuts: u8) {
    let whole = follow(bytes, std::iter::once(bytes.len()));
    assert_eq!(whole, follow(bytes, Cuts::of(bytes.len(), cuts)));
    let Ok((used, data, trailers, true)) = whole else { return };
    assert_eq!(decoded(&bytes[..used]), (data, trailers), "another reader sees another body");
}

/// Reads a whole chunked body by its grammar: its data and the lines of its trailers.
fn decoded(mut bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut data = Vec::new();
    loop {
        let line = CHUNKED.captures(bytes).expect("a chunk's first line");
        let size = std::str::from_utf8(&line[1]).expect("digits");
        let size = usize::from_str_radix(size, 16).expect("no more than there is");
        bytes = &bytes[line[0].len()..];
        if size == 0 {
            break;
        }
        data.extend_from_slice(&bytes[..size]);
        bytes = bytes[size..].strip_prefix(b"\r\n").expect("a chunk's end");
    }
    let trailers = bytes.strip_suffix(b"\r\n").expect("the end");
    assert!(trailers.is_empty() || trailers.ends_with(b"\r\n"));
    (data, trailers.to_vec())
}
