//! Takes the values of secrets out of everything that a report shows.
//!
//! Three ways, because a secret can stand in a manifest in three ways: as the value of a key that is named like one
//! (`Authorization`, `PGPASSWORD`), within a string (`-H "Authorization: Bearer …"`, a URL with a password), and, once known,
//! anywhere else word for word: in what a probe answered, in an error, in the evidence.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;
use squall_model::{Document, Path};

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";

/// A word of a secret's value that is shorter than this is not looked for elsewhere: it would hit innocent text.
const SHORTEST: usize = 5;

/// Names of keys, headers and variables whose values are secrets.
static SECRET_NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)authorization|token|passw(or)?d|passphrase|secret|api[-_]?key|access[-_]?key|private[-_]?key|credential|cookie")
        .expect("a good pattern")
});

/// A header or variable with its value within a longer text.
static IN_TEXT: LazyLock<Regex> = LazyLock::new(|| {
    let names = r"[\w-]*(?:token|passw(?:or)?d|passphrase|secret|api[-_]?key|access[-_]?key|private[-_]?key|credential)[\w-]*";
    let pattern = format!(
        r#"(?i)\b(?:(?P<header>(?:proxy-)?authorization|(?:set-)?cookie)|(?P<name>{names}))(?P<sign>["']?\s*[:=]\s*["']?)(?:(?P<rest>[^"'`\n,}}\]]+))"#
    );
    Regex::new(&pattern).expect("a good pattern")
});

/// The user's part of a URL, with its password.
static USERINFO: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"://[^/\s:@\x22']*:[^/\s@\x22']+@").expect("a good pattern"));

/// Knows a manifest's secrets and takes them out of texts.
#[derive(Debug, Clone)]
pub struct Redactor {
    manifest: String,
    secrets: Vec<String>,
}

impl Redactor {
    /// Looks for secrets in a manifest.
    pub fn new(manifest: &str) -> Self {
        let mut found = Found::default();
        if let Ok(document) = Document::parse(manifest) {
            found.walk(&document.value, &Path::default());
            found.spans = found.paths.iter().map(|path| document.place(path).span).collect();
        }
        let mut secrets = found.secrets;
        // The longest first: one may be part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        let mut redactor = Self { manifest: String::new(), secrets };
        redactor.manifest = redactor.text(&cut(manifest, found.spans));
        redactor
    }

    /// The manifest without its secrets.
    pub fn manifest(&self) -> &str {
        &self.manifest
    }

    /// A text without secrets.
    pub fn text(&self, text: &str) -> String {
        let mut text = USERINFO.replace_all(text, format!("://{REDACTED}@")).into_owned();
        for secret in &self.secrets {
            if text.contains(secret) {
                text = text.replace(secret, REDACTED);
            }
        }
        IN_TEXT
            .replace_all(&text, |found: &Captures<'_>| {
                let rest = &found["rest"];
                // A header's value goes on to the end of the string, another's only to the next space.
                let end = if found.name("header").is_some() { rest.len() } else { rest.find(char::is_whitespace).unwrap_or(rest.len()) };
                let before = &found[0][..found[0].len() - rest.len()];
                if done(&rest[..end]) { found[0].to_owned() } else { format!("{before}{REDACTED}{}", &rest[end..]) }
            })
            .into_owned()
    }

    /// A JSON value without secrets, as text on one line.
    pub fn json(&self, value: &Value) -> String {
        let mut value = value.clone();
        strip(&mut value);
        self.text(&squall_model::inline(&value))
    }
}

/// Nothing is left to take out: it was done before, or the value stands in a block below.
fn done(value: &str) -> bool {
    value.is_empty()
        || value.starts_with("[redacted")
        || value.trim_matches(['-', '+', ' ']) == "|"
        || value.trim_matches(['-', '+', ' ']) == ">"
}

#[derive(Default)]
struct Found {
    paths: Vec<Path>,
    spans: Vec<std::ops::Range<usize>>,
    secrets: Vec<String>,
}

impl Found {
    fn walk(&mut self, value: &Value, path: &Path) {
        match value {
            Value::Object(map) => {
                // `{ name: Authorization, value: … }`, as lists of headers and variables are often written.
                let named = map.get("name").and_then(Value::as_str).is_some_and(|name| SECRET_NAME.is_match(name));
                for (key, inner) in map {
                    let path = path.key(key);
                    if is_value(inner) && (SECRET_NAME.is_match(key) || (named && key == "value")) {
                        self.take(inner, path);
                    } else {
                        self.walk(inner, &path);
                    }
                }
            }
            Value::Array(items) => {
                for (i, inner) in items.iter().enumerate() {
                    self.walk(inner, &path.index(i));
                }
            }
            _ => {}
        }
    }

    fn take(&mut self, value: &Value, path: Path) {
        let mut keep = |text: &str| {
            self.secrets.extend(text.split_whitespace().filter(|word| word.len() >= SHORTEST).map(str::to_owned));
        };
        match value {
            Value::String(text) => {
                keep(text.split_once(' ').filter(|(scheme, _)| is_scheme(scheme)).map_or(text.as_str(), |(_, rest)| rest));
            }
            other => collect(other, &mut keep),
        }
        self.paths.push(path);
    }
}

fn collect(value: &Value, keep: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => keep(text),
        Value::Array(items) => items.iter().for_each(|inner| collect(inner, keep)),
        Value::Object(map) => map.values().for_each(|inner| collect(inner, keep)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The first word of an `Authorization` header is not a secret, and too common to be taken out everywhere.
fn is_scheme(word: &str) -> bool {
    ["basic", "bearer", "digest", "token", "negotiate"].iter().any(|scheme| word.eq_ignore_ascii_case(scheme))
}

/// There is something to hide.
fn is_value(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(_)) && value.as_str() != Some("")
}

/// Puts the sign in place of the ranges. A range that ends with line breaks (a block) keeps them.
fn cut(text: &str, mut spans: Vec<std::ops::Range<usize>>) -> String {
    spans.sort_by_key(|span| span.start);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for span in spans {
        let Some(inside) = text.get(span.clone()).map(str::trim_end) else { continue };
        if span.start < at || inside.is_empty() {
            continue;
        }
        out.push_str(&text[at..span.start]);
        out.push('"');
        out.push_str(REDACTED);
        out.push('"');
        at = span.start + inside.len();
    }
    out.push_str(&text[at..]);
    out
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let named = map.get("name").and_then(Value::as_str).is_some_and(|name| SECRET_NAME.is_match(name));
            for (key, inner) in map {
                if is_value(inner) && (SECRET_NAME.is_match(key) || (named && key == "value")) {
                    *inner = REDACTED.into();
                } else {
                    strip(inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"# token=comment-secret
probes:
  - name: token age
    http: { url: "https://user:url-secret@host/x", headers: { Authorization: Bearer flow-secret, Accept: text } }
  - command: [curl, -H, "Authorization: Bearer line-secret", "--password=arg-secret", "x"]
env:
  PGPASSWORD: plain-secret
  API_KEY: 'quoted-secret'
  PATH: /usr/bin
  PRIVATE_KEY: |
    block-secret
    second-secret
headers:
  - name: X-Auth-Token
    value: listed-secret
  - { name: Accept, value: text }
"#;

    #[test]
    fn no_secret_of_a_manifest_is_left_in_it() {
        let shown = Redactor::new(MANIFEST).manifest().to_owned();
        assert!(!shown.contains("-secret"), "{shown}");
        for kept in ["name: token age", "Accept: text", "PATH: /usr/bin", "- name: X-Auth-Token", "curl", "@host/x", "value: text"] {
            assert!(shown.contains(kept), "`{kept}` is missing:\n{shown}");
        }
        assert!(Document::parse(&shown).is_ok(), "no longer a document:\n{shown}");
    }

    #[test]
    fn a_known_secret_is_taken_out_of_any_text() {
        let redactor = Redactor::new(MANIFEST);
        assert_eq!(redactor.text("answered `plain-secret` and flow-secret"), "answered `[redacted]` and [redacted]");
        assert_eq!(redactor.text("GET http://a:b@c/"), "GET http://[redacted]@c/");
        assert_eq!(redactor.text("Bearer of good news, basic facts"), "Bearer of good news, basic facts");
        assert_eq!(redactor.json(&serde_json::json!({ "env": { "TOKEN": 12 }, "n": 1 })), r#"{ env: { TOKEN: "[redacted]" }, n: 1 }"#);
    }

    #[test]
    fn a_text_that_is_no_document_is_still_searched() {
        assert_eq!(Redactor::new("{ password: hunter22").manifest(), "{ password: [redacted]");
    }
}
