//! YAML 1.2 (core schema) from text to a value and its places, by the events of `saphyr-parser`.

use std::cell::Cell;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Map, Value};

use crate::document::{Parts, Place, Places};
use crate::scalar::{resolve, tagged};
use crate::{Diagnostic, Diagnostics, Path, PathSegment};

/// A manifest is written by hand: beyond these it is a mistake or an attack (aliases can double with each level).
const MAX_BYTES: usize = 1 << 20;
const MAX_DEPTH: usize = 64;
const MAX_VALUES: usize = 50_000;
/// More messages help nobody.
const MAX_ERRORS: usize = 50;

/// Reads one document.
pub(crate) fn read(text: &str) -> Result<(Value, Places), Diagnostics> {
    let lines = Lines::new(text);
    if text.len() > MAX_BYTES {
        let hint = "a manifest is a few pages at most; check that this is the right file".to_owned();
        return Err(vec![lines.diagnostic(lines.start(), "the file is larger than 1 MiB", Some(hint), &Path::default())]);
    }
    let mut reader = Reader { lines, stack: Vec::new(), done: None, anchors: HashMap::new(), values: 0, errors: Vec::new() };
    let result = reader.run();
    if let Err(fatal) = result {
        reader.errors.push(fatal);
    }
    match reader.done {
        Some(done) if reader.errors.is_empty() => Ok(done),
        _ => Err(reader.errors),
    }
}

/// Byte offsets of a text's lines, to turn the parser's lines and columns (in characters) into byte ranges.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
    mark: bool,
    ascii: bool,
    /// Line, column and byte offset of the last place asked for. Places are asked for nearly in order, so that a long line
    /// is not counted from its start each time.
    last: Cell<(usize, usize, usize)>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let ends = bytes.iter().enumerate().filter(|(i, b)| **b == b'\n' || (**b == b'\r' && bytes.get(i + 1) != Some(&b'\n')));
        let starts = std::iter::once(0).chain(ends.map(|(i, _)| i + 1)).collect();
        Self { text, starts, mark: text.starts_with('\u{feff}'), ascii: text.is_ascii(), last: Cell::new((0, 0, 0)) }
    }

    fn start(&self) -> Place {
        Place { line: 1, column: 1, span: 0..self.text.len().min(1) }
    }

    /// Byte offset of a line (from 1) and a column (from 0, in characters).
    fn offset(&self, line: usize, column: usize) -> usize {
        let Some(&start) = self.starts.get(line.saturating_sub(1)) else { return self.text.len() };
        let end = self.starts.get(line).copied().unwrap_or(self.text.len());
        if self.ascii {
            return (start + column).min(end);
        }
        let (last_line, last_column, last_offset) = self.last.get();
        let (from, skipped) = if (last_line, true) == (line, last_column <= column) { (last_offset, last_column) } else { (start, 0) };
        let offset = self.text[from..end].char_indices().nth(column - skipped).map_or(end, |(i, _)| from + i);
        if offset < end {
            self.last.set((line, column, offset));
        }
        offset
    }

    /// The place from the parser's span; trailing white space and comments, which the parser counts in for block
    /// collections, are cut off.
    fn place(&self, span: Span) -> Place {
        // The parser does not count a byte order mark as a column, and so neither do we.
        let shift = |line: usize| usize::from(self.mark && line == 1);
        let (line, column) = (span.start.line(), span.start.col());
        let start = self.offset(line, column + shift(line)).min(self.text.len());
        let end = self.offset(span.end.line(), span.end.col() + shift(span.end.line())).clamp(start, self.text.len());
        let trimmed = self.text[start..end].trim_end();
        Place { line, column: column + 1, span: start..start + trimmed.len() }
    }

    fn diagnostic(&self, place: Place, message: impl Into<String>, hint: Option<String>, path: &Path) -> Diagnostic {
        let Place { line, column, mut span } = place;
        let shown = self.text.get(span.clone()).and_then(|text| text.lines().next()).unwrap_or_default().trim_end().len();
        span.end = span.start + shown;
        Diagnostic::new(message, line, column, span, path, hint)
    }
}

type Node = (Value, Places);

/// A collection that is not finished.
struct Open {
    start: Place,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Value>, Vec<Places>),
    Map { values: Map<String, Value>, places: Vec<(String, Place, Places)>, key: Option<(String, Place)> },
}

struct Reader<'a> {
    lines: Lines<'a>,
    stack: Vec<Open>,
    done: Option<Node>,
    anchors: HashMap<usize, (Node, usize)>,
    values: usize,
    errors: Diagnostics,
}

impl Reader<'_> {
    fn run(&mut self) -> Result<(), Diagnostic> {
        let mut parser = Parser::new_from_str(self.lines.text);
        let mut documents = 0;
        while let Some(next) = parser.next_event() {
            let (event, span) = next.map_err(|error| self.scan_error(&error))?;
            match event {
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        let hint = "one file holds one manifest: put the second one into its own file";
                        return Err(self.error(self.lines.place(span), "a second document starts here", hint));
                    }
                }
                Event::Alias(id) => self.alias(id, span)?,
                Event::Scalar(text, style, anchor, tag) => {
                    let place = self.lines.place(span);
                    self.scalar(&text, style, anchor, tag.as_deref(), place)?;
                }
                Event::SequenceStart(anchor, tag) => self.open(span, anchor, tag.as_deref(), OpenKind::List(Vec::new(), Vec::new()))?,
                Event::MappingStart(anchor, tag) => {
                    let kind = OpenKind::Map { values: Map::new(), places: Vec::new(), key: None };
                    self.open(span, anchor, tag.as_deref(), kind)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
            }
        }
        self.errors.truncate(MAX_ERRORS);
        if self.done.is_none() && self.errors.is_empty() {
            let hint = "start with `apiVersion: squall.dev/v1`, `kind: Experiment`; `squall explain experiment` shows a whole one";
            return Err(self.error(self.lines.start(), "the file is empty", hint));
        }
        Ok(())
    }

    fn error(&self, place: Place, message: impl Into<String>, hint: &str) -> Diagnostic {
        self.lines.diagnostic(place, message, Some(hint.to_owned()), &self.path())
    }

    /// The path of what is being read.
    fn path(&self) -> Path {
        let segment = |open: &Open| match &open.kind {
            OpenKind::List(values, _) => Some(PathSegment::Index(values.len())),
            OpenKind::Map { key, .. } => key.as_ref().map(|(key, _)| PathSegment::Key(key.clone())),
        };
        Path(self.stack.iter().filter_map(segment).collect())
    }

    fn open(&mut self, span: Span, anchor: usize, tag: Option<&Tag>, kind: OpenKind) -> Result<(), Diagnostic> {
        let start = self.lines.place(span);
        let expected = if matches!(kind, OpenKind::List(..)) { "seq" } else { "map" };
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && tag.suffix == expected)
        {
            return Err(self.error(start, format!("the tag `{}{}` is not known", tag.handle, tag.suffix), "remove the tag"));
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(self.error(
                start,
                "nested more than 64 levels deep",
                "no manifest needs that; check the brackets and the indentation",
            ));
        }
        if self.wants_key() {
            let hint = "write a plain word as the key; a template such as `{{ name }}` has to be in quotes, or filled in first";
            return Err(self.error(start, "a list or a map is used as a key", hint));
        }
        self.stack.push(Open { start, anchor, kind });
        Ok(())
    }

    fn wants_key(&self) -> bool {
        matches!(self.stack.last(), Some(Open { kind: OpenKind::Map { key: None, .. }, .. }))
    }

    fn close(&mut self, span: Span) -> Result<(), Diagnostic> {
        let Some(Open { start, anchor, kind }) = self.stack.pop() else { return Ok(()) };
        let end = self.lines.place(span).span.end.max(start.span.start);
        let (value, parts, last) = match kind {
            OpenKind::List(values, places) => {
                let last = places.last().map(|places| places.place.span.end);
                (Value::Array(values), Parts::List(places), last)
            }
            OpenKind::Map { values, places, .. } => {
                let last = places.last().map(|(.., places)| places.place.span.end);
                (Value::Object(values), Parts::Map(places), last)
            }
        };
        let flow = matches!(self.lines.text.as_bytes().get(start.span.start), Some(b'{' | b'['));
        let end = if flow { end } else { last.unwrap_or(end) };
        let place = Place { span: start.span.start..end.max(start.span.start), ..start };
        self.put((value, Places { place, parts }), anchor, 1)
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), Diagnostic> {
        let place = self.lines.place(span);
        if self.wants_key() {
            return Err(self.error(place, "an alias is used as a key", "write the key itself"));
        }
        let Some((node, size)) = self.anchors.get(&id) else {
            return Err(self.error(
                place,
                "the alias is inside the value that it names",
                "an alias can only repeat something that stands before it",
            ));
        };
        let size = *size;
        // Counted before it is copied, so that nothing big is ever made.
        if self.values + size > MAX_VALUES {
            let hint = "aliases of aliases multiply; write out what is needed";
            return Err(self.error(place, "the aliases expand to more than 50,000 values", hint));
        }
        let (value, mut places) = node.clone();
        places.place = place;
        self.put((value, places), 0, size)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, tag: Option<&Tag>, place: Place) -> Result<(), Diagnostic> {
        let plain = style == ScalarStyle::Plain;
        if self.wants_key() {
            return self.key(text, plain, place);
        }
        let value = match tag {
            None => resolve(text, plain),
            Some(tag) if tag.handle == "!" && tag.suffix.is_empty() => Ok(Value::String(text.to_owned())),
            Some(tag) if tag.is_yaml_core_schema() => tagged(text, &tag.suffix),
            Some(tag) => Err(format!("the tag `{}{}` is not known", tag.handle, tag.suffix)),
        };
        let value = value.unwrap_or_else(|message| {
            let error = self.error(place.clone(), message, "write a plain number or text");
            self.errors.push(error);
            Value::Null
        });
        self.put((value, Places { place, parts: Parts::None }), anchor, 1)
    }

    fn key(&mut self, text: &str, plain: bool, place: Place) -> Result<(), Diagnostic> {
        if plain && text == "<<" {
            let hint = "repeat the fields here, or repeat a whole value by its alias, such as `target: *payments`";
            return Err(self.error(place, "merge keys (`<<`) are not part of YAML 1.2", hint));
        }
        if plain && text.is_empty() {
            return Err(self.error(place, "a value without a key", "write `key: value`"));
        }
        let Some(Open { kind: OpenKind::Map { key, values, places }, .. }) = self.stack.last_mut() else { return Ok(()) };
        let first =
            values.contains_key(text).then(|| places.iter().find(|(name, ..)| name == text).map(|(_, place, _)| place.line)).flatten();
        *key = Some((text.to_owned(), place.clone()));
        if let Some(line) = first {
            let error =
                self.error(place, format!("`{text}` is written twice"), &format!("the first is on line {line}; keep one of the two"));
            self.errors.push(error);
        }
        Ok(())
    }

    fn put(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), Diagnostic> {
        self.values += size;
        if self.values > MAX_VALUES {
            return Err(self.error(node.1.place, "more than 50,000 values", "no manifest needs that; check that this is the right file"));
        }
        if anchor != 0 {
            let size = count(&node.0);
            self.anchors.insert(anchor, (node.clone(), size));
            // The copy that is kept counts too: nested anchors would otherwise copy a text over and over.
            self.values += size;
        }
        let (value, node) = node;
        match self.stack.last_mut() {
            None => self.done = Some((value, node)),
            Some(Open { kind: OpenKind::List(values, places), .. }) => {
                values.push(value);
                places.push(node);
            }
            Some(Open { kind: OpenKind::Map { values, places, key }, .. }) => {
                if let Some((key, place)) = key.take() {
                    values.insert(key.clone(), value);
                    places.push((key, place, node));
                }
            }
        }
        Ok(())
    }

    fn scan_error(&self, error: &ScanError) -> Diagnostic {
        let mark = *error.marker();
        let place = self.lines.place(Span::empty(mark));
        let place = point(self.lines.text, &place);
        let line = self.lines.text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
        let (message, hint) = explain_scan_error(error.info(), line);
        self.lines.diagnostic(place, message, hint.map(str::to_owned), &self.path())
    }
}

/// One character wide, so that there is something to point at.
fn point(text: &str, place: &Place) -> Place {
    let start = place.span.start;
    let width = text[start..].chars().next().map_or(0, char::len_utf8);
    Place { span: start..start + width, ..*place }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

/// The parser's words in ours, with what usually is behind them.
fn explain_scan_error(info: &str, line: &str) -> (String, Option<&'static str>) {
    const BRACKETS: &str = "close every `{` and `[`, and put `,` between their elements";
    const INDENT: &str = "the keys of one map start in the same column; use two spaces for each level";
    const QUOTE: &str = "put the text in quotes: a colon followed by a space starts a new key, `#` a comment";
    let indented_with_tab = line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
    if indented_with_tab || info.contains("tab") {
        return ("a tab is used for indentation".into(), Some("YAML is indented with spaces only: replace each tab by two"));
    }
    let known: &[(&str, &str, &str)] = &[
        ("mapping values are not allowed", "a `:` that starts a value is not expected here", QUOTE),
        ("did not find expected ',' or '}'", "a `{` is not closed, or a `,` is missing", BRACKETS),
        ("expected ',' or ']'", "a `[` is not closed, or a `,` is missing", BRACKETS),
        ("misplaced bracket", "a closing bracket without its opening one", BRACKETS),
        ("unexpected end of stream", "a quoted text is not closed", "close it with the quote that it starts with"),
        (
            "trailing content after double-quoted",
            "text after a closing quote",
            "escape a quote within a text as \\\", or put the text in single quotes",
        ),
        (
            "unknown escape character",
            "an unknown escape in a double-quoted text",
            "write \\\\ for a backslash, or put the text in single quotes",
        ),
        ("unknown anchor", "this alias names no anchor", "set the anchor before it, such as `&payments`"),
        ("invalid indentation in flow", "a `{` or `[` above is not closed", BRACKETS),
        ("invalid indentation in quoted", "a quoted text is not closed", "close it with the quote that it starts with"),
        ("did not find expected key", "the indentation does not fit the lines before", INDENT),
        ("did not find expected '-' indicator", "the indentation does not fit the lines before", INDENT),
        ("invalid indentation", "the indentation does not fit the lines before", INDENT),
        ("simple key expect", "a key without its `:`", "write `key: value`, or put a text of several lines in quotes"),
        ("block sequence entries are not allowed", "a list element (`-`) is not expected here", "start the list on the line after its key"),
        ("only valid inside a block", "a `-` list inside brackets", "inside `[ ]` elements are separated by commas, without `-`"),
        (
            "did not find expected node content",
            "a value is missing or starts with a character that YAML reserves",
            "put the text in quotes",
        ),
        ("cannot start with", "a text starts with a character that YAML reserves", "put the text in quotes"),
        ("unexpected character", "a text starts with a character that YAML reserves", "put the text in quotes"),
        ("recursion limit", "nested too deeply", "no manifest needs that; check the brackets"),
        ("the handle wasn't declared", "an unknown tag", "remove the tag, or put the text in quotes if it starts with `!`"),
        ("did not find expected <document start>", "text after the end of the document", "one file holds one manifest"),
        ("unprintable", "an unprintable character", "save the file as UTF-8 text"),
    ];
    let found = known.iter().find(|(pattern, ..)| info.contains(pattern));
    found.map_or_else(|| (format!("not valid YAML: {info}"), None), |(_, message, hint)| ((*message).into(), Some(*hint)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Document;
    use proptest::prelude::*;
    use serde_json::json;

    fn value(text: &str) -> Value {
        Document::parse(text).expect(text).value
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        let text = "a: 1\nb: 0x1F\nc: 0o17\nd: 1.5e3\ne: .5\nf: yes\ng: 'true'\nh: TRUE\ni: ~\nj:\nk: 012\nl: 1_000\nm: -7\nn: 1.\no: +12\np: 1e3\nq: e3\n";
        let expected = json!({ "a": 1, "b": 31, "c": 15, "d": 1500.0, "e": 0.5, "f": "yes", "g": "true", "h": true, "i": null, "j": null,
            "k": 12, "l": "1_000", "m": -7, "n": 1.0, "o": 12, "p": 1000.0, "q": "e3" });
        assert_eq!(value(text), expected);
    }

    #[test]
    fn json_is_read_too() {
        let text = "{\n  \"a\": [1, 2.5, \"x\\u00e9\\n\", null, true],\n  \"b\": { \"c\": {} }\n}";
        assert_eq!(value(text), serde_json::from_str::<Value>(text).expect("JSON"));
    }

    #[test]
    fn places_are_right_behind_multibyte_characters() {
        let text = "# käse ☂\n\"größe ☔\": { a: 'ü🌧', b: [x, schön, z] }\r\nnext: |\n  täxt\nlast: end\n";
        let document = Document::parse(text).expect("good");
        let path = |keys: &[&str]| keys.iter().fold(Path::default(), |path, key| path.key(key));
        let shown = |place: Place| (&text[place.span], place.line, place.column);
        assert_eq!(shown(document.place(&path(&["größe ☔", "a"]))), ("'ü🌧'", 2, 17));
        assert_eq!(shown(document.key_place(&path(&["größe ☔"]))), ("\"größe ☔\"", 2, 1));
        assert_eq!(shown(document.place(&path(&["größe ☔", "b"]).index(1))), ("schön", 2, 30));
        assert_eq!(shown(document.place(&path(&["größe ☔"]))), ("{ a: 'ü🌧', b: [x, schön, z] }", 2, 12));
        assert_eq!(shown(document.place(&path(&["last"]))), ("end", 5, 7));
        assert_eq!(shown(document.key_place(&path(&["next"]))), ("next", 3, 1));
    }

    #[test]
    fn aliases_repeat_values_but_do_not_explode() {
        assert_eq!(value("a: &x { b: 1 }\nc: *x\n"), json!({ "a": { "b": 1 }, "c": { "b": 1 } }));
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let alias = format!("*a{}", i - 1);
            bomb += &["a", &i.to_string(), ": &a", &i.to_string(), " [", &vec![alias; 10].join(", "), "]\n"].concat();
        }
        let errors = Document::parse(&bomb).expect_err("a bomb");
        assert_eq!(errors[0].message, "the aliases expand to more than 50,000 values");
        assert!(Document::parse("a: &a [*a]").is_err());
    }

    #[test]
    fn one_long_line_takes_no_longer_than_many_short_ones() {
        let items = vec!["ü"; 40_000].join(", ");
        let document = Document::parse(&format!("a: [{items}]")).expect("good");
        let place = document.place(&Path::default().key("a").index(39_999));
        assert_eq!((place.line, place.column), (1, 5 + 3 * 39_999));
        assert_eq!(&document.text[place.span], "ü");
    }

    #[test]
    fn depth_and_size_are_bounded() {
        assert!(Document::parse(&"[".repeat(100_000)).is_err());
        assert!(Document::parse(&"- ".repeat(100_000)).is_err());
        assert!(Document::parse(&"a".repeat(MAX_BYTES + 1)).is_err());
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~äß☂🌧]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec(("[ -~äß☂🌧]{1,8}", inner), 0..6).prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    /// Every value's span, read by itself, gives the value.
    fn check_spans(document: &Document, value: &Value, path: &Path) {
        let place = document.place(path);
        let text = &document.text[place.span];
        assert_eq!(&serde_json::from_str::<Value>(text).unwrap_or_else(|e| panic!("{e}: {text} at {path}")), value);
        match value {
            Value::Array(items) => items.iter().enumerate().for_each(|(i, item)| check_spans(document, item, &path.index(i))),
            Value::Object(map) => {
                for (key, item) in map {
                    let path = path.key(key);
                    let place = document.key_place(&path);
                    assert_eq!(&serde_json::from_str::<String>(&document.text[place.span]).expect("a key"), key);
                    check_spans(document, item, &path);
                }
            }
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn what_is_written_as_json_is_read_back_with_its_places(value in json_value()) {
            let value = json!({ "root": value });
            for text in [serde_json::to_string_pretty(&value).expect("JSON"), serde_json::to_string(&value).expect("JSON").replace("\":", "\": ")] {
                let Ok(document) = Document::parse(&text) else { continue };
                prop_assume!(serde_json::from_str::<Value>(&text).is_ok_and(|read| read == value));
                prop_assert_eq!(&document.value, &value);
                check_spans(&document, &value, &Path::default());
            }
            prop_assert!(Document::parse(&serde_json::to_string_pretty(&value).expect("JSON")).is_ok());
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[ -~\\n\\tä☂:{}\\[\\]&*\"'|>#%@-]{0,80}") {
            if let Err(errors) = Document::parse(&text) {
                for error in errors {
                    prop_assert!(text.is_char_boundary(error.span.start) && text.is_char_boundary(error.span.end));
                    prop_assert!(error.span.end <= text.len() && error.line >= 1 && error.column >= 1);
                }
            }
        }
    }
}
