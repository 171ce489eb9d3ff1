//! Tables of `nf_tables`, looked at with nft, and with packets.

mod golden;
mod life;
mod packets;
mod speed;

use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};

use rustix::thread::UnshareFlags;
use squall_sys::nft::{Base, Chain, ChainKind, Expression, Hook, Rule, Table};
use squall_undo::Armed;

fn armed() -> Armed {
    Armed::received(b"go").expect("the line that hands a token over")
}

/// Does something in a network namespace of its own, whose loopback is up. It is gone afterwards.
fn in_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let there = || {
        // SAFETY: only this thread's network namespace changes, and the thread ends with the test's work; no memory or
        // descriptor is unshared. Safe code cannot do it: rustix has no safe way to a new namespace.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.expect("a namespace can be made: are you root?");
        run("ip", &["link", "set", "lo", "up"]);
        work()
    };
    match std::thread::scope(|scope| scope.spawn(there).join()) {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[expect(clippy::disallowed_methods, reason = "what is made is looked at with the tools that people use")]
fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    command
}

fn try_run(program: &str, args: &[&str]) -> Output {
    command(program, args).output().unwrap_or_else(|e| panic!("{program} cannot be started: {e}"))
}

fn run(program: &str, args: &[&str]) -> String {
    let output = try_run(program, args);
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// What nft lists, without the lines that say whose the table is.
fn listed(table: &str) -> String {
    // `table inet golden { # progname it-1234` and `flags owner`, which stands alone.
    let text = run("nft", &["list", "table", "inet", table]).replace("\tflags owner\n\n", "");
    text.lines().map(|l| format!("{}\n", l.split(" # progname").next().unwrap_or(l))).collect()
}

fn rule(comment: &str, expressions: impl Into<Vec<Expression>>) -> Rule {
    Rule { expressions: expressions.into(), comment: comment.into() }
}

fn chain(name: &str, base: Option<(ChainKind, Hook, i32)>, rules: Vec<Rule>) -> Chain {
    let base = base.map(|(kind, hook, priority)| Base { hook, priority, kind });
    Chain { name: name.into(), base, rules }
}

/// A table of one chain in the hook for packets that leave.
fn outgoing(name: &str, rules: Vec<Rule>) -> Table {
    Table { name: name.into(), sets: Vec::new(), chains: vec![chain("out", Some((ChainKind::Filter, Hook::Output, 0)), rules)] }
}

/// Packets that each rule counted, by its comment.
fn counted(table: &str) -> Vec<(String, u64)> {
    let counters = squall_sys::nft::counters(table).expect("counters can be read").expect("the table is there");
    counters.into_iter().map(|c| (c.comment, c.packets)).collect()
}

/// Sends so many datagrams there, over loopback.
fn send(to: &str, datagrams: usize) {
    let from = if to.starts_with('[') { "[::1]:0" } else { "127.0.0.1:0" };
    let socket = UdpSocket::bind(from).expect("a socket");
    for _ in 0..datagrams {
        // Refused, where nobody listened to the one before.
        while socket.send_to(b"x", to).is_err() {}
    }
}
