//! `cargo xtask test`: everything that CI does, on a machine that has nothing but Rust.

use std::process::Command;

use anyhow::Result;

use crate::shell::{cargo, command, has, run as sh, say};
use crate::{clients, generate, shell, web};

#[derive(clap::Args)]
pub struct Args {
    /// Only the checks and the tests, without the crash matrix, the virtual machine, and the benches at their small size
    #[arg(long)]
    fast: bool,
}

/// Debian packages that tests and benches use, by the program or file that shows whether they are there.
const PACKAGES: &[(&str, &str)] = &[
    ("/usr/include/openssl/ssl.h", "libssl-dev"),
    ("/usr/lib/postgresql", "postgresql"),
    ("/usr/share/fonts/truetype/dejavu", "fonts-dejavu-core"),
    ("/usr/sbin/sshd", "openssh-server"),
    ("bpftool", "bpftool"),
    ("busybox", "busybox-static"),
    ("chromium", "chromium"),
    ("cpio", "cpio"),
    ("curl", "curl"),
    ("depmod", "kmod"),
    ("dig", "bind9-dnsutils"),
    ("dnsmasq", "dnsmasq-base"),
    ("dockerd", "docker.io"),
    ("etcd", "etcd-server"),
    ("etcdctl", "etcd-client"),
    ("faketime", "faketime"),
    ("haproxy", "haproxy"),
    ("ip", "iproute2"),
    ("iperf3", "iperf3"),
    ("nft", "nftables"),
    ("nginx", "nginx"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("openssl", "openssl"),
    ("pkg-config", "pkg-config"),
    ("prometheus", "prometheus"),
    ("python3", "python3-venv"),
    ("strace", "strace"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("stress-ng", "stress-ng"),
    ("wrk", "wrk"),
];

pub fn run_all(args: &Args) -> Result<Vec<String>> {
    let mut skipped = Vec::new();
    install(&mut skipped)?;
    clients::install()?;
    sh(cargo().args(["fmt", "--all", "--check"]))?;
    bans()?;
    sh(cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]))?;
    // The programs that tests start.
    sh(cargo().args(["build", "--workspace", "--bins", "--quiet"]))?;
    let nextest = ["nextest", "run", "--workspace", "--profile", "ci"];
    sh(cargo().args(nextest))?;
    sh(cargo().args(["test", "--workspace", "--doc", "--quiet"]))?;
    generate::run(&generate::Args { check: true })?;
    web::test(&mut skipped)?;
    if args.fast {
        skipped.push("the crash matrix, the virtual machine and the benches: --fast".into());
        return Ok(skipped);
    }
    // What is left behind is a matter of right and wrong, and judged.
    sh(cargo().args(["xtask", "crash-matrix", "--points", "24"]))?;
    // Where netem is; time is counted there, so that its measurements are right on any machine.
    if has("apt-get") {
        sh(cargo().args(["xtask", "vm-test"]))?;
        sh(cargo().args(["xtask", "vm-test", "--package", "squall-faults", "--test", "accuracy"]))?;
        // By a kernel that lists no sockets over netlink: the line that Squall is reached by is found all the same.
        let bare =
            ["--without", "inet_diag", "--without", "tcp_diag", "--without", "udp_diag", "--without", "raw_diag", "ssh_session", "netem::"];
        sh(cargo().args(["xtask", "vm-test", "--package", "squall-faults", "--test", "tc"]).args(bare))?;
        sh(cargo().args(["xtask", "vm-test", "--package", "squall-faults", "--test", "it", "pairs::", "places::"]))?;
    } else {
        skipped.push("the tests in a virtual machine: its kernel comes from apt-get".into());
    }
    // Timings are shown and not judged here: a machine that has just built all this, beside others, is not a quiet one. The
    // same commands without `--quick` judge them.
    let mut benches = vec!["reaction", "bench-cpu", "bench-network", "bench-proxy"];
    if has("python3") {
        benches.push("overhead");
    } else {
        skipped.push("the comparison with Chaos Toolkit: python3 is missing".into());
    }
    for bench in benches {
        if let Err(error) = sh(cargo().args(["xtask", bench, "--quick"])) {
            say(&format!("not met on this machine, now: {error:#}"));
        }
    }
    Ok(skipped)
}

pub fn run(args: &Args) -> Result<()> {
    let skipped = run_all(args)?;
    if skipped.is_empty() {
        say("nothing was skipped");
    }
    for what in &skipped {
        say(&format!("skipped: {what}"));
    }
    Ok(())
}

/// Crates that must not come in, even by way of others.
fn bans() -> Result<()> {
    for name in ["ring", "openssl-sys", "native-tls", "serde_yaml"] {
        let tree = shell::output(cargo().args(["tree", "--workspace", "--edges", "normal,build", "--invert", name]))?;
        if tree.status.success() && !tree.stdout.is_empty() {
            anyhow::bail!("`{name}` is banned and comes in:\n{}", String::from_utf8_lossy(&tree.stdout));
        }
    }
    Ok(())
}

/// Installs what is missing, where that can be done; says what cannot.
fn install(skipped: &mut Vec<String>) -> Result<()> {
    if !has("cargo-nextest") {
        sh(cargo().args(["install", "--locked", "cargo-nextest"]))?;
    }
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(sign, _)| if sign.starts_with('/') { !std::path::Path::new(sign).exists() } else { !has(sign) })
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let root = rustix::process::geteuid().is_root();
    if !has("apt-get") || (!root && !has("sudo")) {
        for package in missing {
            skipped.push(format!("the tests that need {package}: it is not installed, and cannot be from here"));
        }
        return Ok(());
    }
    let apt = |args: &[&str]| -> Command {
        let mut install = if root { command("apt-get") } else { command("sudo") };
        if !root {
            install.arg("apt-get");
        }
        install.env("DEBIAN_FRONTEND", "noninteractive").args(args);
        install
    };
    sh(&mut apt(&["update", "-qq"]))?;
    let mut install = apt(&["install", "-y", "-qq", "--no-install-recommends"]);
    sh(install.args(&missing))?;
    Ok(())
}
