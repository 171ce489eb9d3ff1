//! `toxiproxy-cli`.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::connection::{Api, segment};
use super::flags::{Flag, Given, parse};
use super::help;
use super::show::{NONE, Pen, is_enabled, state};

const HOST: Flag = Flag::value(&["host", "h"]);
const GLOBAL: &[Flag] = &[HOST, Flag::switch(&["help"]), Flag::switch(&["version", "v"])];
const PLAIN: &[Flag] = &[Flag::value(&["host", "h"]), Flag::switch(&["help"])];
const CREATE: &[Flag] = &[HOST, Flag::switch(&["help"]), Flag::value(&["listen", "l"]), Flag::value(&["upstream", "u"])];
const TOXIC: &[Flag] = &[
    HOST,
    Flag::switch(&["help"]),
    Flag::value(&["toxicName", "n"]),
    Flag::value(&["type", "t"]),
    Flag::value(&["toxicity", "tox"]),
    Flag::value(&["attribute", "a"]),
    Flag::switch(&["upstream", "u"]),
    Flag::switch(&["downstream", "d"]),
];
const TOXIC_OTHER: &[Flag] =
    &[HOST, Flag::switch(&["help"]), Flag::value(&["toxicName", "n"]), Flag::value(&["toxicity", "tox"]), Flag::value(&["attribute", "a"])];

/// Why a command did not do what it was asked for.
enum Failure {
    /// Said with the help that goes with it.
    Usage(&'static str, String),
    /// Something else.
    Other(String),
}

type Done = Result<String, Failure>;

fn other(text: String) -> Failure {
    Failure::Other(text)
}

/// Runs a command; `program` is how messages call it.
pub fn run(program: &str, arguments: &[String]) -> ExitCode {
    let (out, error) = match command(program, arguments) {
        Ok(out) => (out, None),
        Err(Failure::Usage(help, error)) => (help.to_owned(), Some(error)),
        Err(Failure::Other(error)) => (String::new(), Some(error)),
    };
    // Whoever reads may have gone.
    let _ = io::stdout().lock().write_all(out.as_bytes());
    let Some(error) = error else { return ExitCode::SUCCESS };
    let _ = writeln!(io::stderr().lock(), "{error}");
    ExitCode::FAILURE
}

fn command(program: &str, arguments: &[String]) -> Done {
    let global = read(arguments, GLOBAL, false, help::CLIENT)?;
    if global.is("version") {
        return Ok(format!("{program} version {}\n", squall_proxy::api::VERSION));
    }
    let (name, rest) = match global.rest.split_first() {
        Some((name, rest)) if !global.is("help") && name != "help" => (name.as_str(), rest),
        _ => return Ok(help::CLIENT.into()),
    };
    let host = global.get("host").map(str::to_owned);
    match name {
        "list" | "l" | "li" | "ls" => with(rest, host, PLAIN, list),
        "inspect" | "i" | "ins" => with(rest, host, PLAIN, inspect),
        "create" | "c" | "new" => with(rest, host, CREATE, create),
        "toggle" | "tog" => with(rest, host, PLAIN, toggle),
        "delete" | "d" => with(rest, host, PLAIN, delete),
        "toxic" | "t" => match rest.split_first() {
            Some((name, rest)) => match name.as_str() {
                "add" | "a" => with(rest, host, TOXIC, add_toxic),
                "update" | "u" => with(rest, host, TOXIC_OTHER, update_toxic),
                "remove" | "r" | "delete" | "d" => with(rest, host, TOXIC_OTHER, remove_toxic),
                _ => Ok(help::TOXIC.into()),
            },
            None => Ok(help::TOXIC.into()),
        },
        unknown => Err(Failure::Usage(help::CLIENT, format!("No help topic for '{unknown}'"))),
    }
}

fn read(arguments: &[String], flags: &[Flag], anywhere: bool, help: &'static str) -> Result<Given, Failure> {
    parse(arguments, flags, anywhere).map_err(|error| Failure::Usage(help, format!("Incorrect Usage: {error}")))
}

fn with(rest: &[String], host: Option<String>, flags: &[Flag], act: fn(&Given, &Api, Pen) -> Done) -> Done {
    let help = if flags.len() > CREATE.len() { help::TOXIC } else { help::CLIENT };
    let given = read(rest, flags, true, help)?;
    if given.is("help") {
        return Ok(help.into());
    }
    let url = given.get("host").map(str::to_owned).or(host).or_else(|| std::env::var("TOXIPROXY_URL").ok());
    let api = Api::at(url.as_deref().unwrap_or("http://localhost:8474"));
    act(&given, &api, Pen { terminal: io::stdout().is_terminal() })
}

fn proxy_name(given: &Given) -> Result<&str, Failure> {
    let missing = || Failure::Usage(help::CLIENT, "Proxy name is required as the first argument.\n".into());
    given.rest.first().map(String::as_str).filter(|name| !name.is_empty()).ok_or_else(missing)
}

fn required<'a>(given: &'a Given, name: &str, help: &'static str) -> Result<&'a str, Failure> {
    let missing = || Failure::Usage(help, format!("Required argument '{name}' was empty.\n"));
    given.get(name).filter(|value| !value.is_empty()).ok_or_else(missing)
}

fn path(proxy: &str) -> String {
    format!("/proxies/{}", segment(proxy))
}

fn list(_: &Given, api: &Api, pen: Pen) -> Done {
    let proxies = api.ask("GET", "/proxies", None).map_err(|error| other(format!("Failed to retrieve proxies: {error}")))?;
    Ok(pen.list(&proxies))
}

fn get(api: &Api, name: &str) -> Result<Value, Failure> {
    api.ask("GET", &path(name), None).map_err(|error| other(format!("Failed to retrieve proxy {name}: {error}\n")))
}

fn inspect(given: &Given, api: &Api, pen: Pen) -> Done {
    Ok(pen.inspect(&get(api, proxy_name(given)?)?))
}

fn create(given: &Given, api: &Api, _: Pen) -> Done {
    let name = proxy_name(given)?;
    let (listen, upstream) = (required(given, "listen", help::CLIENT)?, required(given, "upstream", help::CLIENT)?);
    let body = json!({"name": name, "listen": listen, "upstream": upstream, "enabled": true, "toxics": null});
    api.ask("POST", "/proxies", Some(&body)).map_err(|error| other(format!("Failed to create proxy: create: {error}\n")))?;
    Ok(format!("Created new proxy {name}\n"))
}

fn toggle(given: &Given, api: &Api, pen: Pen) -> Done {
    let name = proxy_name(given)?;
    let enabled = !is_enabled(&get(api, name)?);
    let body = json!({ "enabled": enabled });
    api.ask("POST", &path(name), Some(&body)).map_err(|error| other(format!("Failed to toggle proxy {name}: {error}\n")))?;
    let (colour, none) = (pen.state(enabled), pen.colour(NONE));
    Ok(format!("Proxy {colour}{name}{none} is now {colour}{}{none}\n", state(enabled)))
}

fn delete(given: &Given, api: &Api, _: Pen) -> Done {
    let name = proxy_name(given)?;
    get(api, name)?;
    api.ask("DELETE", &path(name), None).map_err(|error| other(format!("Failed to delete proxy: Delete: {error}\n")))?;
    Ok(format!("Deleted proxy {name}\n"))
}

fn toxic_proxy<'a>(given: &'a Given, api: &Api, doing: &str) -> Result<&'a str, Failure> {
    let missing = || Failure::Usage(help::TOXIC, "Proxy name is missing.\n".into());
    let name = given.rest.first().map(String::as_str).filter(|name| !name.is_empty()).ok_or_else(missing)?;
    let absent = |error| other(format!("Failed to {doing} toxic: failed to retrieve proxy with name `{name}`: {error}\n"));
    api.ask("GET", &path(name), None).map_err(absent)?;
    Ok(name)
}

fn toxicity(given: &Given) -> Result<Option<f64>, Failure> {
    let Some(text) = given.get("toxicity").filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(Some(share)),
        _ => Err(other("toxicity should be a float between 0 and 1.\n".into())),
    }
}

/// What is no number is sent as text, and what is no `key=value` not at all.
fn attributes(given: &Given) -> Map<String, Value> {
    let pairs = given.all("attribute").iter().filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, text)| (key.to_owned(), text.parse().map_or_else(|_| Value::from(text), number))).collect()
}

/// A whole number has no fraction in JSON: attributes are whole numbers.
fn number(value: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and far below 2^63")]
    if value.fract() == 0.0 && value.abs() < 1e15 { Value::from(value as i64) } else { Value::from(value) }
}

fn add_toxic(given: &Given, api: &Api, _: Pen) -> Done {
    if given.rest.is_empty() {
        return Err(Failure::Usage(help::TOXIC, "Proxy name is missing.\n".into()));
    }
    let kind = required(given, "type", help::TOXIC)?;
    if given.is("upstream") && given.is("downstream") {
        return Err(other("Only one should be specified: upstream or downstream.\n".into()));
    }
    let toxicity = toxicity(given)?.unwrap_or(1.0);
    let proxy = toxic_proxy(given, api, "add")?;
    let stream = if given.is("upstream") { "upstream" } else { "downstream" };
    let name = given.get("toxicName").unwrap_or_default();
    let body = json!({"name": name, "type": kind, "stream": stream, "toxicity": toxicity, "attributes": attributes(given)});
    let failed = |error| other(format!("Failed to add toxic: failed to add toxic to proxy {proxy}: AddToxic: {error}\n"));
    let toxic = api.ask("POST", &format!("{}/toxics", path(proxy)), Some(&body)).map_err(failed)?;
    let text = |field: &str| toxic[field].as_str().unwrap_or_default().to_owned();
    Ok(format!("Added {} {} toxic '{}' on proxy '{proxy}'\n", text("stream"), text("type"), text("name")))
}

fn toxic_path(given: &Given, proxy: &str) -> (String, String) {
    let name = given.get("toxicName").unwrap_or_default();
    (name.to_owned(), format!("{}/toxics/{}", path(proxy), segment(name)))
}

fn update_toxic(given: &Given, api: &Api, _: Pen) -> Done {
    let toxicity = toxicity(given)?;
    let proxy = toxic_proxy(given, api, "update")?;
    let (name, path) = toxic_path(given, proxy);
    let mut body = json!({ "attributes": attributes(given) });
    if let Some(toxicity) = toxicity {
        body["toxicity"] = toxicity.into();
    }
    let failed = |error| other(format!("Failed to update toxic: failed to update toxic '{name}' of proxy '{proxy}': {error}\n"));
    api.ask("PATCH", &path, Some(&body)).map_err(failed)?;
    Ok(format!("Updated toxic '{name}' on proxy '{proxy}'\n"))
}

fn remove_toxic(given: &Given, api: &Api, _: Pen) -> Done {
    let proxy = toxic_proxy(given, api, "remove")?;
    let (name, path) = toxic_path(given, proxy);
    let failed = |error| other(format!("Failed to remove toxic: failed to remove toxic '{name}' from proxy '{proxy}': {error}\n"));
    api.ask("DELETE", &path, None).map_err(failed)?;
    Ok(format!("Removed toxic '{name}' on proxy '{proxy}'\n"))
}
