//! One process among others in a network namespace: its queries and those of its children, and nobody else's.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::json;
use squall_engine::Target;
use squall_testkit::net::Family;

use super::Bench;

/// A shell on the client that runs what it is told: the target. The bench's own program there is the other.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    fn new(bench: &Bench) -> Self {
        let mut command = bench.client.command("sh");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("nsenter");
        let (input, output) = (child.stdin.take().expect("piped"), BufReader::new(child.stdout.take().expect("piped")));
        Self { child, input, output }
    }

    /// What a program says that the shell starts.
    fn run(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}; echo; echo END").and_then(|()| self.input.flush()).expect("the shell reads");
        let mut said = String::new();
        while !said.ends_with("\nEND\n") {
            assert_ne!(self.output.read_line(&mut said).expect("the shell answers"), 0, "the shell has ended: {said}");
        }
        said
    }

    /// Whoever has answered once is there.
    fn target(&mut self) -> Target {
        self.run("true");
        crate::kinds::one(&json!({ "pid": self.child.id(), "name": "sh" }))
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // One that has ended is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn only_the_queries_of_the_process_and_its_children_are_broken() {
    let bench = Bench::new();
    let mut shell = Shell::new(&bench);
    let target = shell.target();
    let made = bench.inject_on("dns.error", json!({ "queries": { "names": ["web.example.com"] } }), &target).await;
    let job = &made.undo["job"]["owner"];
    assert!(job["processes"].is_object(), "told by marks, as it is not alone: {job}");
    for family in Family::BOTH {
        let server = bench.server.address(family);
        for transport in ["+notcp", "+tcp"] {
            let ask = |name: &str| format!("dig +tries=1 +time=1 {transport} @{server} {name} A");
            assert!(shell.run(&ask("web.example.com")).contains("NXDOMAIN"), "{family:?} {transport}");
            assert!(shell.run(&ask("db.example.com")).contains("10.9.9.2"), "{family:?} {transport}");
            assert_eq!(bench.short(family, &format!("{transport} web.example.com A")), ["10.9.9.1"], "{family:?} {transport}: another's");
        }
    }
    let evidence = made.verify().await.evidence;
    assert!(evidence.contains("queries of the target were redirected before") && !evidence.contains(" 0 queries"), "{evidence}");
    made.revert().await;
    let server = bench.server.v4();
    assert!(shell.run(&format!("dig +tries=1 +time=1 @{server} web.example.com A")).contains("10.9.9.1"));
}

#[tokio::test]
async fn two_faults_on_one_process_are_both_in_force_and_pass_each_other() {
    let bench = Bench::new();
    let mut shell = Shell::new(&bench);
    let target = shell.target();
    let slow = bench.inject_on("dns.latency", json!({ "queries": { "names": ["*"] }, "delay": "150ms" }), &target).await;
    let wrong =
        bench.inject_on("dns.wrong-answer", json!({ "queries": { "names": ["web.example.com"] }, "a": ["192.0.2.1"] }), &target).await;
    let server = bench.server.v4();
    let ask = format!("dig +tries=1 +time=1 @{server} web.example.com A");
    let said = shell.run(&ask);
    let time = |said: &str| -> u32 {
        let line = said.lines().find_map(|line| line.strip_prefix(";; Query time: ")).unwrap_or_else(|| panic!("no time: {said}"));
        line.split(' ').next().and_then(|n| n.parse().ok()).expect("milliseconds")
    };
    assert!(said.contains("192.0.2.1") && time(&said) >= 145, "{said}");
    slow.revert().await;
    let said = shell.run(&ask);
    assert!(said.contains("192.0.2.1") && time(&said) < 140, "{said}");
    wrong.revert().await;
    assert!(shell.run(&ask).contains("10.9.9.1"));
}
