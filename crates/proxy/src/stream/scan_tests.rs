use super::*;
use proptest::prelude::*;

/// Everything that is found when the text comes in pieces of these lengths.
fn scan(framing: Framing, text: &[u8], cuts: &[usize]) -> Vec<Item> {
    let (mut scanner, mut items, mut at) = (Scanner::new(framing), Vec::new(), 0);
    for &cut in cuts {
        let end = (at + cut).min(text.len());
        scanner.feed(&text[at..end]);
        items.extend(std::iter::from_fn(|| scanner.next()));
        at = end;
    }
    scanner.feed(&text[at..]);
    items.extend(std::iter::from_fn(|| scanner.next()));
    scanner.end();
    items.extend(std::iter::from_fn(|| scanner.next()));
    items
}

fn blocks(text: &[u8]) -> Vec<(String, Option<String>)> {
    let text_of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let seen = scan(Framing::Events, text, &[]).into_iter().filter_map(|item| match item {
        Item::Block(block) if block.complete && block.is_event() => Some((text_of(&block.data()), block.name().map(text_of))),
        _ => None,
    });
    seen.collect()
}

fn event(data: &str, name: Option<&str>) -> (String, Option<String>) {
    (data.into(), name.map(Into::into))
}

#[test]
fn the_standards_own_examples_are_read_as_it_says() {
    let stocks = b"data: YHOO\ndata: +2\ndata: 10\n\n";
    assert_eq!(blocks(stocks), [event("YHOO\n+2\n10", None)]);
    let four = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
    assert_eq!(blocks(four), [event("first event", None), event("second event", None), event(" third event", None)]);
    assert_eq!(blocks(b"data\n\ndata\ndata\n\ndata:"), [event("", None), event("\n", None)]);
    assert_eq!(blocks(b"data:test\n\ndata: test\n\n"), [event("test", None), event("test", None)]);
}

#[test]
fn every_line_end_and_a_byte_order_mark_are_understood() {
    for end in ["\n", "\r", "\r\n"] {
        let text = "\u{feff}event: add|data: 1||:hi||event: x|data: 2|data: 3||".replace('|', end);
        assert_eq!(blocks(text.as_bytes()), [event("1", Some("add")), event("2\n3", Some("x"))], "{end:?}");
    }
    assert_eq!(blocks(b"data: 1\r\r\ndata: 2\n\r\n"), [event("1", None), event("2", None)]);
}

#[test]
fn an_event_of_bare_crs_is_found_before_the_next_byte_comes() {
    let mut scanner = Scanner::new(Framing::Events);
    scanner.feed(b"data: 1\r\r");
    assert!(matches!(scanner.next(), Some(Item::Block(block)) if &block.raw[..] == b"data: 1\r\r"));
    scanner.feed(b"\n");
    assert_eq!(scanner.next(), Some(Item::Verbatim(Bytes::from_static(b"\n"))));
}

#[test]
fn an_event_that_is_too_large_passes_without_being_kept() {
    let mut scanner = Scanner::new(Framing::Events);
    let (mut passed, piece) = (0, vec![b'x'; 1 << 20]);
    for _ in 0..16 {
        scanner.feed(&piece);
        while let Some(Item::Verbatim(bytes)) = scanner.next() {
            passed += bytes.len();
        }
        assert!(scanner.buffer.len() <= LARGEST);
    }
    assert!(passed >= 12 << 20);
    scanner.feed(b"\n\ndata: 1\n\n");
    assert!(matches!(scanner.next(), Some(Item::Verbatim(_))));
    assert!(matches!(scanner.next(), Some(Item::Block(block)) if &block.data()[..] == b"1"));
}

#[test]
fn lines_are_records_and_the_last_needs_no_end() {
    let items = scan(Framing::Lines, b"{\"a\":1}\r\n\n {\"a\":2}", &[]);
    let data: Vec<_> =
        items.iter().map(|item| if let Item::Block(block) = item { block.data().into_owned() } else { Vec::new() }).collect();
    assert_eq!(data, [b"{\"a\":1}".to_vec(), Vec::new(), b"{\"a\":2}".to_vec()]);
}

#[test]
fn an_edit_over_several_data_lines_leaves_what_stands_between_them() {
    let items = scan(Framing::Events, b"id: 7\r\ndata: {\"a\":\r\nid: 8\r\ndata: 1}\r\n\r\n", &[]);
    let Some(Item::Block(block)) = items.first() else { panic!("{items:?}") };
    assert_eq!(block.line_end(), "\r\n");
    let a = block.json().unwrap().get("a").unwrap().range.clone();
    assert_eq!(&block.edited(vec![(a, "22".into())])[..], b"id: 7\r\ndata: {\"a\":\r\nid: 8\r\ndata: 22}\r\n\r\n");
    assert_eq!(&block.with_data(b"x")[..], b"id: 7\r\ndata: x\r\n\r\n");
}

fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let part = proptest::sample::select(vec![
        &b"\n"[..],
        b"\r",
        b"\r\n",
        b"data: ",
        b"data",
        b"event: x",
        b":",
        b"{\"a\":1}",
        b"id: 7",
        b"\xEF\xBB\xBF",
        b"\xC3\xA9",
        b"\xff",
        b" ",
    ]);
    proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn nothing_is_lost_and_pieces_do_not_matter(text in any_stream(), cuts in proptest::collection::vec(0_usize..9, 0..60), lines: bool) {
        let framing = if lines { Framing::Lines } else { Framing::Events };
        let whole = scan(framing, &text, &[]);
        let bytes: Vec<u8> = whole.iter().flat_map(|item| match item {
            Item::Block(block) => block.raw.to_vec(),
            Item::Verbatim(bytes) => bytes.to_vec(),
        }).collect();
        prop_assert_eq!(&bytes, &text);
        prop_assert_eq!(&scan(framing, &text, &cuts), &whole);
        prop_assert_eq!(&scan(framing, &text, &vec![1; text.len()]), &whole);
    }
}
