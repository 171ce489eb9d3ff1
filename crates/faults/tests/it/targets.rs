//! Which processes selectors match, and which never.

use std::net::{TcpListener, UdpSocket};

use futures_util::FutureExt;
use serde_json::{Value as Json, json};
use squall_faults::is_protected;
use squall_model::ProtectedProcess;
use squall_testkit::{Victim, eventually};

use crate::kinds::{found, kind, one};

fn pids(selector: &Json) -> Vec<u32> {
    let pid = |id: &str| id.split(':').nth(1).expect("kind:pid:start").parse().expect("a number");
    found(selector).iter().map(|target| pid(&target.id)).collect()
}

/// A shell that holds what the test gives it, in its own group of processes.
fn tree() -> Victim {
    let victim = Victim::script(r#""$0" "$1" & wait"#);
    eventually("the child is there", || victim.family().len() == 2);
    victim
}

#[test]
fn a_process_is_found_by_each_of_its_traits_and_by_all_at_once() {
    let victim = tree();
    let (parent, child) = (victim.pid(), *victim.family().iter().find(|pid| **pid != victim.pid()).expect("a child"));
    let (name, child_name) = (victim.name(), format!("{}s", victim.name()));
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(pids(&json!({ "pid": parent })), [parent]);
    assert_eq!(pids(&json!({ "name": name })), [parent]);
    assert_eq!(pids(&json!({ "commandLine": format!("{child_name} 1.0$") })), [child], "a regular expression over all arguments");
    assert_eq!(pids(&json!({ "parent": parent })), [child], "a number");
    assert_eq!(pids(&json!({ "parent": parent.to_string() })), [child], "a number as text");
    assert_eq!(pids(&json!({ "parent": name })), [child], "a name");
    assert!(pids(&json!({ "user": uid })).contains(&child));
    assert!(pids(&json!({ "user": uid.to_string() })).contains(&child));
    if uid == 0 {
        assert!(pids(&json!({ "user": "root" })).contains(&child));
    }
    assert_eq!(pids(&json!({ "name": child_name, "parent": name, "user": uid })), [child]);
    assert_eq!(pids(&json!({ "name": child_name, "parent": child })), [0_u32; 0], "every condition counts");
}

#[test]
fn names_longer_than_the_kernel_keeps_are_matched_whole() {
    let victim = Victim::sleeper();
    let long = victim.directory().join("a-name-that-is-longer-than-15-bytes");
    std::fs::copy(victim.program(), &long).expect("copied");
    let shell = Victim::script(&format!("exec {} 100", long.display()));
    let name = "a-name-that-is-longer-than-15-bytes";
    eventually("it is found", || pids(&json!({ "name": name })).contains(&shell.pid()));
    assert!(!pids(&json!({ "name": format!("{name}-still") })).contains(&shell.pid()), "the first 15 bytes alone are not enough");
}

#[test]
fn a_process_is_found_by_the_port_it_listens_on() {
    // This process listens, and is never a target; what it hands on is held by a victim.
    let sockets = [
        TcpListener::bind("127.0.0.1:0").map(|s| (s.local_addr().expect("address").port(), std::os::fd::OwnedFd::from(s))),
        TcpListener::bind("[::1]:0").map(|s| (s.local_addr().expect("address").port(), std::os::fd::OwnedFd::from(s))),
        UdpSocket::bind("127.0.0.1:0").map(|s| (s.local_addr().expect("address").port(), std::os::fd::OwnedFd::from(s))),
        UdpSocket::bind("[::1]:0").map(|s| (s.local_addr().expect("address").port(), std::os::fd::OwnedFd::from(s))),
    ];
    for (port, socket) in sockets.into_iter().flatten() {
        assert_eq!(pids(&json!({ "port": port })), [0_u32; 0], "this process itself");
        let victim = Victim::holding(socket);
        assert_eq!(pids(&json!({ "port": port })), [victim.pid()]);
        let entry = ProtectedProcess { name: None, user: None, port: Some(port), unit: None };
        assert!(is_protected(&entry, &one(&json!({ "pid": victim.pid() }))));
        let other = Victim::sleeper();
        assert!(!is_protected(&entry, &one(&json!({ "pid": other.pid() }))));
    }
}

#[test]
fn a_process_is_found_by_its_unit_and_its_control_group() {
    let Some(hierarchy) = squall_sys::cgroup::Hierarchy::v1_of("pids") else {
        eprintln!("skipped: no cgroup v1 hierarchy with `pids`");
        return;
    };
    let victim = Victim::sleeper();
    let slice = hierarchy.mount_point.join(format!("{}.slice", victim.name()));
    let unit = slice.join("payments.service");
    if std::fs::create_dir_all(&unit).is_err() {
        eprintln!("skipped: {} cannot be written", hierarchy.mount_point.display());
        return;
    }
    let before = std::fs::read_to_string(format!("/proc/{}/cgroup", victim.pid())).expect("groups");
    std::fs::write(unit.join("cgroup.procs"), victim.pid().to_string()).expect("joined");
    let path = std::fs::read_to_string(format!("/proc/{}/cgroup", victim.pid())).expect("groups");
    let path =
        path.lines().find(|line| line.ends_with("payments.service")).expect("its group").splitn(3, ':').nth(2).expect("a path").to_owned();
    let name = victim.name();
    let matches = [
        json!({ "unit": "payments.service", "name": name }),
        json!({ "unit": "payments", "name": name }),
        json!({ "cgroup": path }),
        json!({ "cgroup": path.trim_end_matches("/payments.service") }),
    ];
    let found: Vec<Vec<u32>> = matches.iter().map(pids).collect();
    let (other, part) = (pids(&json!({ "unit": "pay", "name": name })), pids(&json!({ "cgroup": path.trim_end_matches(".service") })));
    let pid = victim.pid();
    drop(victim);
    for group in [&unit, &slice] {
        eventually("the group is gone", || std::fs::remove_dir(group).is_ok());
    }
    assert!(found.iter().all(|pids| *pids == [pid]), "{found:?}; it was in {before}");
    assert!(other.is_empty() && part.is_empty(), "{other:?} {part:?}");
}

#[test]
fn selectors_that_cannot_be_meant_are_refused() {
    let errors = |selector: Json| kind("process").check(&selector);
    for bad in [
        json!({}),
        json!({ "pid": 1 }),
        json!({ "commandLine": "(" }),
        json!({ "user": true }),
        json!({ "port": 70000 }),
        json!({ "nmae": "x" }),
    ] {
        assert!(!errors(bad.clone()).is_empty(), "{bad}");
    }
    let error =
        kind("process").find(&json!({ "user": "nobody-has-this-name" })).now_or_never().expect("at once").expect_err("no such user");
    assert!(error.message.contains("nobody-has-this-name") && error.hint.is_some(), "{error}");
}

#[test]
fn a_policy_protects_what_meets_all_of_its_conditions() {
    let victim = Victim::sleeper();
    let target = one(&json!({ "pid": victim.pid() }));
    let entry = |name: Option<&str>, user: Option<&str>| ProtectedProcess {
        name: name.map(str::to_owned),
        user: user.map(str::to_owned),
        port: None,
        unit: None,
    };
    let uid = rustix::process::geteuid().as_raw().to_string();
    assert!(is_protected(&entry(Some(victim.name()), None), &target));
    assert!(is_protected(&entry(Some(victim.name()), Some(&uid)), &target));
    assert!(!is_protected(&entry(Some(victim.name()), Some("12345")), &target));
    assert!(!is_protected(&entry(None, None), &target), "an empty entry protects nothing");
}
