//! Proxies and toxics as `toxiproxy-cli` shows them: tables with colours for a terminal, tabs for scripts.

use serde_json::Value;

pub const RED: &str = "\x1b[31m";
pub const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const BLUE: &str = "\x1b[34m";
const PURPLE: &str = "\x1b[35m";
pub const NONE: &str = "\x1b[0m";

/// How to write: for a terminal or not.
#[derive(Debug, Clone, Copy)]
pub struct Pen {
    /// Standard output is a terminal.
    pub terminal: bool,
}

impl Pen {
    /// The colour's code, on a terminal.
    pub fn colour(self, code: &'static str) -> &'static str {
        if self.terminal { code } else { "" }
    }

    /// The colour of an enabled or disabled proxy.
    pub fn state(self, enabled: bool) -> &'static str {
        self.colour(if enabled { GREEN } else { RED })
    }

    fn hint(self, text: &str) -> String {
        if self.terminal { format!("\n{NONE}Hint: {text}\n") } else { String::new() }
    }

    /// A column of so many tabs.
    fn column(self, colour: &'static str, text: &str, tabs: usize) -> String {
        let more = if self.terminal { tabs.saturating_sub(text.len() / 8 + 1) } else { 0 };
        format!("{}{text}{}\t{}", self.colour(colour), self.colour(NONE), "\t".repeat(more))
    }

    /// All proxies, by name.
    pub fn list(self, proxies: &Value) -> String {
        let mut all: Vec<(&String, &Value)> = proxies.as_object().into_iter().flatten().collect();
        all.sort_by_key(|(name, _)| *name);
        let mut out = String::new();
        if self.terminal {
            out += &format!("{GREEN}Name\t\t\t{BLUE}Listen\t\t{YELLOW}Upstream\t\t{PURPLE}Enabled\t\t{RED}Toxics\n{NONE}");
            out += &format!("{NONE}{}\n", "=".repeat(86));
            if all.is_empty() {
                return out + &format!("{RED}no proxies\n{NONE}") + &self.hint("create a proxy with `toxiproxy-cli create`");
            }
        }
        for (name, proxy) in all {
            let enabled = is_enabled(proxy);
            let toxics = match proxy["toxics"].as_array().map_or(0, Vec::len) {
                0 if self.terminal => "None".to_owned(),
                count => count.to_string(),
            };
            out += &self.column(if enabled { GREEN } else { RED }, name, 3);
            out += &self.column(BLUE, text(&proxy["listen"]), 2);
            out += &self.column(YELLOW, text(&proxy["upstream"]), 3);
            out += &self.column(PURPLE, state(enabled), 2);
            out += &format!("{}{toxics}{}\n", self.colour(RED), self.colour(NONE));
        }
        out + &self.hint("inspect toxics with `toxiproxy-cli inspect <proxyName>`")
    }

    /// One proxy with its toxics.
    pub fn inspect(self, proxy: &Value) -> String {
        let empty = Vec::new();
        let toxics = proxy["toxics"].as_array().unwrap_or(&empty);
        if !self.terminal {
            return toxics.iter().map(|toxic| format!("{}\t{}", text(&toxic["name"]), settings(toxic))).collect();
        }
        let mut out = format!("{PURPLE}Name: {NONE}{}\t", text(&proxy["name"]));
        out += &format!("{BLUE}Listen: {NONE}{}\t", text(&proxy["listen"]));
        out += &format!("{YELLOW}Upstream: {NONE}{}\n", text(&proxy["upstream"]));
        out += &format!("{NONE}{}\n", "=".repeat(70));
        if toxics.is_empty() {
            out += &format!("{RED}Proxy has no toxics enabled.\n{NONE}");
        } else {
            let (up, down): (Vec<&Value>, Vec<&Value>) = toxics.iter().partition(|toxic| toxic["stream"] == "upstream");
            out += &direction("Upstream", &up);
            out += "\n";
            out += &direction("Downstream", &down);
        }
        out + &self.hint("add a toxic with `toxiproxy-cli toxic add`")
    }
}

fn direction(name: &str, toxics: &[&Value]) -> String {
    let mut out = format!("{GREEN}{name} toxics:\n{NONE}");
    if toxics.is_empty() {
        return out + &format!("{RED}Proxy has no {name} toxics enabled.\n{NONE}");
    }
    for toxic in toxics {
        out += &format!("{BLUE}{}:{NONE}\t{}", text(&toxic["name"]), settings(toxic));
    }
    out
}

fn settings(toxic: &Value) -> String {
    let toxicity = toxic["toxicity"].as_f64().unwrap_or_default();
    let mut out = format!("type={}\tstream={}\ttoxicity={toxicity:.2}\tattributes=[", text(&toxic["type"]), text(&toxic["stream"]));
    let mut attributes: Vec<_> = toxic["attributes"].as_object().into_iter().flatten().collect();
    attributes.sort_by_key(|(name, _)| *name);
    for (name, value) in attributes {
        let value = value.as_f64().map_or_else(|| value.to_string(), number);
        out += &format!("\t{name}={value}");
    }
    out + "\t]\n"
}

/// As Go's `%v` has it: from a million on with an exponent.
fn number(value: f64) -> String {
    if value != 0.0 && (value.abs() >= 1e21 || value.abs() >= 1e6 && value.fract() == 0.0 || value.abs() < 1e-4) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    value.to_string()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Whether a proxy is enabled.
pub fn is_enabled(proxy: &Value) -> bool {
    proxy["enabled"] == Value::Bool(true)
}

/// The word for it.
pub fn state(enabled: bool) -> &'static str {
    if enabled { "enabled" } else { "disabled" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn proxies() -> Value {
        let toxic = json!({"attributes": {"latency": 1_000_000, "jitter": 5}, "name": "slow", "type": "latency", "stream": "downstream", "toxicity": 0.5});
        json!({
            "redis": {"name": "redis", "listen": "127.0.0.1:1", "upstream": "redis:6379", "enabled": true, "toxics": [toxic]},
            "a": {"name": "a", "listen": "127.0.0.1:2", "upstream": "a:1", "enabled": false, "toxics": []}
        })
    }

    #[test]
    fn scripts_get_tabs() {
        let pen = Pen { terminal: false };
        assert_eq!(pen.list(&proxies()), "a\t127.0.0.1:2\ta:1\tdisabled\t0\nredis\t127.0.0.1:1\tredis:6379\tenabled\t1\n");
        let inspected = pen.inspect(&proxies()["redis"]);
        assert_eq!(inspected, "slow\ttype=latency\tstream=downstream\ttoxicity=0.50\tattributes=[\tjitter=5\tlatency=1e+06\t]\n");
        assert_eq!(pen.list(&json!({})), "");
    }

    #[test]
    fn a_terminal_gets_a_table_and_hints() {
        let pen = Pen { terminal: true };
        let list = pen.list(&proxies());
        assert!(list.contains("\x1b[31ma\x1b[0m\t\t\t\x1b[34m127.0.0.1:2\x1b[0m\t\x1b[33ma:1\x1b[0m\t\t\t"), "{list:?}");
        assert!(list.ends_with("Hint: inspect toxics with `toxiproxy-cli inspect <proxyName>`\n"));
        assert!(pen.list(&json!({})).contains("no proxies"));
        let inspected = pen.inspect(&proxies()["redis"]);
        assert!(inspected.contains("Proxy has no Upstream toxics enabled.") && inspected.contains("Downstream toxics:"), "{inspected}");
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, text) in [(0.0, "0"), (100.0, "100"), (0.25, "0.25"), (1e6, "1e+06"), (1.5e7, "1.5e+07"), (0.00001, "1e-05")] {
            assert_eq!(number(value), text);
        }
    }
}
