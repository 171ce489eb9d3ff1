//! Three members of etcd; the leader is cut off from the two others.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value as Json, json};
use squall_testkit::eventually;
use squall_testkit::net::{Family, Host, Lab};
use squall_undo::boottime;

use crate::field::{Field, Victim, text};

const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;

/// A cluster, and a host from which it is used.
struct Cluster {
    members: Vec<Member>,
    client: Host,
    field: Field,
    // Last: it takes what is left on its hosts with it.
    _lab: Lab,
}

struct Member {
    host: Host,
    process: Victim,
}

impl Cluster {
    fn start() -> Self {
        super::need("etcd", "etcd-server");
        super::need("etcdctl", "etcd-client");
        let (lab, field) = (Lab::new(), Field::new());
        let hosts: Vec<Host> = (0..3).map(|number| lab.host(&format!("etcd{number}"))).collect();
        let client = lab.host("client");
        let all: Vec<String> = hosts.iter().map(|host| format!("{}=http://{}", host.name(), host.socket(Family::V4, PEERS))).collect();
        let members = hosts.into_iter().map(|host| Member::start(host, &field, &all.join(","))).collect();
        let cluster = Self { members, client, field, _lab: lab };
        eventually("every member knows the leader", || cluster.leader().is_some());
        cluster
    }

    /// Which member all of them take for the leader.
    fn leader(&self) -> Option<usize> {
        let states: Vec<Json> =
            self.members.iter().map(|member| self.ask(member, "maintenance/status", &json!({}))).collect::<Option<_>>()?;
        let leader = states[0]["leader"].as_str().filter(|leader| *leader != "0")?;
        let same = states.iter().all(|state| state["leader"] == leader);
        states.iter().position(|state| same && state["header"]["member_id"] == leader)
    }

    fn ask(&self, member: &Member, what: &str, request: &Json) -> Option<Json> {
        self.client.within(|| post(&member.host, what, request, Duration::from_secs(1)))
    }

    /// Everything that was written, as one member has it.
    fn content(&self, member: usize) -> BTreeMap<u64, String> {
        let endpoint = format!("--endpoints={}", self.url(member));
        let mut get = self.client.command("etcdctl");
        get.env("ETCDCTL_API", "3").args([&endpoint, "--consistency=s", "get", "--prefix", "written/"]);
        let output = get.output().expect("etcdctl");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<&str> = said.lines().collect();
        let number = |key: &str| key.strip_prefix("written/").and_then(|number| number.parse().ok());
        lines.chunks_exact(2).filter_map(|pair| Some((number(pair[0])?, pair[1].to_owned()))).collect()
    }

    fn url(&self, member: usize) -> String {
        format!("http://{}", self.members[member].host.socket(Family::V4, CLIENTS))
    }

    /// What the experiment is given when this member is cut off, and these are written to.
    fn set(&self, cut: usize, writes_to: &[usize]) -> Vec<(&'static str, String)> {
        let others: Vec<&Member> = (0..3).filter(|member| *member != cut).map(|member| &self.members[member]).collect();
        let endpoints: Vec<String> = writes_to.iter().map(|member| self.url(*member)).collect();
        let own = self.field.path(self.members[cut].host.name()).display().to_string();
        vec![
            ("member", own),
            ("peer1", others[0].host.v4().to_string()),
            ("peer2", others[1].host.v4().to_string()),
            ("endpoints", endpoints.join(",")),
            ("steady", "2s".into()),
            ("for", "8s".into()),
            ("back", "6s".into()),
            ("recover", "20s".into()),
        ]
    }
}

impl Member {
    fn start(host: Host, field: &Field, all: &str) -> Self {
        let (peers, clients) = (host.socket(Family::V4, PEERS), host.socket(Family::V4, CLIENTS));
        let mut etcd = host.command("etcd");
        etcd.args(["--name", host.name(), "--data-dir"]).arg(field.path(host.name()));
        etcd.args(["--listen-peer-urls", &format!("http://{peers}"), "--initial-advertise-peer-urls", &format!("http://{peers}")]);
        etcd.args(["--listen-client-urls", &format!("http://{clients}"), "--advertise-client-urls", &format!("http://{clients}")]);
        etcd.args(["--initial-cluster", all, "--initial-cluster-state", "new"]);
        let log = std::fs::File::create(field.path(&format!("{}.log", host.name()))).expect("a log");
        etcd.stdout(std::process::Stdio::null()).stderr(log);
        let process = Victim(etcd.spawn().expect("started"));
        Self { host, process }
    }
}

/// One request to the JSON gateway of a member, from the network that the calling thread is in.
fn post(member: &Host, what: &str, request: &Json, limit: Duration) -> Option<Json> {
    let address = member.socket(Family::V4, CLIENTS);
    let mut stream = TcpStream::connect_timeout(&address, limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    let body = request.to_string();
    let head = format!("POST /v3/{what} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if !head.starts_with("HTTP/1.1 200") {
        return None;
    }
    // It may come in chunks; there is one object in it.
    serde_json::from_str(&body[body.find('{')?..=body.rfind('}')?]).ok()
}

/// Writes on and on, to each member in turn, and remembers what was acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Written>>,
}

/// An acknowledged write.
#[derive(Debug, Clone, Copy)]
struct Written {
    number: u64,
    member: usize,
    at: Duration,
}

impl Writer {
    fn start(cluster: &Cluster) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopping, client) = (stop.clone(), cluster.client.clone());
        let members: Vec<Host> = cluster.members.iter().map(|member| member.host.clone()).collect();
        let write = move || {
            let mut acknowledged = Vec::new();
            let mut turns = (0..members.len()).cycle();
            for number in 0.. {
                if stopping.load(Ordering::Relaxed) {
                    break;
                }
                let member = turns.next().unwrap_or_default();
                let (key, value) = (base64(&format!("written/{number}")), base64(&value_of(number)));
                let request = json!({ "key": key, "value": value });
                if post(&members[member], "kv/put", &request, Duration::from_millis(300)).is_some() {
                    acknowledged.push(Written { number, member, at: boottime() });
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            acknowledged
        };
        Self { stop, thread: std::thread::spawn(move || client.within(write)) }
    }

    fn finish(self) -> Vec<Written> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it wrote")
    }
}

fn value_of(number: u64) -> String {
    format!("value {}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// RFC 4648, as the gateway wants it.
fn base64(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().enumerate().fold(0_u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            encoded.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    encoded
}

#[test]
fn a_leader_that_is_cut_off_is_replaced_and_no_acknowledged_write_is_lost() {
    assert_eq!((base64("a"), base64("ab"), base64("abc")), ("YQ==".into(), "YWI=".into(), "YWJj".into()));
    let cluster = Cluster::start();
    let leader = cluster.leader().expect("a leader");
    let others: Vec<usize> = (0..3).filter(|member| *member != leader).collect();
    let writer = Writer::start(&cluster);
    let begin = boottime();
    let output = super::run(&cluster.field, &cluster.client, "etcd-leader-partition", &cluster.set(leader, &others));
    let end = boottime();
    eventually("every member knows the leader", || cluster.leader().is_some());
    let written = writer.finish();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_ne!(cluster.leader(), Some(leader), "there was an election");

    // Those that stayed together went on, but for the time of the election; the one that was cut off acknowledged nothing.
    let gap = |members: &[usize]| {
        let mut times: Vec<Duration> = written.iter().filter(|one| members.contains(&one.member)).map(|one| one.at).collect();
        times.insert(0, begin);
        times.push(end.max(times[times.len() - 1]));
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    };
    assert!(gap(&others) < Duration::from_secs(6), "writes stopped for {:?}", gap(&others));
    assert!(gap(&[leader]) > Duration::from_secs(6), "writes to the member that was cut off stopped for {:?} only", gap(&[leader]));

    assert!(written.len() > 100, "{} writes", written.len());
    for member in 0..3 {
        let missing = || {
            let content = cluster.content(member);
            let wrong: Vec<u64> =
                written.iter().map(|one| one.number).filter(|number| content.get(number) != Some(&value_of(*number))).collect();
            if wrong.is_empty() { Ok(()) } else { Err(format!("{} of {} are missing: {wrong:?}", wrong.len(), written.len())) }
        };
        squall_testkit::eventually_ok("every acknowledged write is there", missing);
    }
    assert!(cluster.members.iter().all(|member| member.process.state().is_some()), "every member lives");
}

#[test]
fn whoever_writes_to_the_leader_that_is_cut_off_sees_the_experiment_deviate() {
    let cluster = Cluster::start();
    let leader = cluster.leader().expect("a leader");
    let mut set = cluster.set(leader, &[leader]);
    set.retain(|(name, _)| !["back", "for"].contains(name));
    set.extend([("back", "2s".to_owned()), ("for", "8s".to_owned())]);
    let output = super::run(&cluster.field, &cluster.client, "etcd-leader-partition", &set);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    eventually("every member knows the leader again", || cluster.leader().is_some());
}
