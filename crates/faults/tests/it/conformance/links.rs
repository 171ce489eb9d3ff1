//! A host whose interface or ports are broken.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use squall_engine::{AnyFault, Target};
use squall_faults::network::{Down, Mtu, PortExhaustion};
use squall_testkit::conformance::{Subject, World};
use squall_testkit::net::{Host, Lab};
use squall_undo::boottime;

/// The rows of these faults.
pub fn rows() -> Vec<Subject> {
    let row = |row, fault: Arc<dyn AnyFault>, world, bad| Subject { row, fault, world, bad };
    let without = |interface: Json| json!({ "interface": interface });
    vec![
        row("network.down", Arc::new(Down), || Box::new(Machine::down()), vec![json!({}), without(json!("")), without(json!(1))]),
        row(
            "network.mtu",
            Arc::new(Mtu),
            || Box::new(Machine::narrow()),
            vec![json!({ "mtu": 1280 }), json!({ "interface": "eth0", "mtu": 10 }), json!({ "interface": "", "mtu": 1400 })],
        ),
        row(
            "network.port-exhaustion",
            Arc::new(PortExhaustion),
            || Box::new(Machine::exhausted()),
            vec![json!({ "leave": -1 }), json!({ "leave": 70_000 }), json!({ "leave": "all" })],
        ),
    ]
}

/// How long the kernel may take to settle what is set.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);

struct Machine {
    host: Host,
    args: Json,
    broken: fn(&Host) -> Result<(), String>,
    before: String,
    _lab: Lab,
}

fn look(host: &Host) -> String {
    let lines = [
        "ip link",
        "ip addr",
        "ip rule",
        "ip route show table all",
        "ip -6 route show table all",
        "ip neigh show nud permanent",
        "tc qdisc",
    ];
    let shown: String = lines.map(|line| host.run(line)).join("\n");
    shown + &host.within(|| std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").expect("read"))
}

fn settled(host: &Host, wanted: impl Fn(&str) -> bool) -> String {
    let end = boottime() + SETTLES_WITHIN;
    loop {
        let text = look(host);
        if (!text.contains("tentative") && wanted(&text)) || boottime() > end {
            return text;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn says(host: &Host, line: &str, word: &str) -> Result<(), String> {
    let text = host.run(line);
    if text.contains(word) { Ok(()) } else { Err(text) }
}

impl Machine {
    fn new(args: Json, broken: fn(&Host) -> Result<(), String>) -> Self {
        let lab = Lab::new();
        let (host, other) = (lab.host("here"), lab.host("there"));
        host.run("ip addr add 2001:db8::5/64 dev eth0 nodad");
        host.run(&format!("ip route add default via {} metric 5", other.v4()));
        host.run(&format!("ip -6 route add default via {} metric 5 mtu 1400", other.v6()));
        host.run("ip neigh add 10.0.0.55 lladdr 02:00:00:00:00:55 nud permanent dev eth0");
        let before = settled(&host, |_| true);
        Self { host, args, broken, before, _lab: lab }
    }

    fn down() -> Self {
        Self::new(json!({ "interface": "eth0" }), |host| says(host, "ip link show eth0", "state DOWN"))
    }

    fn narrow() -> Self {
        Self::new(json!({ "interface": "eth0", "mtu": 1300 }), |host| says(host, "ip link show eth0", "mtu 1300 "))
    }

    fn exhausted() -> Self {
        Self::new(Json::Null, |host| match host.within(|| UdpSocket::bind("0.0.0.0:0")) {
            Ok(socket) => Err(format!("{:?} was given", socket.local_addr())),
            Err(_) => Ok(()),
        })
    }
}

impl World for Machine {
    fn target(&self) -> Target {
        self.host.target()
    }
    fn args(&self) -> Json {
        self.args.clone()
    }
    fn untouched(&self) -> Result<(), String> {
        let now = look(&self.host);
        if now == self.before { Ok(()) } else { Err(format!("--- before\n{}\n--- now\n{now}", self.before)) }
    }
    fn broken(&self) -> Result<(), String> {
        (self.broken)(&self.host)
    }
    fn restored(&self) -> Result<(), String> {
        settled(&self.host, |text| text == self.before);
        self.untouched()
    }
}
