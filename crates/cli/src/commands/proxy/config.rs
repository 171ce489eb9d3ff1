//! A file of proxies: Toxiproxy's list in JSON, the same in YAML, with toxics and rules.

use std::path::Path as FilePath;

use serde_json::Value;
use squall_model::{Diagnostic, Document, Path, did_you_mean};
use squall_proxy::api::proxy_from_json;
use squall_proxy::control::{ControlError, NewProxy};

use crate::context::CliError;
use crate::diagnostics;

/// What is known of a proxy. `Logger` is in what Toxiproxy prints.
const PROXY: &[&str] = &["name", "listen", "upstream", "enabled", "toxics", "rules", "tls", "Logger"];
/// What is known of a toxic.
const TOXIC: &[&str] = &["name", "type", "stream", "toxicity", "attributes", "for"];

/// The proxies of a file, and where they stand in it.
#[derive(Debug)]
pub struct Configured {
    /// In the order of the file.
    pub proxies: Vec<NewProxy>,
    file: Option<(String, Document, Path)>,
}

impl From<Vec<NewProxy>> for Configured {
    /// Those of a command line.
    fn from(proxies: Vec<NewProxy>) -> Self {
        Self { proxies, file: None }
    }
}

impl Configured {
    /// The error with its place in the file.
    pub fn locate(&self, error: &ControlError) -> anyhow::Error {
        match (&self.file, error) {
            (Some((source, document, base)), ControlError::At { number, error }) => {
                let found = document.at(&base.index(number - 1), error.to_string(), hint(error));
                diagnostics::error(source, &document.text, vec![found]).into()
            }
            (None, ControlError::At { error, .. }) => CliError::usage(error.to_string(), hint(error)).into(),
            _ => CliError::failed(error.to_string(), hint(error)).into(),
        }
    }
}

fn hint(error: &ControlError) -> Option<String> {
    let text = match error {
        ControlError::Missing(_) => {
            "each proxy has a name and an upstream: { name: redis, listen: localhost:26379, upstream: localhost:6379 }"
        }
        ControlError::ToxicType => return Some(format!("a toxic is one of {}", squall_model::quoted(squall_proxy::Toxic::TYPES))),
        ControlError::Attribute(_) => {
            "attributes are plain numbers in units of their own, as `latency=200` for 200 ms; `squall explain toxics` has them all"
        }
        ControlError::Stream => "stream: upstream (towards the server) or downstream (towards the client)",
        ControlError::ToxicExists | ControlError::RuleExists => "give each a name of its own: name: second",
        ControlError::Upstream(_) => "an address is host:port, [v6]:port or unix:/path",
        ControlError::Listen(_) => "another program has the address, or you may not have it; port 0 takes any that is free",
        _ => return None,
    };
    Some(text.to_owned())
}

/// Reads a file.
pub fn read(path: &FilePath) -> anyhow::Result<Configured> {
    let source = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        CliError::usage(format!("{source} cannot be read: {error}"), "--config takes a file of proxies in YAML or JSON".to_owned())
    })?;
    let document = Document::parse(&text).map_err(|found| diagnostics::error(&source, &text, found))?;
    let (proxies, base) = check(&document).map_err(|found| diagnostics::error(&source, &text, found))?;
    Ok(Configured { proxies, file: Some((source, document, base)) })
}

fn check(document: &Document) -> Result<(Vec<NewProxy>, Path), Vec<Diagnostic>> {
    let root = Path::default();
    let (list, base) = match &document.value {
        // As the API prints it.
        Value::Object(map) if map.contains_key("proxies") => (&map["proxies"], root.key("proxies")),
        value => (value, root),
    };
    let Value::Array(list) = list else {
        let hint = Some("- { name: redis, listen: localhost:26379, upstream: localhost:6379 }".to_owned());
        return Err(vec![document.at(&base, "a list of proxies is expected", hint)]);
    };
    let (mut proxies, mut found) = (Vec::new(), Vec::new());
    for (index, value) in list.iter().enumerate() {
        let path = base.index(index);
        unknown_fields(document, value, &path, PROXY, "a proxy", &mut found);
        for (number, toxic) in value["toxics"].as_array().into_iter().flatten().enumerate() {
            unknown_fields(document, toxic, &path.key("toxics").index(number), TOXIC, "a toxic", &mut found);
        }
        match proxy_from_json(value) {
            Ok(proxy) => proxies.push(proxy),
            Err(error) => found.push(document.at(&path, error.to_string(), None)),
        }
    }
    if found.is_empty() { Ok((proxies, base)) } else { Err(found) }
}

/// Toxiproxy ignores what it does not know, in any case of letters; here it is a mistake.
fn unknown_fields(document: &Document, value: &Value, path: &Path, known: &[&str], what: &str, found: &mut Vec<Diagnostic>) {
    for name in value.as_object().into_iter().flatten().map(|(name, _)| name) {
        if !known.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            let nearest = did_you_mean(name, known.iter().copied()).map(|nearest| format!("did you mean `{nearest}`?"));
            let hint = nearest.unwrap_or_else(|| format!("{what} has {}", squall_model::quoted(known)));
            found.push(document.at_key(&path.key(name), format!("{what} has no field `{name}`"), Some(hint)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let document = Document::parse(text).expect("YAML");
        match check(&document) {
            Ok((proxies, base)) => {
                let control = squall_proxy::Control::start(&squall_proxy::Options { workers: 1, ..Default::default() }).expect("threads");
                let configured = Configured { proxies, file: Some(("x".into(), document, base)) };
                match control.populate(configured.proxies.clone()) {
                    Ok(_) => Vec::new(),
                    Err((_, error)) => vec![configured.locate(&error).to_string()],
                }
            }
            Err(found) => found.iter().map(|d| diagnostics::plain("x", std::slice::from_ref(d))).collect(),
        }
    }

    #[test]
    fn toxiproxys_own_file_and_the_same_in_yaml_are_read() {
        let json = r#"[{"name": "a", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1", "enabled": true}]"#;
        let yaml = "- name: a\n  listen: 127.0.0.1:0\n  upstream: 127.0.0.1:1\n  toxics:\n    - { type: latency, attributes: { latency: 5 }, for: 1h }\n";
        assert_eq!(lines(json), Vec::<String>::new());
        assert_eq!(lines(yaml), Vec::<String>::new());
        assert_eq!(lines("proxies: []"), Vec::<String>::new());
    }

    #[test]
    fn the_files_in_the_documentation_are_good() {
        for text in [include_str!("../../../../../docs/toxiproxy.md"), include_str!("../../../../../docs/proxy.md")] {
            let (_, rest) = text.split_once("```yaml\n- name:").expect("a file");
            let yaml =
                format!("- name:{}", rest.split("```").next().expect("its end")).replace("  upstream:", "  enabled: false\n  upstream:");
            assert_eq!(lines(&yaml), Vec::<String>::new());
        }
    }

    #[test]
    fn each_mistake_has_its_line_and_a_hint() {
        let found = lines("- name: a\n  upstrem: localhost:1\n  toxics:\n    - { typ: latency }\n");
        assert_eq!(found[0], "x:2:3: a proxy has no field `upstrem` (hint: did you mean `upstream`?)");
        assert_eq!(found[1], "x:4:9: a toxic has no field `typ` (hint: did you mean `type`?)");
        let found = lines("- { name: a, upstream: \"localhost:1\", listen: \"127.0.0.1:0\" }\n- { name: b }\n");
        assert!(found[0].starts_with("x:2:3: missing required field: upstream (hint: "), "{found:?}");
        let found = lines("- { name: a, upstream: \"localhost:1\", toxics: [{ type: slow }] }\n");
        assert!(found[0].starts_with("x:1:3: invalid toxic type (hint: a toxic is one of `latency`"), "{found:?}");
        let found = lines("- { name: a, upstream: \"localhost:1\", toxics: [{ type: latency, attributes: { latency: 200ms } }] }\n");
        assert!(found[0].contains("plain numbers in units of their own"), "{found:?}");
        assert!(lines("name: a")[0].starts_with("x:1:1: a list of proxies is expected"));
    }
}
