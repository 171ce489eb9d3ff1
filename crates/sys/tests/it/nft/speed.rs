//! How long it takes until a table is in force, and until it is gone.

use std::time::Duration;

use squall_sys::nft::{ChainKind, Element, Expression as E, Hook, Owned, Set, SetKind, Side, Table, counters, tables};
use squall_undo::boottime;

use super::life::Holder;
use super::{armed, chain, in_namespace, outgoing, rule};

/// A table as a fault makes it: two hooks, sets, some rules.
fn typical(name: &str) -> Table {
    let port = E::Port { side: Side::Destination, set: "ports".into(), not: false };
    let mut table =
        outgoing(name, vec![rule("own line", [E::Mark(1), E::Return]), rule("fault", [port, E::Chance(0.5), E::Counter, E::Drop])]);
    let base = Some((ChainKind::Filter, Hook::Input, 0));
    table.chains.push(chain("in", base, table.chains[0].rules.clone()));
    table.sets.push(Set { name: "ports".into(), kind: SetKind::Port, elements: vec![Element::Port(80, 90)] });
    table
}

fn percentile(mut times: Vec<Duration>, share: f64) -> Duration {
    times.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
    let place = (share * (times.len() - 1) as f64).round() as usize;
    times[place]
}

/// Twenty tables at once: how long each of them took to be made, and to go.
fn at_once(end: impl Fn(Owned) + Sync) -> (Vec<Duration>, Vec<Duration>) {
    let barrier = std::sync::Barrier::new(20);
    let work = |n: usize| {
        barrier.wait();
        let start = boottime();
        let owned = Owned::create(&armed(), &typical(&format!("t{n}"))).expect("the table is made");
        let made = boottime() - start;
        barrier.wait();
        let start = boottime();
        let name = owned.name().to_owned();
        end(owned);
        assert_eq!(counters(&name).expect("readable"), None);
        (made, boottime() - start)
    };
    std::thread::scope(|scope| {
        let work = &work;
        // They start in the namespace of the thread that starts them.
        let threads: Vec<_> = (0..20).map(|n| scope.spawn(move || work(n))).collect();
        threads.into_iter().map(|t| t.join().expect("a thread")).unzip()
    })
}

fn rounds(count: usize, end: impl Fn(Owned) + Sync) -> (Vec<Duration>, Vec<Duration>) {
    let rounds = (0..count).map(|_| in_namespace(|| at_once(&end)));
    rounds.fold((Vec::new(), Vec::new()), |(mut all_made, mut all_gone), (made, gone)| {
        all_made.extend(made);
        all_gone.extend(gone);
        (all_made, all_gone)
    })
}

#[test]
fn twenty_tables_at_once_are_made_and_gone_within_fifty_milliseconds() {
    let limit = Duration::from_millis(50);
    let trial = || {
        let (made, gone) = rounds(5, |owned| owned.remove(&armed()).expect("removed"));
        let (made, gone) = (percentile(made, 0.99), percentile(gone, 0.99));
        println!("made within {made:?}, removed within {gone:?} (p99)");
        made <= limit && gone <= limit
    };
    // Beside other tests, the machine may be busy with something else for a while.
    assert!((0..5).any(|_| trial()), "made or removed more slowly, five times over");
}

/// The same, where the kernel removes them one after another, as it does where processes are killed.
#[test]
fn twenty_tables_at_once_are_gone_within_a_second_of_their_owners_death() {
    in_namespace(|| {
        let mut holders: Vec<Holder> = (0..20).map(|n| Holder::start(&format!("held-{n}"))).collect();
        assert_eq!(tables().expect("readable").len(), 20);
        let start = boottime();
        holders.iter_mut().for_each(Holder::kill);
        holders.iter_mut().for_each(Holder::wait);
        let took = boottime() - start;
        assert_eq!(tables().expect("readable").len(), 0);
        println!("gone after {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
    });
}
