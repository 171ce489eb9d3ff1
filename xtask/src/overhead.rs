//! `cargo xtask overhead`: Squall against Chaos Toolkit on the same work, turn by turn in the same run.
//!
//! - The smallest experiment: one probe (a file exists), one instant action (`true`), one rollback (`true`), as a whole
//!   process, with journal and ledger synced. Time and largest resident size.
//! - 200 HTTP probes, each asked once before and once after.
//!
//! Chaos Toolkit is taken from `CHAOSTOOLKIT` (the path of its `chaos`), or installed from `PyPI` into a directory of its own.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::shell;

#[derive(clap::Args)]
pub struct Args {
    /// Pairs of runs for each comparison
    #[arg(long, default_value_t = 21)]
    pairs: usize,
    /// A few pairs, and no failure when a bar is missed: what CI does on a machine that is not quiet
    #[arg(long)]
    quick: bool,
    /// The program to measure; built here if left out
    #[arg(long)]
    squall: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let squall = shell::release_squall(args.squall.as_deref())?;
    let work = tempfile::tempdir()?;
    let chaos = chaos_toolkit(work.path())?;
    let pairs = if args.quick { 5 } else { args.pairs };
    let server = Server::start()?;
    let (small_yaml, small_json) = smallest(work.path())?;
    let (probes_yaml, probes_json) = two_hundred(work.path(), server.port)?;
    let mut met = true;
    shell::say("| work | Squall | Chaos Toolkit | times faster | bar | Squall MiB | Chaos Toolkit MiB |\n|---|---|---|---|---|---|---|");
    for (name, yaml, json, bar) in
        [("smallest experiment", &small_yaml, &small_json, 8.0), ("200 HTTP probes", &probes_yaml, &probes_json, 5.0)]
    {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        // One state directory for all runs, as a user has it; the first makes it.
        let state = work.path().join("state");
        for _ in 0..pairs {
            let mut mine = shell::command(&squall);
            mine.arg("--state-dir").arg(&state).args(["run", "--plain", "--quiet"]).arg(yaml);
            ours.push(timed(&mut mine)?);
            let mut other = shell::command(&chaos);
            other.current_dir(work.path()).args(["--no-version-check", "run"]).arg(json);
            theirs.push(timed(&mut other)?);
        }
        let median = |runs: &[Run], of: fn(&Run) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            shell::quantile(&values, 0.5)
        };
        let (mine, other) = (median(&ours, |r| r.seconds), median(&theirs, |r| r.seconds));
        let (mine_mib, other_mib) = (median(&ours, |r| r.mib), median(&theirs, |r| r.mib));
        let ratio = other / mine;
        met &= ratio >= bar && (name != "smallest experiment" || mine_mib <= 16.0);
        shell::say(&format!(
            "| {name} | {:.1} ms | {:.1} ms | {ratio:.1} | ≥ {bar} | {mine_mib:.1} | {other_mib:.1} |",
            mine * 1e3,
            other * 1e3
        ));
    }
    shell::say("resident size is the largest of the process itself (`ru_maxrss`); Squall's is to be ≤ 16 MiB for the smallest experiment");
    if !met && !args.quick {
        bail!("a bar is missed");
    }
    Ok(())
}

struct Run {
    seconds: f64,
    mib: f64,
}

/// Runs a command to a good end; time and largest resident size.
fn timed(command: &mut Command) -> Result<Run> {
    let report = tempfile::NamedTempFile::new()?;
    let mut wrapped = shell::command("python3");
    // wait4(2) tells the largest resident size of just this child; the standard library of Rust does not pass it on.
    wrapped.arg("-c").arg(
        "import os,sys,time\nstart=time.perf_counter()\npid=os.posix_spawn(sys.argv[2],sys.argv[2:],os.environ)\n_,status,usage=os.wait4(pid,0)\n\
         end=time.perf_counter()\nopen(sys.argv[1],'w').write(f'{end-start} {usage.ru_maxrss/1024} {status}')",
    );
    wrapped.arg(report.path()).arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        wrapped.current_dir(dir);
    }
    let output = shell::output(wrapped.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let text = std::fs::read_to_string(report.path())?;
    let fields: Vec<f64> = text.split(' ').filter_map(|f| f.parse().ok()).collect();
    let [seconds, mib, status] = fields[..] else { bail!("not measured: {}", String::from_utf8_lossy(&output.stderr)) };
    #[expect(clippy::cast_possible_truncation, reason = "a wait status is a small integer")]
    let status = std::process::ExitStatus::from_raw(status as i32);
    if !status.success() {
        bail!("{command:?} ended with {status}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    Ok(Run { seconds, mib })
}

/// Where `chaos` is; installed if need be.
fn chaos_toolkit(work: &Path) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CHAOSTOOLKIT") {
        return Ok(path.into());
    }
    let venv = work.join("chaostoolkit");
    shell::run(shell::command("python3").args(["-m", "venv"]).arg(&venv))?;
    shell::run(shell::command(venv.join("bin/pip")).args(["install", "--quiet", "chaostoolkit"]))?;
    Ok(venv.join("bin/chaos"))
}

fn smallest(work: &Path) -> Result<(PathBuf, PathBuf)> {
    let file = work.join("steady");
    std::fs::write(&file, "")?;
    let yaml = work.join("smallest.yaml");
    std::fs::write(
        &yaml,
        format!(
            "apiVersion: squall.dev/v1\nkind: Experiment\nmetadata: {{ name: smallest }}\nspec:\n  hypothesis:\n    statement: The file stays.\n    probes:\n      \
             - name: file\n        file: {{ path: {}, measure: exists }}\n        expect: {{ eq: 1 }}\n  steady: {{ for: 0s }}\n  method:\n    - fault: custom.command\n      \
             with: {{ inject: {{ run: [\"true\"] }}, undo: {{ run: [\"true\"] }} }}\n  recovery: {{ within: 5s, stable: 0s }}\n",
            file.display()
        ),
    )?;
    let json = work.join("smallest.json");
    let process = |name: &str| json!({ "type": "action", "name": name, "provider": { "type": "process", "path": "true" } });
    let experiment = json!({
        "title": "smallest", "description": "The file stays.",
        "steady-state-hypothesis": { "title": "the file is there", "probes": [{
            "type": "probe", "name": "file", "tolerance": true,
            "provider": { "type": "python", "module": "os.path", "func": "exists", "arguments": { "path": file } } }] },
        "method": [process("do")], "rollbacks": [process("undo")]
    });
    std::fs::write(&json, serde_json::to_vec(&experiment)?)?;
    Ok((yaml, json))
}

fn two_hundred(work: &Path, port: u16) -> Result<(PathBuf, PathBuf)> {
    let mut yaml_text = String::from(
        "apiVersion: squall.dev/v1\nkind: Experiment\nmetadata: { name: two-hundred }\nspec:\n  hypothesis:\n    statement: All answer.\n    probes:\n",
    );
    let mut probes = Vec::new();
    for i in 0..200 {
        let url = format!("http://127.0.0.1:{port}/{i}");
        let _ = write!(
            yaml_text,
            "      - name: p{i}\n        http: {{ url: \"{url}\" }}\n        expect: {{ eq: 200 }}\n        every: 60s\n"
        );
        probes.push(json!({ "type": "probe", "name": format!("p{i}"), "tolerance": 200, "provider": { "type": "http", "url": url } }));
    }
    yaml_text.push_str(
        "  steady: { for: 0s, every: 60s }\n  method:\n    - fault: custom.command\n      with: { inject: { run: [\"true\"] }, undo: { run: [\"true\"] } }\n  \
         recovery: { within: 5s, stable: 0s }\n",
    );
    let yaml = work.join("two-hundred.yaml");
    std::fs::write(&yaml, yaml_text)?;
    let experiment = json!({
        "title": "two hundred", "description": "All answer.",
        "steady-state-hypothesis": { "title": "all answer", "probes": probes },
        "method": [{ "type": "action", "name": "do", "provider": { "type": "process", "path": "true" } }], "rollbacks": []
    });
    let json = work.join("two-hundred.json");
    std::fs::write(&json, serde_json::to_vec(&experiment)?)?;
    Ok((yaml, json))
}

/// A server that answers 200 to everything, with keep-alive, on threads of this process.
struct Server {
    port: u16,
}

impl Server {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no port")?;
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || answer(stream));
            }
        });
        Ok(Self { port })
    }
}

fn answer(mut stream: std::net::TcpStream) {
    let _ = stream.set_nodelay(true);
    let (mut buffer, mut seen) = ([0; 4096], Vec::new());
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..count]);
        while let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") {
            seen.drain(..end + 4);
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    }
}
