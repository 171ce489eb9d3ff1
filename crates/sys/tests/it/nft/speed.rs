//! How long it takes until a table is in force, and until it is gone.

use std::time::Duration;

use squall_sys::nft::{Expression as E, Owned, Set, SetKind, Side, Table};
use squall_undo::boottime;

use super::{armed, in_namespace, outgoing, rule};

/// A table as a fault makes it: two hooks, sets, some rules.
fn typical(name: &str) -> Table {
    let port = E::Port { side: Side::Destination, set: "ports".into(), not: false };
    let mut table =
        outgoing(name, vec![rule("own line", [E::Mark(1), E::Return]), rule("fault", [port, E::Chance(0.5), E::Counter, E::Drop])]);
    let base = Some((squall_sys::nft::ChainKind::Filter, squall_sys::nft::Hook::Input, 0));
    table.chains.push(super::chain("in", base, table.chains[0].rules.clone()));
    table.sets.push(Set { name: "ports".into(), kind: SetKind::Port, elements: vec![squall_sys::nft::Element::Port(80, 90)] });
    table
}

fn percentile(mut times: Vec<Duration>, share: f64) -> Duration {
    times.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
    let place = (share * (times.len() - 1) as f64).round() as usize;
    times[place]
}

/// Twenty tables at once, so many times over: how long each of them took to be made, and to go.
fn at_once(rounds: usize, remove: bool) -> (Vec<Duration>, Vec<Duration>) {
    let (mut made, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let times = in_namespace(|| {
            let own = squall_sys::netns::Namespace::at(std::path::Path::new("/proc/thread-self/ns/net")).expect("this namespace");
            let here = std::fs::File::open(&own.path).expect("this namespace");
            let barrier = std::sync::Barrier::new(20);
            std::thread::scope(|scope| {
                let work = |n: usize| {
                    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&here), None).expect("the same namespace");
                    barrier.wait();
                    let start = boottime();
                    let owned = Owned::create(&armed(), &typical(&format!("t{n}"))).expect("the table is made");
                    let made = boottime() - start;
                    barrier.wait();
                    let start = boottime();
                    if remove {
                        owned.remove(&armed()).expect("removed");
                    } else {
                        drop(owned);
                    }
                    (made, boottime() - start)
                };
                let threads: Vec<_> = (0..20).map(|n| scope.spawn(move || work(n))).collect();
                threads.into_iter().map(|t| t.join().expect("a thread")).collect::<Vec<_>>()
            })
        });
        made.extend(times.iter().map(|t| t.0));
        gone.extend(times.iter().map(|t| t.1));
    }
    (made, gone)
}

#[test]
#[ignore = "measures, and judges nothing"]
fn twenty_tables_at_once() {
    for remove in [true, false] {
        let (made, gone) = at_once(10, remove);
        let show = |times: &[Duration]| format!("p50 {:?} p99 {:?}", percentile(times.to_vec(), 0.5), percentile(times.to_vec(), 0.99));
        println!("made: {}; {}: {}", show(&made), if remove { "removed" } else { "dropped" }, show(&gone));
    }
}
