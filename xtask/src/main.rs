//! The chores of the project: `cargo xtask test` is everything that CI does, the rest are its parts and the benches.

mod bench_cpu;
mod bench_network;
mod bench_proxy;
mod clients;
mod cpu_meter;
mod crash_matrix;
mod fleet;
mod generate;
mod overhead;
mod reaction;
mod shell;
mod test;
mod vm;
mod vm_test;
mod web;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the Squall project")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the tests need, then run every check and every test
    Test(test::Args),
    /// Write the generated references, or check that they are up to date
    Gen(generate::Args),
    /// Bench: exactness of `cpu.load`, second by second, beside stress-ng
    BenchCpu(bench_cpu::Args),
    /// Keep a share of some cores busy for ever: the other program of `bench-cpu`
    #[command(hide = true)]
    Spin {
        /// The share, in percent
        percent: u32,
        /// The cores
        cores: Vec<usize>,
    },
    /// Bench: how exact network faults are, and what they cost whom they are not for
    BenchNetwork(bench_network::Args),
    /// Bench: the fault proxy beside no proxy, `HAProxy`, Envoy and Toxiproxy
    BenchProxy(bench_proxy::Args),
    /// The server behind the proxies of `bench-proxy`
    #[command(hide = true)]
    BenchProxyBackend,
    /// Bench: thousands of agents on one server, their beats and the red button
    BenchFleet(fleet::Bench),
    /// Kill, cut off and restart servers and agents at random points of runs; no fault may outlive its lease
    DeadMan(fleet::DeadMan),
    /// Kill each of two servers over one `PostgreSQL` again and again while schedules and runs go on; nothing may be lost or done twice
    HighAvailability(fleet::HighAvailability),
    /// Send the server's listener of agents what nobody would send who means well
    MalformedFrames(fleet::Malformed),
    /// Install the client libraries that tests drive, from `PyPI` and npm
    Clients,
    /// Kill `squall run` at hundreds of points of its life; nothing may be left behind
    CrashMatrix(crash_matrix::Args),
    /// Wait to be broken: a process of `crash-matrix`
    #[command(hide = true)]
    Victim {
        /// By which it is found again
        token: String,
    },
    /// Bench: time from the breach of a guard to the fault being gone
    Reaction(reaction::Args),
    /// Run tests in a virtual machine whose kernel has what this one may lack: netem, and a queue for `nf_tables`
    VmTest(vm_test::Args),
    /// The console: its types, checks, tests and build, and the same in a browser against a real server
    Web(web::Args),
    /// Bench: the smallest experiment, and 200 probes, against Chaos Toolkit
    Overhead(overhead::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::Test(args) => test::run(&args),
        Task::Gen(args) => generate::run(&args),
        Task::BenchCpu(args) => bench_cpu::run(&args),
        Task::Spin { percent, cores } => cpu_meter::spin(&cores, percent),
        Task::BenchNetwork(args) => bench_network::run(&args),
        Task::BenchProxy(args) => bench_proxy::run(&args),
        Task::BenchProxyBackend => bench_proxy::serve(),
        Task::BenchFleet(args) => fleet::bench(&args),
        Task::DeadMan(args) => fleet::dead_man(&args),
        Task::HighAvailability(args) => fleet::high_availability(&args),
        Task::MalformedFrames(args) => fleet::malformed(&args),
        Task::Clients => clients::install(),
        Task::CrashMatrix(args) => crash_matrix::run(&args),
        Task::Victim { token } => {
            crash_matrix::live_as_victim(&token);
            Ok(())
        }
        Task::Reaction(args) => reaction::run(&args),
        Task::VmTest(args) => vm_test::run(&args),
        Task::Web(args) => web::run(&args),
        Task::Overhead(args) => overhead::run(&args),
    }
}
