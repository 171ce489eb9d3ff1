//! JSON by position: where each value of a text stands, so that one can be replaced and every other byte stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Values deeper than this are not looked into: the text counts as no JSON.
const DEPTH: usize = 128;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Its bytes in the text, without white space around it.
    pub range: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Object(Vec<Member>),
    Array(Vec<Node>),
    String,
    Number,
    Bool,
    Null,
}

/// A member of an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    pub name: String,
    /// Where its name starts.
    pub start: usize,
    pub value: Node,
}

/// One replacement of a range of a text.
pub(crate) type Edit = (Range<usize>, String);

/// The one value of this text; `None` where it is not JSON (RFC 8259).
pub(crate) fn parse(text: &[u8]) -> Option<Node> {
    // The library checks the grammar, so that what follows only has to find its way.
    serde_json::from_str::<serde::de::IgnoredAny>(std::str::from_utf8(text).ok()?).ok()?;
    Reader { text, at: 0 }.value(0)
}

/// The text with these ranges replaced. Ranges that overlap are replaced as one, by the text of the first.
pub(crate) fn apply(text: &[u8], mut edits: Vec<Edit>) -> Vec<u8> {
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let mut merged: Vec<Edit> = Vec::with_capacity(edits.len());
    for (range, new) in edits {
        match merged.last_mut() {
            Some((last, _)) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push((range, new)),
        }
    }
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    for (range, new) in merged {
        out.extend_from_slice(&text[at..range.start]);
        out.extend_from_slice(new.as_bytes());
        at = range.end;
    }
    out.extend_from_slice(&text[at..]);
    out
}

/// This text as a JSON string, with quotes.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn space(&mut self) -> Option<u8> {
        while matches!(self.text.get(self.at)?, b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn value(&mut self, depth: usize) -> Option<Node> {
        let first = self.space()?;
        if depth > DEPTH {
            return None;
        }
        let start = self.at;
        let kind = match first {
            b'{' => Kind::Object(self.members(depth)?),
            b'[' => Kind::Array(self.elements(depth)?),
            b'"' => {
                self.string()?;
                Kind::String
            }
            b't' | b'f' => {
                self.word();
                Kind::Bool
            }
            b'n' => {
                self.word();
                Kind::Null
            }
            _ => {
                self.word();
                Kind::Number
            }
        };
        Some(Node { range: start..self.at, kind })
    }

    fn word(&mut self) {
        while self.text.get(self.at).is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')) {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Option<String> {
        let start = self.at;
        self.at += 1;
        while *self.text.get(self.at)? != b'"' {
            self.at += if self.text[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        serde_json::from_slice(&self.text[start..self.at]).ok()
    }

    fn members(&mut self, depth: usize) -> Option<Vec<Member>> {
        let mut members = Vec::new();
        self.at += 1;
        while self.space()? != b'}' {
            if self.text[self.at] == b',' {
                self.at += 1;
                self.space()?;
            }
            let start = self.at;
            let name = self.string()?;
            self.space()?;
            self.at += 1; // the colon
            members.push(Member { name, start, value: self.value(depth + 1)? });
        }
        self.at += 1;
        Some(members)
    }

    fn elements(&mut self, depth: usize) -> Option<Vec<Node>> {
        let mut elements = Vec::new();
        self.at += 1;
        while self.space()? != b']' {
            if self.text[self.at] == b',' {
                self.at += 1;
            }
            elements.push(self.value(depth + 1)?);
        }
        self.at += 1;
        Some(elements)
    }
}

/// A value that a pointer found: the `index`th child of `parent`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    pub parent: &'a Node,
    pub index: usize,
    pub value: &'a Node,
}

impl Node {
    /// The member of this name.
    pub fn get(&self, name: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Object(members) => members.iter().rev().find(|member| member.name == name).map(|member| &member.value),
            _ => None,
        }
    }

    /// The elements of an array; none of anything else.
    pub fn elements(&self) -> &[Node] {
        if let Kind::Array(elements) = &self.kind { elements } else { &[] }
    }

    /// The text of a string.
    pub fn text(&self, text: &[u8]) -> Option<String> {
        if self.kind == Kind::String { serde_json::from_slice(&text[self.range.clone()]).ok() } else { None }
    }

    /// Whether it is a string of at least one character.
    pub fn is_filled(&self) -> bool {
        self.kind == Kind::String && self.range.len() > 2
    }

    /// Everything that this pointer means: a JSON Pointer (RFC 6901) in which `*` stands for each element or member.
    /// The document itself (the empty pointer) has no parent, and is not found.
    pub fn select<'a>(&'a self, pointer: &Pointer, found: &mut Vec<Found<'a>>) {
        self.descend(&pointer.0, found);
    }

    fn descend<'a>(&'a self, segments: &[Segment], found: &mut Vec<Found<'a>>) {
        let Some((segment, rest)) = segments.split_first() else { return };
        for (index, (name, value)) in self.children().into_iter().enumerate() {
            let fits = match segment {
                Segment::Any => true,
                Segment::Name(wanted) => match name {
                    Some(name) => name == wanted,
                    None => wanted.parse() == Ok(index),
                },
            };
            if fits && rest.is_empty() {
                found.push(Found { parent: self, index, value });
            } else if fits {
                value.descend(rest, found);
            }
        }
    }

    fn children(&self) -> Vec<(Option<&str>, &Node)> {
        match &self.kind {
            Kind::Object(members) => members.iter().map(|member| (Some(member.name.as_str()), &member.value)).collect(),
            Kind::Array(elements) => elements.iter().map(|element| (None, element)).collect(),
            _ => Vec::new(),
        }
    }

    /// Each value in the order of the text, with the name of the member that it is.
    pub fn walk<'a>(&'a self, name: Option<&'a str>, see: &mut impl FnMut(Option<&'a str>, &'a Node)) {
        see(name, self);
        for (name, child) in self.children() {
            child.walk(name, see);
        }
    }

    /// Where each child starts (with its name) and ends.
    fn spans(&self) -> Vec<Range<usize>> {
        match &self.kind {
            Kind::Object(members) => members.iter().map(|member| member.start..member.value.range.end).collect(),
            Kind::Array(elements) => elements.iter().map(|element| element.range.clone()).collect(),
            _ => Vec::new(),
        }
    }
}

/// Edits that take these values out of their objects and arrays, with the commas that they need no more.
pub(crate) fn removals(found: &[Found]) -> Vec<Edit> {
    let mut parents: BTreeMap<usize, (&Node, BTreeSet<usize>)> = BTreeMap::new();
    for one in found {
        parents.entry(one.parent.range.start).or_insert((one.parent, BTreeSet::new())).1.insert(one.index);
    }
    let mut edits = Vec::new();
    for (parent, gone) in parents.values() {
        let spans = parent.spans();
        let last_kept = (0..spans.len()).rev().find(|index| !gone.contains(index));
        for &index in gone {
            let range = match last_kept {
                Some(kept) if kept > index => spans[index].start..spans[index + 1].start,
                Some(kept) => spans[kept].end..spans[index].end,
                None => spans[0].start..spans[spans.len() - 1].end,
            };
            edits.push((range, String::new()));
        }
    }
    edits
}

/// A JSON Pointer (RFC 6901) in which `*` stands for any element or member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Any,
    Name(String),
}

impl Pointer {
    /// Reads `/items/*/price`.
    pub fn parse(text: &str) -> Option<Self> {
        let segments = text.strip_prefix('/')?.split('/').map(|segment| match segment {
            "*" => Segment::Any,
            name => Segment::Name(name.replace("~1", "/").replace("~0", "~")),
        });
        Some(Self(segments.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn removed(text: &str, pointers: &[&str]) -> String {
        let node = parse(text.as_bytes()).unwrap();
        let mut found = Vec::new();
        for pointer in pointers {
            node.select(&Pointer::parse(pointer).unwrap(), &mut found);
        }
        String::from_utf8(apply(text.as_bytes(), removals(&found))).unwrap()
    }

    #[test]
    fn members_are_removed_with_the_comma_that_they_need_no_more() {
        let text = r#"{ "a": 1, "b" : [ 1 , 2,3 ], "c": {} }"#;
        assert_eq!(removed(text, &["/a"]), r#"{ "b" : [ 1 , 2,3 ], "c": {} }"#);
        assert_eq!(removed(text, &["/c", "/b"]), r#"{ "a": 1 }"#);
        assert_eq!(removed(text, &["/a", "/c"]), r#"{ "b" : [ 1 , 2,3 ] }"#);
        assert_eq!(removed(text, &["/*"]), "{  }");
        assert_eq!(removed(text, &["/b/1", "/b/0"]), r#"{ "a": 1, "b" : [ 3 ], "c": {} }"#);
        assert_eq!(removed(text, &["/x", "/a/b", "/b/7"]), text);
    }

    #[test]
    fn pointers_escape_and_texts_that_are_not_json_are_told() {
        assert_eq!(removed(r#"{"a/b":{"~":1,"*":2}}"#, &["/a~1b/~0"]), r#"{"a/b":{"*":2}}"#);
        assert_eq!(Pointer::parse("a"), None);
        for text in ["", "{", "[1,]", "nul", "{} x", r#"{"a" 1}"#, &"[".repeat(200), &format!("{}{}", "[".repeat(200), "]".repeat(200))] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                proptest::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Whether each node stands where its value does.
    fn check(text: &str, node: &Node, value: &serde_json::Value) {
        assert_eq!(&serde_json::from_str::<serde_json::Value>(&text[node.range.clone()]).unwrap(), value);
        match (&node.kind, value) {
            (Kind::Object(members), serde_json::Value::Object(map)) => {
                assert_eq!(members.len(), map.len());
                for member in members {
                    check(text, &member.value, &map[&member.name]);
                }
            }
            (Kind::Array(nodes), serde_json::Value::Array(values)) => {
                assert_eq!(nodes.len(), values.len());
                for (node, value) in nodes.iter().zip(values) {
                    check(text, node, value);
                }
            }
            (Kind::String, serde_json::Value::String(_))
            | (Kind::Number, serde_json::Value::Number(_))
            | (Kind::Bool, serde_json::Value::Bool(_))
            | (Kind::Null, serde_json::Value::Null) => {}
            other => panic!("{other:?}"),
        }
    }
    proptest! {
        #[test]
        fn each_value_stands_where_it_is_said_to(value in any_json(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            check(&text, &parse(text.as_bytes()).unwrap(), &value);
        }

        #[test]
        fn what_is_left_after_removals_is_json(value in any_json(), pointers in proptest::collection::vec("(/(\\*|[0-4])){1,4}", 1..4)) {
            let text = value.to_string();
            let pointers: Vec<_> = pointers.iter().map(String::as_str).collect();
            let left = removed(&text, &pointers);
            prop_assert!(parse(left.as_bytes()).is_some(), "{left}");
        }
    }
}
