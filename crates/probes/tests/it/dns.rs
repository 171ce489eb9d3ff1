//! The `dns` probe, with a real name server (dnsmasq) on a host of its own.

use std::process::{Child, Stdio};

use serde_json::{Value as Json, json};
use squall_model::Value;
use squall_testkit::eventually;
use squall_testkit::net::{Family, Host, Lab};

use crate::support::{complaints, error, number, once};

struct NameServer {
    child: Child,
    host: Host,
    _lab: Lab,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // One that has ended is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl NameServer {
    fn new() -> Self {
        let lab = Lab::new();
        let host = lab.host("server");
        let mut command = host.command("dnsmasq");
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--user=root", "--pid-file="]);
        command.args(["--host-record=web.example.com,10.9.9.1,fd99::1", "--host-record=web.example.com,10.9.9.2", "--local-ttl=300"]);
        command.args(["--cname=www.example.com,web.example.com", "--local=/example.com/"]);
        command.args((0..8).map(|n| format!("--txt-record=big.example.com,{n}{}", "x".repeat(180))));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("nsenter: install the Debian packages util-linux and dnsmasq-base");
        let listening = || host.output("ss -Hlun sport 53").stdout.len() + host.output("ss -Hltn sport 53").stdout.len();
        eventually("dnsmasq listens on both", || listening() > 100);
        Self { child, host, _lab: lab }
    }

    /// Asks once, from the host that the server is on.
    fn ask(&self, family: Family, name: &str, more: Json) -> Result<Value, String> {
        let mut args = json!({ "name": name, "server": self.host.socket(family, 53).to_string() });
        args.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        self.run(|| async { once("dns", args).await })
    }

    /// Runs on the host: sockets are opened there.
    fn run<F: Future>(&self, work: impl FnOnce() -> F + Send) -> F::Output
    where
        F::Output: Send,
    {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        self.host.within(|| runtime().block_on(work()))
    }
}

fn text(text: &str) -> Result<Value, String> {
    Ok(Value::Text(text.into()))
}

#[test]
fn a_name_server_is_asked_by_both_families_and_transports() {
    let server = NameServer::new();
    for family in Family::BOTH {
        for transport in ["udp", "tcp"] {
            let ask = |name: &str, kind: &str, measure: &str| {
                server.ask(family, name, json!({ "type": kind, "measure": measure, "transport": transport }))
            };
            assert_eq!(ask("web.example.com", "A", "resolves"), Ok(Value::Number(1.0)));
            assert_eq!(ask("web.example.com", "a", "count"), Ok(Value::Number(2.0)));
            assert_eq!(ask("WEB.example.com.", "A", "records"), text("10.9.9.1, 10.9.9.2"));
            assert_eq!(ask("www.example.com", "AAAA", "records"), text("fd99::1"), "by way of a CNAME");
            assert_eq!(ask("web.example.com", "A", "ttl"), Ok(Value::Number(300.0)));
            assert_eq!(ask("web.example.com", "MX", "code"), text("NOERROR"));
            assert_eq!(ask("web.example.com", "MX", "resolves"), Ok(Value::Number(0.0)), "no data");
            assert_eq!(ask("none.example.com", "A", "code"), text("NXDOMAIN"));
            assert_eq!(ask("none.example.com", "A", "resolves"), Ok(Value::Number(0.0)));
            assert_eq!(ask("example.org", "A", "code"), text("REFUSED"));
            let Ok(Value::Number(latency)) = ask("web.example.com", "A", "latency") else { panic!("a time") };
            assert!(latency > 0.0 && latency < 1.0, "{latency}");
        }
    }
}

#[test]
fn an_answer_that_is_cut_is_asked_for_again_over_tcp() {
    let server = NameServer::new();
    assert_eq!(server.ask(Family::V4, "big.example.com", json!({ "type": "TXT", "measure": "count" })), Ok(Value::Number(8.0)));
}

#[test]
fn a_server_that_is_not_there_or_silent_is_told_apart() {
    let server = NameServer::new();
    server.run(|| async {
        let refused = json!({ "name": "a.b", "server": "127.0.0.1:5399" });
        let with = |measure: &str| {
            let mut args = refused.clone();
            args["measure"] = measure.into();
            args
        };
        assert_eq!(once("dns", refused.clone()).await, Ok(Value::Number(0.0)));
        assert!(error("dns", with("code")).await.contains("refused"));
        // One that reads and says nothing.
        let silent = tokio::net::UdpSocket::bind("127.0.0.1:5398").await.expect("bound");
        let silent = json!({ "name": "a.b", "server": silent.local_addr().expect("bound").to_string(), "measure": "code" });
        assert_eq!(once("dns", silent).await, text("TIMEOUT"));
        assert!(error("dns", json!({ "name": "a.b", "server": "127.0.0.1:5399", "measure": "latency" })).await.contains("127.0.0.1:5399"));
        assert!(number("tcp", json!({ "address": "127.0.0.1:53", "measure": "roundTrip" })).await < 1.0);
    });
}

#[test]
fn what_cannot_be_asked_is_refused_with_a_hint() {
    for bad in [
        json!({ "name": "" }),
        json!({ "name": "a..b" }),
        json!({ "name": "a.b", "type": "ADDRESS" }),
        json!({ "name": "a.b", "server": "ns.example.com" }),
    ] {
        assert!(complaints("dns", &bad).contains("write"), "{bad}");
    }
    assert_eq!(complaints("dns", &json!({ "name": "a.b", "type": "type65", "server": "fd00::1" })), "");
}
