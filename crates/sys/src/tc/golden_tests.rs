//! Our messages against what `tc` sends: `golden/` has one file a command, with the command in its first line, then type and
//! flags of the message, then what follows `struct nlmsghdr`, in hexadecimal digits. The interfaces `sq0` and `sq1` have the
//! indexes 10 and 11.
//!
//! The files are what `strace` saw: `SQUALL_GOLDEN=write cargo nextest run -p squall-sys golden` writes them anew.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::netlink::Message;

/// Name, the file, and our message.
type Case = (&'static str, &'static str, Message);

macro_rules! case {
    ($name:literal, $message:expr) => {
        ($name, include_str!(concat!("golden/", $name, ".txt")), $message)
    };
}

const MS: Duration = Duration::from_millis(1);
const HANDLE: Handle = Handle::new(1, 0);

fn root(kind: Kind) -> Qdisc {
    Qdisc { interface: 10, parent: Handle::ROOT, handle: HANDLE, kind }
}

fn netem(netem: Netem) -> Message {
    let limit = if netem.limit == 0 { 1000 } else { netem.limit };
    root(Kind::Netem(Box::new(Netem { limit, ..netem }))).message(Way::Add)
}

fn delay(latency: Duration) -> Delay {
    Delay { latency, ..Delay::default() }
}

fn share(probability: f64, correlation: f64) -> NetemShare {
    NetemShare { probability, correlation }
}

fn loss(loss: NetemLoss) -> Message {
    netem(Netem { loss: Some(loss), ..Netem::default() })
}

fn rate(bytes_per_second: u64) -> NetemRate {
    NetemRate { bytes_per_second, ..NetemRate::default() }
}

fn delays() -> Vec<Case> {
    let jitter = Delay { latency: 100 * MS, jitter: 10 * MS, ..Delay::default() };
    let table = Delay { distribution: vec![-8192, -1, 0, 5000, 16000], ..jitter.clone() };
    let with = |delay| netem(Netem { delay, ..Netem::default() });
    vec![
        case!("netem_delay", with(delay(100 * MS))),
        case!("netem_jitter", with(Delay { correlation: 0.25, ..jitter })),
        case!("netem_table", with(table)),
        case!("netem_limit", netem(Netem { limit: 50_000, delay: delay(40 * MS), ..Netem::default() })),
        case!(
            "netem_change",
            root(Kind::Netem(Box::new(Netem { limit: 1000, delay: delay(MS / 125), ..Netem::default() }))).message(Way::Change)
        ),
    ]
}

fn losses() -> Vec<Case> {
    vec![
        case!("netem_loss", loss(NetemLoss::Random(share(0.015, 0.0)))),
        case!("netem_loss_correlated", loss(NetemLoss::Random(share(0.1, 0.3)))),
        case!("netem_loss_state", loss(NetemLoss::States { p13: 0.01, p31: 0.3, p32: 0.02, p23: 0.9, p14: 0.005 })),
        case!("netem_loss_gemodel", loss(NetemLoss::GilbertElliott { p: 0.01, r: 0.25, bad: 0.8, good: 0.001 })),
        case!("netem_loss_gilbert", loss(NetemLoss::GilbertElliott { p: 0.03, r: 0.4, bad: 1.0, good: 0.0 })),
    ]
}

fn changes() -> Vec<Case> {
    let reorder = NetemReorder { share: share(0.25, 0.0), gap: 5 };
    let all = Netem {
        limit: 200,
        delay: Delay { latency: 20 * MS, jitter: 4 * MS, correlation: 0.1, distribution: Vec::new() },
        loss: Some(NetemLoss::Random(share(0.02, 0.2))),
        duplicate: Some(share(0.01, 0.0)),
        corrupt: Some(share(0.005, 0.0)),
        reorder: Some(NetemReorder { share: share(0.05, 0.0), gap: 2 }),
        rate: Some(rate(1_250_000)),
        seed: None,
    };
    let cells = NetemRate { bytes_per_second: 625, packet_overhead: 20, cell_size: 100, cell_overhead: 5 };
    vec![
        case!("netem_duplicate", netem(Netem { duplicate: Some(share(0.05, 0.0)), ..Netem::default() })),
        case!("netem_corrupt", netem(Netem { corrupt: Some(share(0.001, 0.0)), ..Netem::default() })),
        case!("netem_reorder", netem(Netem { delay: delay(10 * MS), reorder: Some(reorder), ..Netem::default() })),
        case!("netem_rate", netem(Netem { rate: Some(rate(125_000)), ..Netem::default() })),
        case!("netem_rate_cells", netem(Netem { rate: Some(cells), ..Netem::default() })),
        case!("netem_rate_large", netem(Netem { rate: Some(rate(12_500_000_000)), ..Netem::default() })),
        case!("netem_all", {
            let kind = Kind::Netem(Box::new(all));
            Qdisc { interface: 10, parent: Handle::new(1, 1), handle: Handle::new(0x10, 0), kind }.message(Way::Add)
        }),
    ]
}

fn buckets() -> Vec<Case> {
    let tbf = |bytes_per_second, burst, limit| root(Kind::Tbf(Tbf { bytes_per_second, burst, limit })).message(Way::Add);
    let class = |parent, minor, htb| Class { interface: 10, parent, handle: Handle::new(1, minor), htb };
    let small = HtbClass { rate: 1_250_000, ceil: 2_500_000, burst: 15 << 10, ceil_burst: 16 << 10, priority: 3, quantum: 0 };
    let large = HtbClass { rate: 5_000_000_000, ceil: 10_000_000_000, burst: 1 << 20, ceil_burst: 2 << 20, priority: 0, quantum: 60_000 };
    vec![
        case!("tbf", tbf(125_000, 10 << 10, 3000)),
        case!("tbf_fast", tbf(125_000_000, 125_000, 1_000_000)),
        case!("tbf_large", tbf(10_000_000_000, 10 << 20, 20 << 20)),
        case!("tbf_slow", tbf(1000, 1600, 16_000)),
        case!("htb", root(Kind::Htb(Htb { default_class: 0x10 })).message(Way::Add)),
        case!("htb_class", class(HANDLE, 0x10, small).message(Way::Add)),
        case!("htb_class_large", class(Handle::new(1, 0x10), 0x20, large).message(Way::Add)),
        case!("htb_class_removed", class(HANDLE, 0x10, small).removal()),
    ]
}

fn places() -> Vec<Case> {
    let id = FilterId { interface: 10, parent: Handle::EGRESS, preference: 10, protocol: Protocol::All, handle: 7 };
    let cookie = std::array::from_fn(|at| u8::try_from(at).expect("small"));
    let filter = Filter { id, program: by_mark(4660), redirect: 11, cookie: Some(cookie) };
    let other = FilterId { preference: 50_001, protocol: Protocol::Ipv6, handle: u32::MAX, ..id };
    let ipv6 = Filter { id: other, program: by_mark(1), redirect: 11, cookie: None };
    let ingress = Qdisc { kind: Kind::Ingress, ..Qdisc::clsact(10) };
    let fifo = Qdisc { parent: Handle::new(1, 1), handle: Handle::new(2, 0), ..root(Kind::Pfifo { limit: 1000 }) };
    let bare = Qdisc { handle: Handle::NONE, ..fifo.clone() };
    vec![
        case!("pfifo", fifo.message(Way::Add)),
        case!("clsact", Qdisc::clsact(10).message(Way::Add)),
        case!("clsact_removed", Qdisc::clsact(10).removal()),
        case!("ingress", ingress.message(Way::Add)),
        case!("root_removed", Qdisc { parent: Handle::ROOT, ..bare }.removal()),
        case!("filter", filter.message()),
        case!("filter_ipv6", ipv6.message()),
        case!("filter_removed", id.removal()),
    ]
}

fn equal() -> Vec<Case> {
    [delays(), losses(), changes(), buckets(), places()].concat()
}

/// Where we send something else than `tc`, on purpose.
fn different() -> Vec<Case> {
    let reorder = NetemReorder { share: share(0.25, 0.5), gap: 1 };
    vec![
        case!("netem_duplicate_correlated", netem(Netem { duplicate: Some(share(0.05, 0.5)), ..Netem::default() })),
        case!("netem_corrupt_correlated", netem(Netem { corrupt: Some(share(0.01, 0.2)), ..Netem::default() })),
        case!("netem_reorder_correlated", netem(Netem { delay: delay(10 * MS), reorder: Some(reorder), ..Netem::default() })),
        case!("netem_microseconds", netem(Netem { delay: delay(MS / 1000), ..Netem::default() })),
    ]
}

/// Type and flags, and what follows the header, as in the files.
fn digits(bytes: &[u8]) -> String {
    let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
    let mut text = format!("{:04x} {:04x}\n", word(4), word(6));
    for line in bytes[16..].chunks(32) {
        text.extend(line.iter().map(|byte| format!("{byte:02x}")));
        text.push('\n');
    }
    text
}

fn split(file: &str) -> (&str, &str) {
    file.split_once('\n').expect("the command, then the bytes")
}

fn ours(message: &Message) -> String {
    digits(&message.clone().finish(1))
}

/// The attributes within `TCA_OPTIONS` of a netem message, after its fixed part.
fn netem_attributes(text: &str) -> BTreeMap<u16, Vec<u8>> {
    let hex: String = text.lines().skip(1).collect();
    let bytes: Vec<u8> = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex")).collect();
    let options = crate::netlink::Attributes(&bytes[20..]).find(2).expect("options");
    let fixed = [(u16::MAX, options.bytes[..24].to_vec())];
    let rest = crate::netlink::Attributes(&options.bytes[24..]).into_iter().map(|a| (a.kind, a.bytes.to_vec()));
    rest.chain(fixed).collect()
}

#[test]
fn golden_each_message_is_byte_for_byte_what_tc_sends() {
    for (name, file, message) in equal() {
        assert_eq!(ours(&message), split(file).1, "{name}: {}", split(file).0);
    }
}

#[test]
fn golden_where_tc_sends_something_else_it_is_one_attribute_that_says_less() {
    const CORRELATIONS: u16 = 1;
    const LATENCY64: u16 = 10;
    for (name, file, message) in different() {
        let (mut ours, mut theirs) = (netem_attributes(&ours(&message)), netem_attributes(split(file).1));
        match name {
            // tc reads the correlation and does not send it.
            "netem_duplicate_correlated" => {
                assert!(!theirs.contains_key(&CORRELATIONS), "{name}");
                assert_eq!(ours.remove(&CORRELATIONS).expect("ours")[8..12], 0x8000_0000_u32.to_ne_bytes(), "{name}");
            }
            // tc sends three zeros beside the attribute that has the correlation.
            "netem_corrupt_correlated" | "netem_reorder_correlated" => {
                assert_eq!(theirs.remove(&CORRELATIONS), Some(vec![0; 12]), "{name}");
            }
            // tc sends 15 ticks, which are 960 ns.
            _ => assert_eq!(ours.remove(&LATENCY64), Some(1000_i64.to_ne_bytes().to_vec()), "{name}"),
        }
        assert_eq!(ours, theirs, "{name}: the rest");
    }
}

/// The last message that a `tc` command sends with `sendmsg`, in a network namespace of its own, whatever the kernel says to it.
#[expect(clippy::disallowed_methods, reason = "it runs tc under strace, to see what it sends")]
fn captured(line: &str, tables: &Path) -> String {
    let script = "ip link add sq0 index 10 type veth peer name sq1 index 11 && \
                  exec strace -f -qq -e trace=sendmsg -e signal=none -e write=all \"$@\"";
    let words = line.split(' ').map(|word| word.replace('@', " "));
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", script, "sh"])
        .args(words)
        .env("TC_LIB_DIR", tables)
        .stdin(Stdio::null())
        .output()
        .expect("this test needs unshare (package util-linux)");
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.rfind("sendmsg(").unwrap_or_else(|| panic!("this test needs strace, ip and tc (iproute2), as root: {text}"));
    let dump = text[last..].lines().skip(1).take_while(|line| line.starts_with(" |") || line.starts_with(" *"));
    // ` | 00000  30 00 00 00 24 00 05 06  6d a4 01 6b 00 00 00 00  0...$...m..k.... |`
    let hex = dump.filter(|line| line.starts_with(" |")).filter_map(|line| line.get(10..59));
    let bytes: Vec<u8> =
        hex.flat_map(|part| part.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("hex")).collect::<Vec<_>>()).collect();
    digits(&bytes)
}

#[test]
fn golden_files_are_what_the_tc_of_this_machine_sends() {
    let tables = tempfile::tempdir().expect("a directory");
    std::fs::write(tables.path().join("squall.dist"), "# five numbers\n-8192 -1 0\n5000 16000\n").expect("written");
    let write = std::env::var("SQUALL_GOLDEN").is_ok_and(|what| what == "write");
    for (name, file, _) in equal().into_iter().chain(different()) {
        let (line, golden) = split(file);
        let now = captured(line, tables.path());
        if write {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/tc/golden/{name}.txt"));
            std::fs::write(path, format!("{line}\n{now}")).expect("written");
        } else {
            assert_eq!(now, golden, "{name}: {line}");
        }
    }
}
