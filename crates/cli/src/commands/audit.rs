//! `squall audit`

use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use squall_api::audit::{AuditRow, AuditVerdict};
use squall_api::client::{Client, escape};
use squall_report::clean;
use squall_store::{AuditError, AuditHead, Database, SqliteDatabase, Store};
use squall_sys::BootClock;

use crate::context::{CliError, Context, Output, Style, exit};
use crate::remote::{Server, block_on, failed};

/// Read a server's audit trail, and check that nobody has changed it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall audit verify                                     by the server that you are signed in to
  squall audit verify --offline --state-dir /var/lib/squall    on the server's host, without the server
  squall audit verify --kept 1042:5f0c…                   and that row 1042 is still what it was
  squall audit list --action run. --newest
  squall audit export > audit.ndjson

Exit codes: 0 intact, 1 broken")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compute the whole chain of hashes anew
    Verify(Verify),
    /// List rows
    List(List),
    /// Write all rows as JSON, one a line
    Export(Export),
}

#[derive(Debug, clap::Args)]
struct Verify {
    #[command(flatten)]
    server: Server,
    /// Read the SQLite database in the state directory, not a server
    #[arg(long, conflicts_with = "server")]
    offline: bool,
    /// Number and hash of the last row as this command said them earlier, as `1042:5f0c…`
    #[arg(long, value_name = "ROW:HASH")]
    kept: Option<Kept>,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Debug, Clone)]
struct Kept(AuditHead);

impl std::str::FromStr for Kept {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write the row's number and its hash of 64 digits, with a `:` between them".to_owned();
        let (seq, hash) = text.split_once(':').ok_or_else(wrong)?;
        let good = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        Ok(Self(AuditHead { seq: seq.parse().map_err(|_| wrong())?, hash: good.then(|| hash.to_ascii_lowercase()).ok_or_else(wrong)? }))
    }
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    rows: Rows,
    /// The newest first
    #[arg(long)]
    newest: bool,
    /// At most so many; 0 for all
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Export {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    rows: Rows,
}

/// Which rows.
#[derive(Debug, clap::Args)]
struct Rows {
    /// Only what this user did
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only actions that start so, such as `run.`
    #[arg(long, value_name = "TEXT")]
    action: Option<String>,
    /// Only what was done with subjects that start so, such as `host/`
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// Only what ended so: ok, refused, failed
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
}

impl Rows {
    fn query(&self) -> String {
        let all = [("actor", &self.actor), ("action", &self.action), ("subject", &self.subject), ("outcome", &self.outcome)];
        let given = all.into_iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={}", escape(value))));
        given.collect::<Vec<_>>().join("&")
    }
}

/// Does it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Verify(args) => verify(&args, cx),
        Command::List(args) => block_on(list(args.server.client()?, &args, cx)),
        Command::Export(args) => {
            let client = args.server.client()?;
            let text = block_on(async { client.text(&format!("audit/export?{}", args.rows.query())).await.map_err(failed) })?;
            for line in text.lines() {
                cx.result(line)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn verify(args: &Verify, cx: &Context) -> anyhow::Result<ExitCode> {
    let kept = args.kept.as_ref().map(|kept| &kept.0);
    let verdict = if args.offline {
        block_on(offline(kept, cx))?
    } else {
        let client = args.server.client()?;
        let query = kept.map(|kept| format!("?seq={}&hash={}", kept.seq, kept.hash)).unwrap_or_default();
        block_on(async { client.get::<AuditVerdict>(&format!("audit/verify{query}")).await.map_err(failed) })?
    };
    let code = if verdict.intact { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if args.output == Output::Json {
        cx.json(&verdict)?;
    } else if let Some(hash) = verdict.hash.filter(|_| verdict.intact) {
        cx.result(format!("{} {} rows, the last is {}:{hash}", cx.style(Style::Green, "intact:"), verdict.seq, verdict.seq))?;
        cx.say("keep that line elsewhere: --kept checks it the next time, and so finds a trail that was written anew as a whole")?;
    } else {
        cx.result(format!("{} row {}: {}", cx.style(Style::Red, "broken:"), verdict.seq, verdict.why.unwrap_or_default()))?;
    }
    Ok(code)
}

async fn offline(kept: Option<&AuditHead>, cx: &Context) -> anyhow::Result<AuditVerdict> {
    let path = cx.state_dir()?.path().join(Store::FILE);
    if !path.exists() {
        let hint = "name the server's state directory with --state-dir; with PostgreSQL, ask the server: without --offline".to_owned();
        return Err(CliError { message: format!("there is no database {}", path.display()), hint: Some(hint), code: exit::USAGE }.into());
    }
    let unreadable = |e: &dyn std::fmt::Display| CliError::failed(format!("{}: {e}", path.display()), None);
    let database = SqliteDatabase::open(&path, Arc::new(BootClock::new())).map_err(|e| unreadable(&e))?;
    match database.audit_verify(kept).await {
        Ok(head) => Ok(AuditVerdict { intact: true, seq: head.seq, hash: Some(head.hash), why: None }),
        Err(AuditError::Broken { seq, why }) => Ok(AuditVerdict { intact: false, seq, hash: None, why: Some(why) }),
        Err(AuditError::Store(error)) => Err(unreadable(&error).into()),
    }
}

async fn list(client: Client, args: &List, cx: &Context) -> anyhow::Result<ExitCode> {
    let newest = if args.newest { "&newest=true" } else { "" };
    let mut pages = client.pages::<AuditRow>(&format!("audit?{}{newest}", args.rows.query()), 200);
    let mut rows = Vec::new();
    while args.limit == 0 || rows.len() < args.limit {
        let Some(row) = pages.next().await.map_err(failed)? else { break };
        rows.push(row);
    }
    if args.output == Output::Json {
        cx.json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    for row in rows {
        let detail =
            if row.detail.as_object().is_some_and(serde_json::Map::is_empty) { String::new() } else { clean(&row.detail.to_string()) };
        let at = row.at.strftime("%Y-%m-%d %H:%M:%S");
        cx.result(format!(
            "{:>6}  {at}  {:<16} {:<18} {:<24} {:<8} {detail}",
            row.seq,
            clean(&row.actor),
            row.action,
            clean(&row.subject),
            row.outcome
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
