//! `network.port-exhaustion`.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;

use serde_json::{Value as Json, json};
use squall_engine::AnyFault;
use squall_faults::network::PortExhaustion;
use squall_testkit::net::{Family, Host, InForce, Lab};
use squall_testkit::planned;

const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

fn fault() -> Arc<dyn AnyFault> {
    Arc::new(PortExhaustion)
}

fn reserved(host: &Host) -> String {
    host.within(|| std::fs::read_to_string(RESERVED).expect("read"))
}

fn reserve(host: &Host, ports: &str) {
    host.within(|| std::fs::write(RESERVED, ports).expect("set"));
}

fn narrow(host: &Host) {
    host.within(|| std::fs::write(RANGE, "40000 40099").expect("set"));
}

fn in_force(host: &Host, args: &Json) -> InForce {
    InForce::new(&fault(), args, &host.target())
}

#[test]
fn no_new_connection_gets_a_port_and_an_open_one_goes_on() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    reserve(&a, "8080,9000-9005,40050-40059");
    let before = reserved(&a);
    let mut open = Family::BOTH.map(|family| {
        let listener = b.within(|| TcpListener::bind(b.socket(family, 7000)).expect("a listener"));
        let stream = a.within(|| TcpStream::connect(b.socket(family, 7000)).expect("connects"));
        (stream, listener.accept().expect("accepted").0)
    });
    let listeners = Family::BOTH.map(|family| b.within(|| TcpListener::bind(b.socket(family, 7001)).expect("a listener")));
    let exhausted = in_force(&a, &json!({}));
    for family in Family::BOTH {
        let error = a.within(|| TcpStream::connect(b.socket(family, 7001))).expect_err("no port");
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable, "{family:?}: {error}");
        let error = a.within(|| UdpSocket::bind((family.unspecified(), 0))).expect_err("no port");
        assert_eq!(error.kind(), ErrorKind::AddrInUse, "{family:?}: {error}");
        // Whoever asks for a port gets it.
        a.within(|| UdpSocket::bind((family.unspecified(), 40_000)).expect("the port that was asked for"));
    }
    for (here, there) in &mut open {
        here.write_all(b"still there").expect("written");
        there.read_exact(&mut [0; 11]).expect("read");
    }
    exhausted.revert();
    assert_eq!(reserved(&a), before);
    for (family, listener) in Family::BOTH.into_iter().zip(listeners) {
        let mut stream = a.within(|| TcpStream::connect(b.socket(family, 7001)).expect("connects"));
        stream.write_all(b"x").expect("written");
        listener.accept().expect("accepted").0.read_exact(&mut [0]).expect("read");
    }
}

#[test]
fn as_many_as_are_left_can_be_had() {
    let lab = Lab::new();
    let a = lab.host("a");
    narrow(&a);
    let exhausted = in_force(&a, &json!({ "leave": 5 }));
    let had: Vec<u16> = a.within(|| {
        let sockets: Vec<UdpSocket> = std::iter::from_fn(|| UdpSocket::bind("0.0.0.0:0").ok()).take(100).collect();
        let mut ports: Vec<u16> = sockets.iter().map(|s| s.local_addr().expect("bound").port()).collect();
        ports.sort_unstable();
        ports
    });
    assert_eq!(had, [40_095, 40_096, 40_097, 40_098, 40_099]);
    assert!(exhausted.revert().contains("again"));
    assert_eq!(reserved(&a), "\n");
}

#[test]
fn what_somebody_else_has_reserved_meanwhile_stays() {
    let lab = Lab::new();
    let a = lab.host("a");
    narrow(&a);
    reserve(&a, "8080");
    let exhausted = in_force(&a, &json!({}));
    assert_eq!(reserved(&a), "8080,40000-40099\n");
    reserve(&a, "8080,9090,40000-40099");
    let how = exhausted.revert();
    assert!(how.contains("somebody else has changed it meanwhile"), "{how}");
    assert_eq!(reserved(&a), "8080,9090\n");

    let exhausted = in_force(&a, &json!({}));
    reserve(&a, "40000-40010");
    assert!(!exhausted.verify().in_force);
    assert!(exhausted.revert().contains("is left so"));
    assert_eq!(reserved(&a), "40000-40010\n");
}

#[test]
fn more_ports_to_leave_than_there_are_is_refused() {
    let lab = Lab::new();
    let a = lab.host("a");
    narrow(&a);
    let error = planned(fault().as_ref(), &json!({ "leave": 100 }), &a.target(), &squall_sys::facts()).expect_err("refused");
    assert!(error.message.starts_with("only 100 ports of 40000 to 40099 are free as it is"), "{}", error.message);
    assert!(error.hint.is_some());
}
