//! `cargo xtask dead-man` and `cargo xtask bench-fleet`: real servers and agents, killed and cut off, and many of them. Both are parts
//! of the tests of `squall-server`, in a larger size.

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

fn program(words: impl IntoIterator<Item = String>) -> Result<()> {
    let mut cargo = shell::cargo();
    cargo.args(["test", "--quiet", "--release", "-p", "squall-server", "--test", "fleet", "--"]).args(words);
    shell::run(&mut cargo)
}

/// Needs root: its hosts are network namespaces.
pub fn dead_man(args: &DeadMan) -> Result<()> {
    program(["points".to_owned(), args.points.to_string()])
}

pub fn bench(args: &Bench) -> Result<()> {
    program(std::iter::once("bench".to_owned()).chain(args.agents.iter().map(u32::to_string)))
}
