//! `cargo xtask vm-test`: tests of network faults in a virtual machine. The same tests as everywhere, carried by netem.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;
use crate::vm::{Machine, Time};

#[derive(clap::Args)]
pub struct Args {
    /// The package whose tests they are
    #[arg(long, default_value = "squall-testkit")]
    package: String,
    /// The file in `tests/` that has them, without `.rs`; or `lib`, for those in `src/`
    #[arg(long, default_value = "net")]
    test: String,
    /// A test program that is there already, in place of building one
    #[arg(long, value_name = "FILE")]
    built: Option<PathBuf>,
    /// What else to take along, to the same place: the programs that a test program from `--built` starts
    #[arg(long, value_name = "FILE")]
    take: Vec<PathBuf>,
    /// By which faults are carried: `SQUALL_TEST_MECHANISM`
    #[arg(long, default_value = "netem")]
    mechanism: String,
    /// Let time pass as outside, and not by counted instructions
    #[arg(long)]
    real_time: bool,
    /// Cores; more than one only make things slower where time is counted
    #[arg(long, default_value_t = 1)]
    cores: u32,
    /// Memory, in MiB
    #[arg(long, default_value_t = 1024)]
    memory: u32,
    /// Leave a module of the kernel out, to see what is done without it
    #[arg(long, value_name = "MODULE")]
    without: Vec<String>,
    /// Show what tests print
    #[arg(long)]
    show: bool,
    /// More environment: `NAME=VALUE`
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Only tests with one of these in their name
    tests: Vec<String>,
}

/// Programs of network tests, with the Debian packages they are in.
const PROGRAMS: [(&str, &str); 9] = [
    ("bpftool", "bpftool"),
    ("chrt", "util-linux"),
    ("dig", "bind9-dnsutils"),
    ("dnsmasq", "dnsmasq-base"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("sleep", "coreutils"),
    ("tc", "iproute2"),
];

/// What those read, or what tests put something else in the place of.
const FILES: [&str; 7] = [
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/usr/lib/x86_64-linux-gnu/tc",
];

/// All that network faults and the hosts of the tests use of the kernel.
const MODULES: &[&str] = &[
    "8021q",
    "act_gact",
    "act_mirred",
    "act_skbedit",
    "bridge",
    "cls_basic",
    "cls_bpf",
    "cls_flower",
    "cls_matchall",
    "cls_u32",
    "dummy",
    "ifb",
    "inet_diag",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_nat",
    "nf_tables",
    "nfnetlink",
    "nfnetlink_queue",
    "nft_chain_nat",
    "nft_compat",
    "nft_ct",
    "nft_hash",
    "nft_limit",
    "nft_masq",
    "nft_nat",
    "nft_numgen",
    "nft_queue",
    "nft_quota",
    "nft_redir",
    "nft_reject",
    "nft_reject_inet",
    "nft_socket",
    "raw_diag",
    "sch_htb",
    "sch_ingress",
    "sch_netem",
    "sch_prio",
    "sch_tbf",
    "tcp_diag",
    "udp_diag",
    "veth",
    "xt_NFQUEUE",
];

pub fn run(args: &Args) -> Result<()> {
    let Built { test, programs } = match &args.built {
        Some(test) => Built { test: test.clone(), programs: Vec::new() },
        None => build(&args.package, &args.test)?,
    };
    let mut inside: Vec<(PathBuf, &str)> = vec![(test, "the-test")];
    for (program, package) in PROGRAMS {
        let path = shell::which(program).with_context(|| format!("`{program}` is missing: install the Debian package {package}"))?;
        inside.push((path.canonicalize()?, program));
    }
    // Tests know the programs of their package by where they were built.
    let mut files = programs;
    files.extend(args.take.iter().cloned());
    files.extend(FILES.iter().map(PathBuf::from).filter(|file| file.exists()));
    let environment: String = args.env.iter().map(|pair| format!("{pair} ")).collect();
    let shown = if args.show { " --show-output" } else { "" };
    let line = format!(
        "{environment}SQUALL_TEST_MECHANISM={} RUST_BACKTRACE=0 the-test --include-ignored --test-threads=1{shown} {}",
        args.mechanism,
        args.tests.join(" ")
    );
    if let Some(unknown) = args.without.iter().find(|name| !MODULES.contains(&name.as_str())) {
        bail!("{unknown} is none of the modules: {}", MODULES.join(", "));
    }
    let modules: Vec<&str> = MODULES.iter().copied().filter(|module| !args.without.iter().any(|name| name == module)).collect();
    Machine {
        programs: &inside,
        files: &files,
        modules: &modules,
        line: &line,
        descriptors: 65_536,
        cores: args.cores,
        memory_mib: args.memory,
        time: if args.real_time { Time::Real } else { Time::Counted },
    }
    .run()
}

/// A test program, and the programs of its package.
struct Built {
    test: PathBuf,
    programs: Vec<PathBuf>,
}

/// Builds them as `cargo test` does, and lets cargo say where they are.
fn build(package: &str, test: &str) -> Result<Built> {
    let mut cargo = shell::cargo();
    cargo.args(["test", "--quiet", "--package", package, "--no-run", "--message-format=json-render-diagnostics"]);
    if test == "lib" {
        cargo.arg("--lib")
    } else {
        cargo.args(["--test", test])
    };
    let output = cargo.stderr(std::process::Stdio::inherit()).output().context("cargo")?;
    if !output.status.success() {
        bail!("the tests of {package} could not be built");
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let artifacts: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of_kind = |kind: &str| -> Vec<PathBuf> {
        let is = |artifact: &&Value| artifact["target"]["kind"][0] == kind && (kind == "bin" || artifact["profile"]["test"] == true);
        artifacts.iter().filter(is).filter_map(|artifact| Some(Path::new(artifact["executable"].as_str()?).to_owned())).collect()
    };
    let test =
        of_kind(if test == "lib" { "lib" } else { "test" }).into_iter().next().with_context(|| format!("cargo built no test {test}"))?;
    Ok(Built { test, programs: of_kind("bin") })
}
