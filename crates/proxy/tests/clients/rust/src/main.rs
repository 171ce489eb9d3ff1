//! Drives every call and every toxic of the crate `toxiproxy_rust`. The API's address is the argument; what is wrong panics.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use toxiproxy_rust::client::Client;
use toxiproxy_rust::proxy::{Proxy, ProxyPack};

/// Sends back what it gets, and ends when its client does.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 65536];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[derive(Debug)]
struct Seen {
    bytes: Vec<u8>,
    pieces: usize,
    first: Duration,
    ended: Duration,
    error: Option<ErrorKind>,
}

fn data() -> Vec<u8> {
    (0..4000_u32).map(|i| (i % 251) as u8).collect()
}

fn exchange(listen: &str, end: bool) -> Seen {
    let start = Instant::now();
    let mut seen = Seen { bytes: Vec::new(), pieces: 0, first: Duration::ZERO, ended: Duration::ZERO, error: None };
    let mut go = || {
        let mut stream = TcpStream::connect(listen)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        stream.write_all(&data())?;
        if end {
            stream.shutdown(Shutdown::Write)?;
        }
        let mut buffer = [0; 65536];
        loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return std::io::Result::Ok(());
            }
            if seen.pieces == 0 {
                seen.first = start.elapsed();
            }
            seen.pieces += 1;
            seen.bytes.extend_from_slice(&buffer[..count]);
        }
    };
    let error = go().err().map(|error| error.kind());
    seen.error = error;
    seen.ended = start.elapsed();
    seen
}

fn between(value: Duration, low: u64, high: u64, what: &str) {
    assert!(value >= Duration::from_millis(low) && value < Duration::from_millis(high), "{what}: {value:?}");
}

fn calls(client: &Client, upstream: &str) -> String {
    assert!(client.is_running());
    assert!(client.version().unwrap().contains("\"version\": \"2."));
    let pack = |name: &str| ProxyPack::new(name.into(), "127.0.0.1:0".into(), upstream.into());
    let made = client.populate(vec![pack("rust"), pack("other")]).unwrap();
    assert_eq!(made.iter().map(|proxy| proxy.proxy_pack.name.as_str()).collect::<Vec<_>>(), ["rust", "other"]);
    assert_eq!(client.all().unwrap().len(), 2);
    made[1].delete().unwrap();
    assert!(client.find_proxy("other").is_err());
    let proxy = client.find_proxy("rust").unwrap();
    let listen = proxy.proxy_pack.listen.clone();
    proxy.disable().unwrap();
    assert_eq!(exchange(&listen, true).error, Some(ErrorKind::ConnectionRefused));
    client.reset().unwrap();
    assert_eq!(exchange(&listen, true).bytes, data());
    proxy.with_down(|| assert_eq!(exchange(&listen, true).error, Some(ErrorKind::ConnectionRefused))).unwrap();
    assert_eq!(exchange(&listen, true).bytes, data());
    listen
}

fn toxics(proxy: &Proxy, listen: &str) {
    let whole = || {
        let seen = exchange(listen, true);
        assert_eq!(seen.bytes, data());
        seen
    };
    let down = || "downstream".to_owned();
    let check = |applied: &Proxy, check: &dyn Fn()| {
        assert_eq!(applied.toxics().unwrap().len(), 1);
        applied.apply(check).unwrap();
        assert!(applied.toxics().unwrap().is_empty());
    };
    check(proxy.with_latency(down(), 150, 0, 1.0), &|| between(whole().first, 148, 1500, "latency"));
    check(proxy.with_latency("upstream".into(), 5000, 0, 0.0), &|| between(whole().first, 0, 4000, "toxicity 0"));
    check(proxy.with_bandwidth(down(), 10, 1.0), &|| between(whole().ended, 300, 4000, "4 KB at 10 KB/s"));
    check(proxy.with_slow_close(down(), 250, 1.0), &|| between(whole().ended, 248, 2500, "slow_close"));
    check(proxy.with_timeout(down(), 200, 1.0), &|| {
        let seen = exchange(listen, false);
        assert!(seen.bytes.is_empty(), "{seen:?}");
        between(seen.ended, 198, 2500, "timeout");
    });
    check(proxy.with_slicer(down(), 500, 100, 20_000, 1.0), &|| assert!((4..100).contains(&whole().pieces)));
    check(proxy.with_limit_data(down(), 1234, 1.0), &|| assert_eq!(exchange(listen, false).bytes, data()[..1234]));
}

fn main() {
    let address = std::env::args().nth(1).expect("the API's address");
    let client = Client::new(address);
    let listen = calls(&client, &echo());
    let proxy = client.find_and_reset_proxy("rust").unwrap();
    toxics(&proxy, &listen);
    proxy.delete().unwrap();
    assert!(client.all().unwrap().is_empty());
    println!("all calls and all toxics did what they say");
}
