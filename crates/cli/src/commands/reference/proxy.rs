//! `proxy.md`: toxics, rules and the `tls` block of a proxy.

use std::fmt::Write as _;

use serde_json::{Value, json};
use squall_proxy::control::parse_toxic;
use squall_proxy::rule::{RuleSpec, kinds};
use squall_proxy::tls::TlsSpec;
use squall_proxy::{Direction, Toxic};

use super::GENERATED;
use super::schema::table;

const HEAD: &str = "\
# The proxy: toxics, rules and the `tls` block

The guide is [docs/proxy.md](../proxy.md). On the command line: `squall explain toxics.latency`, `squall explain http.abort`,
`squall explain rules`. As faults of experiments, with units and other names, the toxics are `proxy.*` in [faults](faults.md), and
rules have the names that they have here.

A time is `200ms`, `1.5s`, `10m` or `2h`; a size `64B`, `4KB` (1000) or `4KiB` (1024); a rate `10/s`; a percentage `10%`, or `10`.
";

const TOXIC: &str = "\
A toxic works on the bytes of one direction of each connection. What it takes:

| field | meaning |
|---|---|
| `type` (required) | One of those below. |
| `name` | Unique in its proxy; `<type>_<stream>` where it is left out. |
| `stream` | `downstream`, from the upstream to the client (the default), or `upstream`. |
| `toxicity` | The share of connections that it works on, from 0 to 1. Default: `1`. |
| `attributes` | As below, whole numbers but for the rates of `packet_loss`; what is left out has its default, what is unknown is ignored. |
| `for` | The proxy removes it by itself after this time. |
";

const FAMILIES: &[(&str, &str)] = &[
    ("http", "HTTP exchanges"),
    ("function", "Functions behind HTTP"),
    ("stream", "Streams of events and of tokens ([more](../streams.md))"),
    ("model", "Refusals of models ([more](../streams.md#refusals-of-models))"),
    ("data", "JSON, and lines of JSON ([more](../streams.md#data))"),
    ("tls", "TLS ([more](../tls.md))"),
];

/// The whole file.
pub fn reference() -> String {
    let mut text = format!("{GENERATED}{HEAD}\n## Toxics\n\n{TOXIC}");
    for example in Toxic::EXAMPLES {
        toxic(&mut text, example);
    }
    text.push_str("\n## Rules\n\nA rule is a fault for those exchanges of a proxy that match. What every rule may have:\n");
    table(&mut text, "field", &schemars::schema_for!(RuleSpec), &[]);
    let kinds = kinds();
    for (family, title) in FAMILIES {
        let _ = write!(text, "\n## `{family}.*`: {title}\n");
        for kind in kinds.iter().filter(|kind| kind.name.split('.').next() == Some(family)) {
            let _ = write!(text, "\n### {}\n\n{}\n\n```yaml\n{}\n```\n", kind.name, kind.description, kind.example());
            table(&mut text, "setting", &kind.schema, &[]);
        }
    }
    text.push_str("\n## The `tls` block\n\nIn a proxy, or on the command line as `--tls SETTING=VALUE,…`. [More](../tls.md).\n");
    table(&mut text, "setting", &schemars::schema_for!(TlsSpec), &[]);
    text
}

fn toxic(text: &mut String, example: &str) {
    // The examples are constants that a test reads.
    let Ok(parsed) = parse_toxic(example) else { return };
    let Some(schema) = Toxic::schema(&parsed.kind) else { return };
    let described = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let described = described.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
    let whose = if Toxic::OF_TOXIPROXY.contains(&parsed.kind.as_str()) { "" } else { " Toxiproxy 2.12 does not have it." };
    let stream = if parsed.stream.is_empty() { json!(Direction::Downstream) } else { json!(parsed.stream) };
    let mut shown = json!({ "type": parsed.kind, "stream": stream });
    if !parsed.attributes.is_empty() {
        shown["attributes"] = Value::Object(parsed.attributes);
    }
    if parsed.toxicity < 1.0 {
        shown["toxicity"] = json!(parsed.toxicity);
    }
    let _ = write!(text, "\n### {}\n\n{described}{whose}\n\n```text\n--toxic '{example}'\n{shown}\n```\n", parsed.kind);
    table(text, "attribute", &schema, &[]);
}
