//! `squall proxy`: the fault proxy, with Toxiproxy's API, or for one edge without any file.

mod ca;
mod config;
pub mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use squall_proxy::control::{Control, NewProxy, parse_rule, parse_tls, parse_toxic};

use crate::context::{CliError, Context};
use crate::toxiproxy::{Form, Level, Log, run_client};
use serve::{Plan, authority_in, serve};

/// Stand between a service and its dependency, and break that edge
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  squall proxy                               Toxiproxy's API on localhost:8474, for its clients and for curl
  squall proxy --config proxies.yaml         with these proxies from the start
  squall proxy --upstream localhost:5432 --listen localhost:15432 --toxic latency:latency=200,jitter=20
  squall proxy --upstream localhost:8080 --rule 'http.abort:status=503;percent=10;path=/v1/*'
  squall proxy --upstream api.example.com:443 --tls --rule 'http.delay:delay=1s'
  squall proxy --upstream localhost:8080 --tls upstream=plain --rule 'tls.expired;percent=10'

A toxic is TYPE[:ATTRIBUTE=NUMBER,…][;OPTION=VALUE…]; its options are stream, toxicity, name and for.
A rule is FAULT[:SETTING=VALUE,…][;OPTION=VALUE…]; its options are percent, control, attempts, for, name, sticky, and what it
matches: method, path, host, header.NAME, query.NAME, body./POINTER.
--tls takes SETTING=VALUE,… of the `tls` block: upstream=plain, names=*.example.com, passThrough=…, serverName=…, ca=FILE,
verify=false, alpn=…; `squall proxy ca` says how clients are told to believe the certificates.
`squall explain toxics`, `squall explain rules` and `squall explain tls` have all of them.
LOG_LEVEL=debug shows each request to the API, LOG_LEVEL=trace each event of each connection."
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Host that the API listens on [default: localhost]
    #[arg(long)]
    host: Option<String>,
    /// Port that the API listens on; 0 takes any that is free [default: 8474, or no API with --upstream]
    #[arg(long)]
    port: Option<u16>,
    /// Proxies to start with: a list in YAML or JSON, as Toxiproxy's, with `toxics` and `rules`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What decisions start from: the same seed and the same requests give the same faults [default: another each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Count what passes the proxies in GET /metrics
    #[arg(long)]
    proxy_metrics: bool,
    /// Tell of this process in GET /metrics
    #[arg(long)]
    runtime_metrics: bool,
    /// Threads that carry traffic; 0 for one a core
    #[arg(long, default_value_t = 0)]
    workers: usize,
    /// Events that are kept for GET /events
    #[arg(long, default_value_t = 10_000)]
    events: usize,
    /// One proxy without a file: where it connects to, as `host:port` or `unix:/path`
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    upstream: Option<String>,
    /// Where it listens
    #[arg(long, value_name = "ADDRESS", requires = "upstream", default_value = "127.0.0.1:0")]
    listen: String,
    /// Its name
    #[arg(long, requires = "upstream", default_value = "proxy")]
    name: String,
    /// What it does to bytes; may be given many times, in the order in which they pass
    #[arg(long, value_name = "TOXIC", requires = "upstream")]
    toxic: Vec<String>,
    /// What it does to requests; may be given many times
    #[arg(long, value_name = "RULE", requires = "upstream")]
    rule: Vec<String>,
    /// Terminate TLS with certificates of Squall's own authority, and start it again towards the upstream
    #[arg(long, value_name = "SETTINGS", requires = "upstream", num_args = 0..=1, default_missing_value = "")]
    tls: Option<String>,
}

/// What is asked of a proxy that runs already, at `TOXIPROXY_URL` or `http://localhost:8474`.
#[derive(Debug, Subcommand)]
enum Command {
    Ca(ca::Args),
    /// List the proxies of a server that runs
    List(Client),
    /// Show one proxy with its toxics
    Inspect(Client),
    /// Make a proxy: --listen ADDRESS --upstream ADDRESS NAME
    Create(Client),
    /// Enable or disable a proxy: NAME
    Toggle(Client),
    /// Delete a proxy: NAME
    Delete(Client),
    /// Add, update or remove a toxic: add --type latency --attribute latency=100 NAME
    Toxic(Client),
}

#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
struct Client {
    /// As toxiproxy-cli takes them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Does it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let (name, client) = match args.command {
        None => return run_server(&args, cx),
        Some(Command::Ca(args)) => return ca::run(&args, cx),
        Some(Command::List(client)) => ("list", client),
        Some(Command::Inspect(client)) => ("inspect", client),
        Some(Command::Create(client)) => ("create", client),
        Some(Command::Toggle(client)) => ("toggle", client),
        Some(Command::Delete(client)) => ("delete", client),
        Some(Command::Toxic(client)) => ("toxic", client),
    };
    let arguments: Vec<String> = std::iter::once(name.to_owned()).chain(client.arguments).collect();
    Ok(run_client("squall proxy", &arguments))
}

fn run_server(args: &Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let proxies = match (&args.config, &args.upstream) {
        (Some(path), _) => Some(config::read(path)?),
        (None, Some(upstream)) => Some(config::Configured::from(vec![one_off(args, upstream)?])),
        (None, None) => None,
    };
    let host = args.host.as_deref().unwrap_or("localhost");
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let with_api = args.upstream.is_none() || args.port.is_some() || args.host.is_some();
    let plan = Plan {
        api: with_api.then(|| format!("{host}:{}", args.port.unwrap_or(8474))),
        workers: args.workers,
        seed: args.seed,
        events: args.events,
        runtime_metrics: args.runtime_metrics,
        proxy_metrics: args.proxy_metrics,
        authority: authority_in(cx.state_dir()),
    };
    let log = Log::from_environment(Form::Text, if cx.quiet { Level::Error } else { Level::Info });
    serve(&plan, log, |control| proxies.as_ref().map_or(Ok(()), |proxies| start(control, proxies)))?;
    Ok(ExitCode::SUCCESS)
}

fn one_off(args: &Args, upstream: &str) -> anyhow::Result<NewProxy> {
    let wrong = |flag: &str, text: &str, problem: String| {
        CliError::usage(
            format!("{flag} {text}: {problem}"),
            "for example --toxic latency:latency=200, --rule 'http.abort:status=503' or --tls upstream=plain".to_owned(),
        )
    };
    let mut proxy = NewProxy { listen: args.listen.clone(), ..NewProxy::new(&args.name, upstream) };
    for text in &args.toxic {
        proxy.toxics.push(parse_toxic(text).map_err(|error| wrong("--toxic", text, error.to_string()))?);
    }
    for text in &args.rule {
        proxy.rules.push(parse_rule(text).map_err(|error| wrong("--rule", text, error.to_string()))?);
    }
    if let Some(text) = &args.tls {
        proxy.tls = Some(parse_tls(text).map_err(|error| wrong("--tls", text, error.to_string()))?);
    }
    Ok(proxy)
}

fn start(control: &Control, proxies: &config::Configured) -> anyhow::Result<()> {
    control.populate(proxies.proxies.clone()).map_err(|(_, error)| proxies.locate(&error))?;
    Ok(())
}
