//! Toxics that change all the time, on connections that carry data all the time: no byte may be lost, added or moved.

use std::hash::Hasher;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use siphasher::sip128::{Hasher128, SipHasher24};
use squall_proxy::time::now;
use squall_proxy::{Direction, Options, Proxies, ToxicSpec};

use crate::relay::{echo, toxic};

const CONNECTIONS: u64 = 16;

/// Changes in all. 100,000 take some minutes: `SQUALL_PROXY_CHANGES=100000 cargo nextest run --release -p squall-proxy churn`.
fn changes() -> u64 {
    std::env::var("SQUALL_PROXY_CHANGES").ok().map_or(1500, |n| n.parse().unwrap())
}

/// A toxic that loses nothing.
fn harmless(random: &mut StdRng) -> ToxicSpec {
    let stream = if random.random() { Direction::Upstream } else { Direction::Downstream };
    let spec = match random.random_range(0..5) {
        0 => toxic("latency", stream, json!({"latency": random.random_range(0..20), "jitter": random.random_range(0..10)})),
        1 => toxic("bandwidth", stream, json!({"rate": random.random_range(2_000..100_000)})),
        2 => {
            let (size, delay) = (random.random_range(500..20_000), random.random_range(0..200));
            toxic("slicer", stream, json!({"average_size": size, "size_variation": size / 2, "delay": delay}))
        }
        3 => toxic("slow_close", stream, json!({"delay": random.random_range(0..20)})),
        _ => toxic("noop", stream, json!({})),
    };
    ToxicSpec { toxicity: [0.5, 1.0][random.random_range(0..2)], ..spec }
}

/// Adds, removes or changes one.
fn change(toxics: &mut Vec<ToxicSpec>, random: &mut StdRng) {
    let new = harmless(random);
    let known = toxics.iter_mut().find(|t| t.name == new.name);
    match known {
        Some(known) if random.random() => *known = new,
        Some(_) => toxics.retain(|t| t.name != new.name),
        None => toxics.push(new),
    }
}

/// One connection's life: sends some data in pieces, ends, and reads the echo to its end. The bytes that passed.
fn round(address: &str, seed: u64) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let mut writer = TcpStream::connect(address).unwrap();
    let mut reader = writer.try_clone().unwrap();
    reader.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let receiver = thread::spawn(move || {
        let (mut hash, mut count, mut buffer) = (SipHasher24::new(), 0, vec![0; 100_000]);
        while let count_now @ 1.. = reader.read(&mut buffer).unwrap() {
            hash.write(&buffer[..count_now]);
            count += count_now as u64;
        }
        (hash.finish128().as_u128(), count)
    });
    let (mut hash, mut sent) = (SipHasher24::new(), 0);
    for _ in 0..random.random_range(1..60) {
        let mut piece = vec![0; random.random_range(1..60_000)];
        random.fill(&mut piece[..]);
        hash.write(&piece);
        sent += piece.len() as u64;
        writer.write_all(&piece).unwrap();
    }
    writer.shutdown(Shutdown::Write).unwrap();
    let (received_hash, received) = receiver.join().unwrap();
    assert_eq!((received, received_hash), (sent, hash.finish128().as_u128()), "connection with seed {seed}");
    sent
}

#[test]
fn churn_of_toxics_under_load_loses_no_byte() {
    let proxies = Proxies::start(&Options { workers: 2, seed: 1, events: 0, ..Options::default() }).unwrap();
    let route = proxies.open("p", "127.0.0.1:0", &echo()).unwrap();
    let (stop, bytes, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|client| {
            let (stop, bytes, rounds, address) = (stop.clone(), bytes.clone(), rounds.clone(), route.listen().to_owned());
            thread::spawn(move || {
                let mut turn = 0;
                while !stop.load(Ordering::Relaxed) {
                    bytes.fetch_add(round(&address, client << 32 | turn), Ordering::Relaxed);
                    rounds.fetch_add(1, Ordering::Relaxed);
                    turn += 1;
                }
            })
        })
        .collect();
    let (mut random, mut toxics) = (StdRng::seed_from_u64(7), Vec::new());
    for _ in 0..changes() {
        change(&mut toxics, &mut random);
        let (before, patience) = (route.counters().received, now() + Duration::from_millis(2));
        route.set_toxics(toxics.clone());
        // The next change when bytes have moved under this one, or when they do not move for the moment.
        while route.counters().received == before && now() < patience {
            thread::yield_now();
        }
    }
    route.set_toxics(Vec::new());
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    let (rounds, bytes) = (rounds.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed));
    println!("{} changes, {rounds} connections, {bytes} bytes, every payload whole", changes());
    assert!(rounds > CONNECTIONS, "connections ended while toxics changed");
}
