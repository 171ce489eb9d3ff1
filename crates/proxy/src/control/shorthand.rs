//! Toxics, rules and TLS in one line, for a command line and for tests.
//!
//! ```text
//! latency:latency=200,jitter=20;stream=upstream;toxicity=0.5;for=30s
//! http.abort:status=503;percent=10;path=/v1/*;header.x-user=alice
//! └── kind ─┘└ settings ┘└ everything else, one by one ────────────┘
//! upstream=plain,names=["*.example.com"]
//! └ settings of the `tls` block ────────┘
//! ```

use std::str::FromStr;

use serde_json::{Map, Value};

use super::NewToxic;
use crate::rule::{MatchSpec, RuleSpec, StickySpec};
use crate::tls::TlsSpec;

/// A line that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{part}`: {problem}")]
pub struct ShorthandError {
    /// The part of the line that is wrong.
    pub part: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

fn wrong<T>(part: &str, problem: impl Into<String>) -> Result<T, ShorthandError> {
    Err(ShorthandError { part: part.to_owned(), problem: problem.into() })
}

/// Reads a toxic: `TYPE[:ATTRIBUTE=NUMBER,…][;OPTION=VALUE…]` with the options `stream`, `toxicity`, `name` and `for`.
///
/// ```
/// let toxic = squall_proxy::control::parse_toxic("latency:latency=200,jitter=20;stream=upstream;toxicity=0.5").unwrap();
/// assert_eq!((toxic.kind.as_str(), toxic.stream.as_str(), toxic.toxicity), ("latency", "upstream", 0.5));
/// ```
pub fn parse_toxic(text: &str) -> Result<NewToxic, ShorthandError> {
    let (kind, settings, options) = take_apart(text)?;
    let mut toxic = NewToxic::new(kind, settings);
    for (key, value) in options {
        match key {
            "stream" => value.clone_into(&mut toxic.stream),
            "name" => value.clone_into(&mut toxic.name),
            "toxicity" => toxic.toxicity = share(key, value)?,
            "for" => toxic.time_box = Some(parsed(key, value)?),
            _ => return wrong(key, "a toxic has the options `stream`, `toxicity`, `name` and `for`"),
        }
    }
    Ok(toxic)
}

/// Reads a rule: `FAULT[:SETTING=VALUE,…][;OPTION=VALUE…]` with the options `percent`, `control`, `attempts`, `for`, `name`,
/// `sticky` (`client`, `header:NAME`, `cookie:NAME`, `query:NAME`), and, for what it matches, `method` (`GET,POST`), `path`,
/// `host`, `header.NAME`, `query.NAME` and `body./POINTER`.
///
/// ```
/// let rule = squall_proxy::control::parse_rule("http.abort:status=503;percent=10;path=/v1/*").unwrap();
/// assert_eq!((rule.fault.as_str(), rule.with["status"].as_u64()), ("http.abort", Some(503)));
/// ```
pub fn parse_rule(text: &str) -> Result<RuleSpec, ShorthandError> {
    let (fault, with, options) = take_apart(text)?;
    let (name, fault) = (String::new(), fault.to_owned());
    let (percent, sticky, control, attempts, time_box) = (None, None, None, None, None);
    let mut rule = RuleSpec { name, fault, with, matches: None, percent, sticky, control, attempts, time_box };
    for (key, value) in options {
        match key {
            "name" => value.clone_into(&mut rule.name),
            "percent" => rule.percent = Some(parsed(key, value)?),
            "control" => rule.control = Some(parsed(key, value)?),
            "attempts" => rule.attempts = Some(parsed(key, value)?),
            "for" => rule.time_box = Some(parsed(key, value)?),
            "sticky" => rule.sticky = Some(sticky_by(value)?),
            _ => add_match(rule.matches.get_or_insert_default(), key, value)?,
        }
    }
    Ok(rule)
}

/// Reads how TLS is terminated: `SETTING=VALUE,…` with the settings of the `tls` block, where a list of one may be that one.
/// Nothing at all is the block's defaults.
///
/// ```
/// let tls = squall_proxy::control::parse_tls("upstream=plain,names=*.example.com").unwrap();
/// assert!(tls.terminate && tls.names == ["*.example.com"]);
/// ```
pub fn parse_tls(text: &str) -> Result<TlsSpec, ShorthandError> {
    let mut map = settings_of(text)?;
    for list in ["names", "passThrough", "alpn"] {
        if let Some(value) = map.get_mut(list).filter(|value| !value.is_array()) {
            *value = Value::Array(vec![value.take()]);
        }
    }
    serde_json::from_value(Value::Object(map)).or_else(|error| wrong(text, format!("{error}")))
}

fn add_match(matches: &mut MatchSpec, key: &str, value: &str) -> Result<(), ShorthandError> {
    match key.split_once('.') {
        None if key == "method" => matches.method = value.split(',').map(|method| method.trim().to_owned()).collect(),
        None if key == "path" => matches.path = Some(value.to_owned()),
        None if key == "host" => matches.host = Some(value.to_owned()),
        Some(("header", name)) => drop(matches.header.insert(name.to_owned(), value.to_owned())),
        Some(("query", name)) => drop(matches.query.insert(name.to_owned(), value.to_owned())),
        Some(("body", pointer)) => drop(matches.body.insert(pointer.to_owned(), json(value))),
        _ => {
            return wrong(
                key,
                "a rule has the options `percent`, `control`, `attempts`, `for`, `name`, `sticky`, `method`, `path`, `host`, \
                 `header.NAME`, `query.NAME` and `body./POINTER`",
            );
        }
    }
    Ok(())
}

fn sticky_by(value: &str) -> Result<StickySpec, ShorthandError> {
    match value.split_once(':') {
        None if value == "client" => Ok(StickySpec::Client),
        Some(("header", name)) => Ok(StickySpec::Header(name.to_owned())),
        Some(("cookie", name)) => Ok(StickySpec::Cookie(name.to_owned())),
        Some(("query", name)) => Ok(StickySpec::Query(name.to_owned())),
        _ => wrong(value, "what is sticky is `client`, `header:NAME`, `cookie:NAME` or `query:NAME`"),
    }
}

type Options<'a> = Vec<(&'a str, &'a str)>;

fn take_apart(text: &str) -> Result<(&str, Map<String, Value>, Options<'_>), ShorthandError> {
    let mut parts = split(text, ';').into_iter();
    let head = parts.next().unwrap_or_default();
    let (kind, settings) = head.split_once(':').unwrap_or((head, ""));
    if kind.is_empty() {
        return wrong(text, "begins with a type, as `latency:latency=200`");
    }
    let map = settings_of(settings)?;
    let options = parts.filter(|option| !option.is_empty()).map(pair).collect::<Result<_, _>>()?;
    Ok((kind, map, options))
}

fn settings_of(text: &str) -> Result<Map<String, Value>, ShorthandError> {
    let settings = split(text, ',').into_iter().filter(|setting| !setting.is_empty());
    settings.map(|setting| pair(setting).map(|(key, value)| (key.to_owned(), json(value)))).collect()
}

fn pair(text: &str) -> Result<(&str, &str), ShorthandError> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.trim(), value.trim())),
        None => wrong(text, "has the form `name=value`"),
    }
}

/// A value that is JSON is that; all else is text.
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(key: &str, value: &str) -> Result<T, ShorthandError> {
    value.parse().or_else(|error| wrong(&format!("{key}={value}"), format!("{error}")))
}

fn share(key: &str, value: &str) -> Result<f64, ShorthandError> {
    match value.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => wrong(&format!("{key}={value}"), "is a number from 0 to 1"),
    }
}

/// Splits where the separator is not inside quotes or brackets.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quoted, mut escaped) = (Vec::new(), 0, 0_usize, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ if c == separator && depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_toxic_is_read_with_all_its_options() {
        let toxic = parse_toxic("slicer:average_size=10, delay=5 ;name=cut; stream=upstream;toxicity=0.25;for=2s").unwrap();
        assert_eq!(toxic.attributes, *json!({"average_size": 10, "delay": 5}).as_object().unwrap());
        assert_eq!((toxic.name.as_str(), toxic.stream.as_str(), toxic.toxicity), ("cut", "upstream", 0.25));
        assert_eq!(toxic.time_box.unwrap().to_string(), "2s");
        assert_eq!(parse_toxic("noop").unwrap(), NewToxic::new("noop", Map::new()));
    }

    #[test]
    fn a_tls_block_is_read_with_lists_of_one_and_of_many() {
        assert_eq!(parse_tls("").unwrap(), TlsSpec::default());
        let tls = parse_tls("upstream=plain,verify=false,names=[\"a.b\",\"*.c\"],passThrough=bank.*,alpn=h2,serverName=x").unwrap();
        assert!(tls.upstream == crate::tls::UpstreamTls::Plain && !tls.verify);
        assert_eq!((tls.names, tls.pass_through), (vec!["a.b".to_owned(), "*.c".to_owned()], vec!["bank.*".to_owned()]));
        assert_eq!((tls.alpn, tls.server_name.as_deref()), (vec!["h2".to_owned()], Some("x")));
        for bad in ["upstream", "upstream=ssh", "name=a"] {
            assert!(parse_tls(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rule_is_read_with_settings_options_and_matches() {
        let text = r#"http.replace:body={"a":[1,2],"b":"x;y"},status="200";percent=10%;control=5;attempts=2;method=GET,POST;path=/v1/*;host=*.example.com;header.x-user=alice;query.a=b;body./user/id=7;sticky=header:x-user;for=30s;name=r"#;
        let rule = serde_json::to_value(parse_rule(text).unwrap()).unwrap();
        assert_eq!(
            rule,
            json!({
                "name": "r", "fault": "http.replace", "with": {"body": {"a": [1, 2], "b": "x;y"}, "status": "200"},
                "match": {
                    "method": ["GET", "POST"], "path": "/v1/*", "host": "*.example.com",
                    "header": {"x-user": "alice"}, "query": {"a": "b"}, "body": {"/user/id": 7}
                },
                "percent": "10%", "control": "5%", "attempts": 2, "sticky": {"header": "x-user"}, "for": "30s"
            })
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("", ""),
            (":a=1", ":a=1"),
            ("latency:5", "5"),
            ("latency;x=1", "x"),
            ("noop;toxicity=2", "toxicity=2"),
            ("noop;for=5", "for=5"),
        ] {
            assert_eq!(parse_toxic(text).unwrap_err().part, part, "{text}");
        }
        assert_eq!(parse_rule("http.abort;sticky=me").unwrap_err().part, "me");
        assert_eq!(parse_rule("http.abort;headers=me").unwrap_err().part, "headers");
    }

    proptest! {
        #[test]
        fn no_line_panics(text in "[a-z.:;=,\"\\[\\]{}\\\\é0-9]{0,60}") {
            let _ = parse_toxic(&text);
            let _ = parse_rule(&text);
        }
    }
}
