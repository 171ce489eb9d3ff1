//! `cargo xtask dead-man`, `high-availability`, `malformed-frames` and `bench-fleet`: real servers and agents, killed and cut off, and many
//! of them. All are parts of the tests of `squall-server` and `squall`, in a larger size.

use anyhow::Result;

use crate::shell;

#[derive(clap::Args)]
pub struct DeadMan {
    /// Random points of runs at which something is killed, cut off or started anew
    #[arg(long, default_value_t = 100)]
    points: u32,
}

#[derive(clap::Args)]
pub struct Bench {
    /// Agents on one server
    #[arg(default_values_t = [500, 1000, 2000])]
    agents: Vec<u32>,
}

#[derive(clap::Args)]
pub struct HighAvailability {
    /// How often each of the two servers is killed
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// Decides at which moments
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(clap::Args)]
pub struct Malformed {
    /// Frames of strangers, and as many of somebody with an agent's certificate
    #[arg(long, default_value_t = 10_000)]
    count: u32,
}

fn program(words: impl IntoIterator<Item = String>) -> Result<()> {
    let mut cargo = shell::cargo();
    cargo.args(["test", "--quiet", "--release", "-p", "squall-server", "--test", "fleet", "--"]).args(words);
    shell::run(&mut cargo)
}

/// Needs root: its hosts are network namespaces.
pub fn dead_man(args: &DeadMan) -> Result<()> {
    program(["points".to_owned(), args.points.to_string()])
}

/// Needs `PostgreSQL`, as the tests do.
pub fn high_availability(args: &HighAvailability) -> Result<()> {
    let mut cargo = shell::cargo();
    cargo.args(["test", "--quiet", "-p", "squall", "--test", "high_availability", "--", "--nocapture"]);
    cargo.env("SQUALL_KILLS", args.kills.to_string());
    if let Some(seed) = args.seed {
        cargo.env("SQUALL_SEED", seed.to_string());
    }
    shell::run(&mut cargo)
}

pub fn malformed(args: &Malformed) -> Result<()> {
    program(["malformed".to_owned(), args.count.to_string()])
}

pub fn bench(args: &Bench) -> Result<()> {
    program(std::iter::once("bench".to_owned()).chain(args.agents.iter().map(u32::to_string)))
}
