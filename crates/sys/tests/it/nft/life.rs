//! How long a table lives, and who may touch it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use squall_sys::nft::{ChainKind, Element, Expression as E, Hook, NftError, Owned, Set, SetKind, Side, Table, counters, delete, tables};

use super::{armed, chain, command, in_namespace, listed, outgoing, rule, run, try_run};

fn names() -> Vec<String> {
    tables().expect("tables can be read").into_iter().map(|t| t.name).collect()
}

#[test]
fn a_table_goes_when_it_is_dropped_and_nobody_else_can_remove_it() {
    in_namespace(|| {
        run("nft", &["add", "table", "ip", "foreign"]);
        let owned = Owned::create(&armed(), &outgoing("mine", vec![rule("counts", [E::Counter])])).expect("the table is made");
        let facts = tables().expect("tables can be read");
        assert!(facts.iter().any(|t| t.name == "mine" && t.family == 1 && t.owned), "{facts:?}");
        assert!(facts.iter().any(|t| t.name == "foreign" && t.family == 2 && !t.owned), "{facts:?}");
        for args in [&["delete", "table", "inet", "mine"][..], &["add", "chain", "inet", "mine", "theirs"]] {
            let refused = try_run("nft", args);
            assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("not permitted"), "{refused:?}");
        }
        run("nft", &["flush", "ruleset"]);
        let taken = Owned::create(&armed(), &outgoing("mine", Vec::new())).expect_err("the name is taken").to_string();
        assert!(taken.contains("the creation of the table `mine`") && taken.contains("another process owns it"), "{taken}");
        let error = delete(&armed(), "mine").expect_err("it is not this socket's");
        assert!(error.to_string().contains("another process owns that table"), "{error}");
        assert_eq!(counters("mine").expect("readable").expect("is there").len(), 1);
        drop(owned);
        assert_eq!(names(), [""; 0]);
        assert_eq!(counters("mine").expect("readable"), None);
    });
}

#[test]
fn a_table_that_is_removed_is_gone_at_once_and_its_name_is_free() {
    in_namespace(|| {
        let table = outgoing("again", vec![rule("counts", [E::Counter])]);
        for _ in 0..5 {
            let owned = Owned::create(&armed(), &table).expect("the name is free");
            assert_eq!(owned.name(), "again");
            owned.remove(&armed()).expect("removed");
            assert_eq!(names(), [""; 0]);
        }
    });
}

#[test]
fn a_table_that_is_disarmed_does_nothing_and_goes_as_any_other() {
    in_namespace(|| {
        let mut table = outgoing("disarmed", vec![rule("jumps", [E::Jump("drops".into())])]);
        table.chains.insert(0, chain("drops", None, vec![rule("drops", [E::Protocol(vec![6, 17]), E::Counter, E::Drop])]));
        let mut owned = Owned::create(&armed(), &table).expect("the table is made");
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let to_itself = || socket.send_to(b"x", socket.local_addr().expect("an address"));
        assert!(to_itself().is_err(), "is dropped");
        for _ in 0..2 {
            owned.disarm(&armed()).expect("disarmed");
            to_itself().expect("goes through");
            assert_eq!(counters("disarmed").expect("readable"), Some(Vec::new()));
        }
        owned.remove(&armed()).expect("removed");
        assert_eq!(names(), [""; 0]);
    });
}

#[test]
fn a_table_without_an_owner_is_deleted_by_its_exact_name() {
    in_namespace(|| {
        run(
            "nft",
            &["add table inet squall-a; add chain inet squall-a x { type filter hook input priority 0; }; add table inet squall-ab"],
        );
        assert!(!delete(&armed(), "squall").expect("not there"));
        assert!(delete(&armed(), "squall-a").expect("deleted"));
        assert!(!delete(&armed(), "squall-a").expect("not there any more"));
        let taken = Owned::create(&armed(), &outgoing("squall-ab", Vec::new())).expect_err("the name is taken").to_string();
        assert!(taken.contains("the creation of the table `squall-ab`: File exists"), "{taken}");
        assert_eq!(names(), ["squall-ab"]);
    });
}

/// A process that holds a table that drops what leaves.
pub(super) struct Holder(std::process::Child);

impl Holder {
    pub(super) fn start(table: &str) -> Self {
        let program = std::env::current_exe().expect("this program");
        let args = ["nft::life::holds_a_table_until_it_is_killed", "--exact", "--ignored", "--nocapture"];
        let mut holder = command(program.to_str().expect("a path of text"), &args);
        squall_sys::die_with_parent(&mut holder);
        let mut holder = holder.env(HELD, table).stdout(Stdio::piped()).spawn().expect("a process");
        let mut lines = BufReader::new(holder.stdout.take().expect("piped")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("holding")));
        Self(holder)
    }

    pub(super) fn kill(&mut self) {
        self.0.kill().expect("killed");
    }

    pub(super) fn wait(&mut self) {
        self.0.wait().expect("ended");
    }
}

/// Names the table of a [`Holder`].
const HELD: &str = "SQUALL_TEST_HELD";

#[test]
fn a_table_goes_when_its_process_is_killed() {
    in_namespace(|| {
        let mut holder = Holder::start("held");
        assert_eq!(names(), ["held"]);
        holder.kill();
        holder.wait();
        assert_eq!(names(), [""; 0], "it went with the process");
    });
}

#[test]
#[ignore = "the process of other tests, which kill it"]
fn holds_a_table_until_it_is_killed() {
    // Not started by one of them: there is nothing to hold.
    let Ok(name) = std::env::var(HELD) else { return };
    let _owned = Owned::create(&armed(), &outgoing(&name, vec![rule("drops", [E::Drop])])).expect("the table is made");
    println!("holding");
    std::thread::park();
}

fn numbered(from: u32, count: u32) -> Vec<Element> {
    // Every second address, so that nothing can be merged.
    (from..from + count).map(|n| Element::Ipv4((0x0a00_0000 + 2 * n).into(), (0x0a00_0000 + 2 * n).into())).collect()
}

#[test]
fn a_set_is_given_other_elements_however_many() {
    in_namespace(|| {
        let address = E::Address { side: Side::Destination, set: "peers".into(), family: squall_sys::nft::Family::V4, not: false };
        let mut table = outgoing("refilled", vec![rule("peers", [address, E::Counter])]);
        table.sets = vec![Set { name: "peers".into(), kind: SetKind::Ipv4, elements: numbered(0, 10_000) }];
        let mut owned = Owned::create(&armed(), &table).expect("the table is made");
        let elements = || {
            let text = listed("refilled");
            let elements = text.split_once("elements = {").and_then(|(_, rest)| rest.split_once('}')).map_or("", |(elements, _)| elements);
            elements.split(',').filter(|e| !e.trim().is_empty()).count()
        };
        assert_eq!(elements(), 10_000);
        for (from, count) in [(5_000, 10_000), (5_000, 10_000), (0, 1), (0, 0), (7, 3)] {
            owned.replace(&armed(), "peers", &numbered(from, count)).expect("replaced");
            assert_eq!(elements(), count as usize);
        }
        let error = owned.replace(&armed(), "ports", &[]).expect_err("there is no such set");
        assert!(matches!(error, NftError::Invalid { .. }), "{error}");
        assert!(owned.replace(&armed(), "peers", &[Element::Port(1, 2)]).is_err());
        assert_eq!(elements(), 3, "a refused change changes nothing");
    });
}

#[test]
fn what_the_kernel_refuses_is_named_and_nothing_is_left() {
    in_namespace(|| {
        let refused = |table: &Table| {
            let error = Owned::create(&armed(), table).expect_err("is refused").to_string();
            assert_eq!(names(), [""; 0], "{error}");
            error
        };
        let many = |bad| (0..300).map(|n| rule(&n.to_string(), [E::Counter])).chain([bad]).collect();
        let error = refused(&outgoing("t", many(rule("to the proxy", [E::Redirect(1)]))));
        assert!(error.starts_with("the kernel refused the rule \"to the proxy\" in the chain `out` of the table `t`: "), "{error}");
        assert!(error.contains("nft_redir"), "{error}");
        let base = Some((ChainKind::Nat, Hook::Forward, 0));
        let error = refused(&Table { name: "t".into(), sets: Vec::new(), chains: vec![chain("nat", base, Vec::new())] });
        assert!(error.contains("the chain `nat`"), "{error}");
        let error = refused(&outgoing("t", vec![rule("loops", [E::Jump("out".into())])]));
        assert!(error.contains("the rule \"loops\"") || error.contains("the transaction"), "{error}");
    });
}

#[test]
fn a_table_that_contradicts_itself_is_not_sent() {
    let wrong = [
        (rule("r", [E::Jump("nowhere".into())]), "needs a chain `nowhere`"),
        (rule("r", [E::Port { side: Side::Source, set: "s".into(), not: false }]), "needs a set `s` of ports"),
        (rule("r", [E::Chance(1.5)]), "has a chance of 1.5; it is 0 to 1"),
        (rule("r", [E::Chance(f64::NAN)]), "has a chance of NaN"),
        (rule("r", [E::Protocol(Vec::new())]), "one of no protocols"),
        (rule("r", [E::CameBy("sixteen-letters-".into())]), "a name has 1 to 15 bytes"),
        (rule("r", [E::CgroupV2("squall/is/not/there".into())]), "needs the cgroup"),
        (rule(&"r".repeat(129), [E::Counter]), "has a comment of 129 bytes; it may have 128"),
    ];
    for (rule, why) in wrong {
        let error = Owned::create(&armed(), &outgoing("t", vec![rule])).expect_err(why);
        assert!(matches!(&error, NftError::Invalid { .. }) && error.to_string().contains(why), "{error}");
    }
    let error = Owned::create(&armed(), &outgoing("", Vec::new())).expect_err("no name");
    assert!(error.to_string().contains("1 to 255"), "{error}");
}

#[test]
fn who_may_not_administer_the_network_is_told_so() {
    in_namespace(|| {
        let mut sets = capabilities(None).expect("capabilities can be read");
        sets.effective.remove(CapabilitySet::NET_ADMIN);
        set_capabilities(None, sets).expect("this thread's alone");
        let error = Owned::create(&armed(), &outgoing("t", Vec::new())).expect_err("may not").to_string();
        assert!(error.contains("CAP_NET_ADMIN") && error.contains("the transaction of the table `t`"), "{error}");
        assert_eq!(tables().expect_err("may not").kind(), std::io::ErrorKind::PermissionDenied);
    });
}
