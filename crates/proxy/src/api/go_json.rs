//! Reads JSON as Go's `encoding/json` does: the first value of a body, field names in any case, null for nothing, and its
//! error messages, which clients show to people and which test suites compare.

use serde_json::{Map, Value};

/// Levels of lists and objects in each other.
const MAX_DEPTH: usize = 100;

/// The first value in the body. What follows it is ignored, as Go's decoder reads streams of values.
pub(super) fn first_value(body: &[u8]) -> Result<Value, String> {
    let mut scanner = Scanner { bytes: body, at: 0 };
    scanner.space();
    let start = scanner.at;
    if start == body.len() {
        return Err("EOF".into());
    }
    scanner.value(0)?;
    let text = String::from_utf8_lossy(&body[start..scanner.at]);
    serde_json::from_str(&text).map_err(|error| format!("invalid value: {error}"))
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Result<u8, String> {
        let byte = *self.bytes.get(self.at).ok_or("unexpected EOF")?;
        self.at += 1;
        Ok(byte)
    }

    fn value(&mut self, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("exceeded max depth".into());
        }
        self.space();
        match self.next()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'-' => match self.next()? {
                digit @ b'0'..=b'9' => self.number(digit),
                other => invalid(other, "in numeric literal"),
            },
            digit @ b'0'..=b'9' => self.number(digit),
            other => invalid(other, "looking for beginning of value"),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), String> {
        self.space();
        if self.bytes.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            match self.next()? {
                b'"' => self.string()?,
                other => return invalid(other, "looking for beginning of object key string"),
            }
            self.space();
            match self.next()? {
                b':' => self.value(depth + 1)?,
                other => return invalid(other, "after object key"),
            }
            self.space();
            match self.next()? {
                b',' => {}
                b'}' => return Ok(()),
                other => return invalid(other, "after object key:value pair"),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), String> {
        self.space();
        if self.bytes.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            self.space();
            match self.next()? {
                b',' => {}
                b']' => return Ok(()),
                other => return invalid(other, "after array element"),
            }
        }
    }

    fn string(&mut self) -> Result<(), String> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            match self.next()? {
                                b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' => {}
                                other => return invalid(other, "in \\u hexadecimal character escape"),
                            }
                        }
                    }
                    other => return invalid(other, "in string escape code"),
                },
                control @ 0..0x20 => return invalid(control, "in string literal"),
                _ => {}
            }
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for expected in word.bytes().skip(1) {
            match self.next()? {
                found if found == expected => {}
                other => return invalid(other, &format!("in literal {word} (expecting {})", quoted(expected))),
            }
        }
        Ok(())
    }

    fn digits(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn number(&mut self, first: u8) -> Result<(), String> {
        if first != b'0' {
            self.digits();
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            match self.next()? {
                b'0'..=b'9' => self.digits(),
                other => return invalid(other, "after decimal point in numeric literal"),
            }
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            let mut byte = self.next()?;
            if matches!(byte, b'+' | b'-') {
                byte = self.next()?;
            }
            match byte {
                b'0'..=b'9' => self.digits(),
                other => return invalid(other, "in exponent of numeric literal"),
            }
        }
        Ok(())
    }
}

fn invalid<T>(byte: u8, context: &str) -> Result<T, String> {
    Err(format!("invalid character {} {context}", quoted(byte)))
}

fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".into(),
        b'"' => "'\"'".into(),
        b'\\' => r"'\\'".into(),
        b'\n' => r"'\n'".into(),
        b'\r' => r"'\r'".into(),
        b'\t' => r"'\t'".into(),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}

/// What Go calls a value that does not fit.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The fields of one of Go's structs in an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    structure: &'static str,
    /// None for null, which leaves every field as it is.
    map: Option<&'a Map<String, Value>>,
}

impl<'a> Fields<'a> {
    /// `structure` is how Go's messages call the struct, `root` its type.
    pub(super) fn of(value: &'a Value, structure: &'static str, root: &str) -> Result<Self, String> {
        match value {
            Value::Object(map) => Ok(Self { structure, map: Some(map) }),
            Value::Null => Ok(Self { structure, map: None }),
            other => Err(format!("json: cannot unmarshal {} into Go value of type {root}", kind(other))),
        }
    }

    /// The last field of this name, in any case, that is not null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        let fields = self.map.into_iter().flatten();
        fields.filter(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_null()).map(|(_, value)| value).next_back()
    }

    fn wrong<T>(&self, name: &str, value: &Value, wanted: &str) -> Result<T, String> {
        Err(format!("json: cannot unmarshal {} into Go struct field {}.{name} of type {wanted}", kind(value), self.structure))
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<String>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => self.wrong(name, other, "string"),
        }
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(is)) => Ok(Some(*is)),
            Some(other) => self.wrong(name, other, "bool"),
        }
    }

    pub(super) fn float32(&self, name: &str) -> Result<Option<f64>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(other) => self.wrong(name, other, "float32"),
        }
    }

    pub(super) fn object(&self, name: &str, wanted: &str) -> Result<Map<String, Value>, String> {
        match self.get(name) {
            None => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map.clone()),
            Some(other) => self.wrong(name, other, wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn errors_are_worded_as_go_words_them() {
        for (body, error) in [
            ("", "EOF"),
            (" \n", "EOF"),
            ("{", "unexpected EOF"),
            ("{\"a\":1", "unexpected EOF"),
            ("tru", "unexpected EOF"),
            ("nope", "invalid character 'o' in literal null (expecting 'u')"),
            ("lol", "invalid character 'l' looking for beginning of value"),
            ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("\"\\u00g0\"", "invalid character 'g' in \\u hexadecimal character escape"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("'a'", "invalid character '\\'' looking for beginning of value"),
        ] {
            assert_eq!(first_value(body.as_bytes()).unwrap_err(), error, "{body:?}");
        }
    }

    #[test]
    fn only_the_first_value_counts() {
        assert_eq!(first_value(b" {\"a\": [1, -2.5e3, true, null]} trailing").unwrap(), json!({"a": [1, -2500.0, true, null]}));
        assert_eq!(first_value(b"01").unwrap(), json!(0));
    }

    #[test]
    fn fields_are_found_in_any_case_and_null_is_nothing() {
        let value = json!({"NAME": "a", "name": null, "enabled": 1});
        let fields = Fields::of(&value, "Proxy", "toxiproxy.Proxy").unwrap();
        assert_eq!(fields.string("name").unwrap().as_deref(), Some("a"));
        assert_eq!(fields.string("listen").unwrap(), None);
        assert_eq!(fields.boolean("enabled").unwrap_err(), "json: cannot unmarshal number into Go struct field Proxy.enabled of type bool");
        let error = Fields::of(&json!([]), "Proxy", "toxiproxy.Proxy").unwrap_err();
        assert_eq!(error, "json: cannot unmarshal array into Go value of type toxiproxy.Proxy");
    }

    proptest! {
        #[test]
        fn whatever_is_json_is_read_and_nothing_panics(body in "[\\[\\]{}\",:0-9a-z.eE\\\\ +-]{0,40}") {
            let read = first_value(body.as_bytes());
            if let Ok(value) = serde_json::from_str::<Value>(&body) {
                prop_assert_eq!(read.unwrap(), value);
            }
        }
    }
}
