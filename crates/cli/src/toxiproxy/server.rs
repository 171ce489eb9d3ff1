//! `toxiproxy-server`.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::Value;
use squall_proxy::api::{VERSION, proxies_from_json};
use squall_undo::StateDir;

use super::flags::{Flag, Given, parse};
use super::help;
use super::log::{Form, Level, Log};
use crate::commands::proxy::serve::{Plan, authority_in, serve};

const FLAGS: &[Flag] = &[
    Flag::value(&["host"]),
    Flag::value(&["port"]),
    Flag::value(&["config"]),
    Flag::value(&["seed"]),
    Flag::switch(&["runtime-metrics"]),
    Flag::switch(&["proxy-metrics"]),
    Flag::switch(&["version"]),
    Flag::switch(&["help", "h"]),
];

/// Runs it.
pub fn run(arguments: &[String]) -> ExitCode {
    let given = match parse(arguments, FLAGS, false) {
        Ok(given) if given.is("help") => return say(false, help::SERVER, 0),
        Ok(given) if given.is("version") => return say(true, &format!("toxiproxy-server version {VERSION}\n"), 0),
        Ok(given) => given,
        Err(error) => return say(false, &format!("{error}\n{}", help::SERVER), 2),
    };
    let seed = match given.get("seed").map(str::parse::<i64>) {
        Some(Err(_)) => {
            let seed = given.get("seed").unwrap_or_default();
            return say(false, &format!("invalid value {seed:?} for flag -seed: parse error\n{}", help::SERVER), 2);
        }
        Some(Ok(seed)) => Some(seed.cast_unsigned()),
        None => None,
    };
    let log = Log::from_environment(Form::Json, Level::Info);
    log.line(Level::Info, "Starting Toxiproxy", &[("version", VERSION.into())]);
    match start(&given, seed, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(true, &format!("error: {error:#}\n"), 1),
    }
}

fn start(given: &Given, seed: Option<u64>, log: Log) -> anyhow::Result<()> {
    let (host, port) = (given.get("host").unwrap_or("localhost"), given.get("port").unwrap_or("8474"));
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let plan = Plan {
        api: Some(format!("{host}:{port}")),
        workers: 0,
        seed,
        events: 10_000,
        runtime_metrics: given.is("runtime-metrics"),
        proxy_metrics: given.is("proxy-metrics"),
        authority: authority_in(StateDir::locate()),
    };
    serve(&plan, log, |control| {
        let Some(config) = given.get("config") else { return Ok(()) };
        let file: (&str, Value) = ("config", config.into());
        // As with Toxiproxy, the API is there whether or not the file was good.
        let text = match std::fs::read(config) {
            Ok(text) => text,
            Err(error) => {
                log.line(Level::Error, "Error reading config file", &[("error", error.to_string().into()), file]);
                return Ok(());
            }
        };
        let read = proxies_from_json(&text).map_err(|error| (Vec::new(), error)).and_then(|all| control.populate(all));
        match read {
            Ok(made) => log.line(Level::Info, "Populated proxies from file", &[file, ("proxies", made.len().into())]),
            Err((_, error)) => {
                log.line(Level::Error, "Failed to populate proxies from file", &[("error", error.to_string().into()), file]);
            }
        }
        Ok(())
    })
}

fn say(out: bool, text: &str, code: u8) -> ExitCode {
    // Whoever reads may have gone.
    let _ = if out { io::stdout().lock().write_all(text.as_bytes()) } else { io::stderr().lock().write_all(text.as_bytes()) };
    ExitCode::from(code)
}
