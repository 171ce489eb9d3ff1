//! Bytes through a proxy, with and without toxics, and what changes on connections that are open.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use serde_json::json;
use squall_proxy::time::now;
use squall_proxy::{Direction, Options, Proxies, Route, Toxic, ToxicSpec};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn proxies() -> Proxies {
    Proxies::start(&Options { workers: 2, seed: 1, events: 1000, ..Options::default() }).unwrap()
}

/// An upstream that does this with each connection.
fn upstream(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), serve.clone());
            thread::spawn(move || serve(stream));
        }
    });
    address
}

pub fn echo() -> String {
    upstream(|mut stream| {
        let mut buffer = vec![0; 65536];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    })
}

fn connect(route: &Route) -> TcpStream {
    let stream = TcpStream::connect(route.listen()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub fn toxic(name: &str, stream: Direction, attributes: serde_json::Value) -> ToxicSpec {
    let toxic = Toxic::of_type(name).unwrap().merged(attributes.as_object().unwrap()).unwrap();
    ToxicSpec { name: format!("{name}_{stream:?}"), toxic, stream, toxicity: 1.0 }
}

fn exchange(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Duration> {
    let start = now();
    stream.write_all(text)?;
    let mut got = vec![0; text.len()];
    stream.read_exact(&mut got)?;
    assert_eq!(got, text);
    Ok(now() - start)
}

pub fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = now() + Duration::from_secs(20);
    while !condition() {
        assert!(now() < deadline, "{what} did not come");
        thread::sleep(MS(2));
    }
}

#[test]
fn a_reply_that_comes_after_the_clients_end_arrives() {
    let upstream = upstream(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all.len().to_string().into_bytes()).unwrap();
    });
    let proxies = proxies();
    let route = proxies.open("p", "127.0.0.1:0", &upstream).unwrap();
    for toxics in
        [vec![], vec![toxic("noop", Direction::Upstream, json!({})), toxic("latency", Direction::Downstream, json!({"latency": 5}))]]
    {
        route.set_toxics(toxics);
        let mut client = connect(&route);
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut reply = String::new();
        client.read_to_string(&mut reply).unwrap();
        assert_eq!(reply, "5");
    }
}

#[test]
fn bulk_in_both_directions_arrives_whole_with_and_without_toxics() {
    let upstream = echo();
    let proxies = proxies();
    let route = proxies.open("p", "127.0.0.1:0", &upstream).unwrap();
    let data: Vec<u8> = (0..8_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for toxics in [
        vec![],
        vec![
            toxic("latency", Direction::Downstream, json!({"latency": 20})),
            toxic("slicer", Direction::Upstream, json!({"average_size": 50_000, "size_variation": 1000})),
        ],
    ] {
        route.set_toxics(toxics);
        let mut client = connect(&route);
        let mut reader = client.try_clone().unwrap();
        let sent = data.clone();
        let writer = thread::spawn(move || {
            client.write_all(&sent).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        writer.join().unwrap();
        assert!(got == data, "{} of {} bytes", got.len(), data.len());
    }
    let counters = route.counters();
    assert_eq!(counters.received, [2 * data.len() as u64; 2]);
    assert_eq!(counters.sent, counters.received);
}

#[test]
fn toxics_come_change_and_go_on_an_open_connection() {
    let proxies = proxies();
    let route = proxies.open("p", "127.0.0.1:0", &echo()).unwrap();
    let mut client = connect(&route);
    assert!(exchange(&mut client, b"plain").unwrap() < MS(100));
    for latency in [150, 300] {
        route.set_toxics(vec![toxic("latency", Direction::Downstream, json!({"latency": latency}))]);
        let took = exchange(&mut client, b"slow").unwrap();
        assert!(took >= MS(latency) && took < MS(latency + 140), "{took:?}");
    }
    route.set_toxics(vec![]);
    assert!(exchange(&mut client, b"plain").unwrap() < MS(100));
}

#[test]
fn what_is_on_its_way_comes_out_in_order_when_its_toxic_is_removed() {
    let proxies = proxies();
    let route = proxies.open("p", "127.0.0.1:0", &echo()).unwrap();
    route.set_toxics(vec![toxic("latency", Direction::Upstream, json!({"latency": 3_600_000}))]);
    let mut client = connect(&route);
    for i in 0..100_u8 {
        client.write_all(&[i]).unwrap();
    }
    wait_for("the toxic's intake", || route.counters().received[0] == 100);
    route.set_toxics(vec![]);
    let mut got = [0; 100];
    client.read_exact(&mut got).unwrap();
    assert_eq!(got, std::array::from_fn::<u8, 100, _>(|i| u8::try_from(i).unwrap()));
}

#[test]
fn a_timeout_drops_everything_and_closes_in_order() {
    let proxies = proxies();
    let route = proxies.open("p", "127.0.0.1:0", &echo()).unwrap();
    route.set_toxics(vec![toxic("timeout", Direction::Upstream, json!({"timeout": 100}))]);
    let mut client = connect(&route);
    let start = now();
    client.write_all(b"lost").unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "the end, and no reset");
    assert!(now() - start >= MS(95));
}

#[test]
fn removing_a_timeout_without_a_time_closes_the_connection() {
    let proxies = proxies();
    let route = proxies.open("p", "127.0.0.1:0", &echo()).unwrap();
    route.set_toxics(vec![toxic("timeout", Direction::Upstream, json!({"timeout": 0}))]);
    let mut client = connect(&route);
    client.write_all(b"lost").unwrap();
    wait_for("the toxic's intake", || route.counters().received[0] == 4);
    route.set_toxics(vec![]);
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn reset_peer_resets_also_connections_that_were_open_before() {
    let proxies = proxies();
    let route = proxies.open("p", "127.0.0.1:0", &echo()).unwrap();
    let mut client = connect(&route);
    exchange(&mut client, b"before").unwrap();
    route.set_toxics(vec![toxic("reset_peer", Direction::Downstream, json!({"timeout": 0}))]);
    let error = exchange(&mut client, b"after").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn no_reset_comes_with_a_toxicity_of_nothing() {
    let proxies = proxies();
    let route = proxies.open("p", "127.0.0.1:0", &echo()).unwrap();
    route.set_toxics(vec![ToxicSpec { toxicity: 0.0, ..toxic("reset_peer", Direction::Downstream, json!({"timeout": 0})) }]);
    exchange(&mut connect(&route), b"fine").unwrap();
}

#[test]
fn limit_data_passes_exactly_so_many_bytes() {
    let proxies = proxies();
    let route = proxies.open("p", "127.0.0.1:0", &echo()).unwrap();
    route.set_toxics(vec![toxic("limit_data", Direction::Downstream, json!({"bytes": 1000}))]);
    let mut client = connect(&route);
    client.write_all(&[7; 5000]).unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, [7; 1000]);
}

#[test]
fn an_upstreams_reset_reaches_the_client_as_one() {
    let upstream = upstream(|mut stream| {
        stream.read_exact(&mut [0; 1]).unwrap();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let proxies = proxies();
    let route = proxies.open("p", "127.0.0.1:0", &upstream).unwrap();
    let mut client = connect(&route);
    client.write_all(b"x").unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_closed_proxy_frees_its_port_and_drops_its_connections() {
    let proxies = proxies();
    let upstream = echo();
    let route = proxies.open("p", "127.0.0.1:0", &upstream).unwrap();
    let mut client = connect(&route);
    exchange(&mut client, b"x").unwrap();
    let listen = route.listen().to_owned();
    let taken = proxies.open("q", &listen, &upstream).unwrap_err().to_string();
    assert_eq!(taken, format!("listen tcp {listen}: bind: address already in use"));
    route.close();
    route.close();
    assert!(matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)));
    let route = proxies.open("q", &listen, &upstream).unwrap();
    exchange(&mut connect(&route), b"x").unwrap();
}

#[test]
fn unix_sockets_and_ipv6_work_on_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let inner = format!("unix:{}", directory.path().join("inner.sock").display());
    let outer = directory.path().join("outer.sock");
    let proxies = proxies();
    let first = proxies.open("inner", &inner, &echo()).unwrap();
    let second = proxies.open("six", "[::1]:0", &inner).unwrap();
    let third = proxies.open("outer", &format!("unix:{}", outer.display()), second.listen()).unwrap();
    let mut client = UnixStream::connect(&outer).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all(b"through three").unwrap();
    let mut got = [0; 13];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"through three");
    for route in [&first, &second, &third] {
        assert_eq!(route.counters().open, 1);
    }
    third.close();
    assert!(!outer.exists(), "its file is gone");
}

#[test]
fn toxicity_is_a_share_of_connections_and_the_same_in_every_run() {
    let upstream = echo();
    let hits = || -> Vec<bool> {
        let proxies = proxies();
        let route = proxies.open("p", "127.0.0.1:0", &upstream).unwrap();
        route.set_toxics(vec![ToxicSpec { toxicity: 0.5, ..toxic("limit_data", Direction::Upstream, json!({"bytes": 0})) }]);
        (0..200).map(|_| exchange(&mut connect(&route), b"x").is_err()).collect()
    };
    let first = hits();
    let count = first.iter().filter(|hit| **hit).count() as f64;
    assert!((count - 100.0).abs() < 2.576 * (200.0_f64 * 0.25).sqrt(), "{count}");
    assert_eq!(first, hits());
}

#[test]
fn the_end_of_all_proxies_ends_their_connections() {
    let proxies = proxies();
    let route = proxies.open("p", "127.0.0.1:0", &echo()).unwrap();
    let mut client = connect(&route);
    exchange(&mut client, b"x").unwrap();
    drop(proxies);
    assert!(matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert!(TcpStream::connect(route.listen()).is_err());
}
