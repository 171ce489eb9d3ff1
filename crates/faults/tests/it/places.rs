//! Targets that are more than a process, and where their traffic is.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value as Json, json};
use squall_engine::{FindError, Target};
use squall_faults::network::owner::{Owner, place};
use squall_sys::cgroup::Hierarchy;
use squall_sys::netns::Namespace;
use squall_testkit::net::{Host, Lab};
use squall_testkit::{Victim, eventually};

use crate::kinds::kind;

fn find(of: &str, selector: &Json) -> Result<Vec<Target>, FindError> {
    assert_eq!(kind(of).check(selector), [], "{selector}");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(kind(of).find(selector))
}

fn one(of: &str, selector: &Json) -> Target {
    let mut found = find(of, selector).unwrap_or_else(|error| panic!("{selector}: {error}"));
    assert_eq!(found.len(), 1, "{selector}: {found:?}");
    found.remove(0)
}

fn placed(target: &Target) -> (u64, Owner) {
    let place = place(target, &squall_sys::facts()).unwrap_or_else(|error| panic!("{}: {error}", target.label));
    (place.namespace.inode, place.owner)
}

fn own() -> u64 {
    Namespace::own().expect("a namespace").inode
}

/// A control group of v2 that is gone with it; what is still in it is moved to the root first.
struct Group {
    root: PathBuf,
    directory: PathBuf,
}

impl Group {
    fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let hierarchy = Hierarchy::all().expect("mounts").into_iter().find(|h| h.unified).expect("cgroup v2 is mounted");
        let top = hierarchy.mount_point.join(format!("squall-place-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        let directory = top.join(name);
        std::fs::create_dir_all(&directory).expect("made");
        Self { root: hierarchy.mount_point, directory }
    }

    fn path(&self) -> String {
        format!("/{}", self.directory.strip_prefix(&self.root).expect("below it").display())
    }

    fn take(&self, pid: u32) {
        std::fs::write(self.directory.join("cgroup.procs"), pid.to_string()).expect("joined");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let members = std::fs::read_to_string(self.directory.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines() {
            let _ = std::fs::write(self.root.join("cgroup.procs"), pid);
        }
        eventually("the group is empty", || std::fs::remove_dir(&self.directory).is_ok());
        let _ = std::fs::remove_dir(self.directory.parent().expect("one above it"));
    }
}

/// A process that sleeps on a host.
struct Sleeper(Child);

impl Sleeper {
    fn on(host: &Host) -> Self {
        let child = host.command("sleep").arg("120").stdin(Stdio::null()).spawn().expect("started");
        let sleeper = Self(child);
        // `nsenter` becomes `sleep` once it is there.
        let namespace = host.namespace().inode;
        eventually("it is there", || Namespace::of_process(sleeper.0.id()).is_ok_and(|of| of.inode == namespace));
        sleeper
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_namespace_is_found_by_its_name_its_file_and_a_process_in_it() {
    let lab = Lab::new();
    let host = lab.host("host");
    let sleeper = Sleeper::on(&host);
    let inode = host.namespace().inode;
    for selector in [json!({ "name": host.name_of_namespace() }), json!({ "path": host.path() }), json!({ "pid": sleeper.0.id() })] {
        let target = one("namespace", &selector);
        assert_eq!(target.id, format!("namespace:{inode}"), "the same, however it is named");
        assert_eq!(placed(&target), (inode, Owner::Everything));
    }
}

#[test]
fn a_control_group_is_found_with_its_members_and_told_by_its_path() {
    let (group, victim) = (Group::new("web.service"), Victim::sleeper());
    let selector = json!({ "path": group.path() });
    let empty = find("cgroup", &selector).expect_err("nobody is in it");
    assert!(empty.message.contains("no process") && empty.hint.is_some(), "{empty:?}");
    group.take(victim.pid());
    let target = one("cgroup", &selector);
    assert_eq!(target.facts["members"][0]["pid"], victim.pid());
    assert_eq!(placed(&target), (own(), Owner::CgroupV2(group.path())));
    let above = group.path().trim_end_matches("/web.service").to_owned();
    assert_eq!(one("cgroup", &json!({ "path": above })).facts["members"], target.facts["members"], "what is below belongs to it");
    group.take(std::process::id());
    let ours = find("cgroup", &selector).expect_err("this process stands for Squall");
    assert!(ours.message.contains("Squall itself"), "{ours:?}");
}

#[test]
fn a_control_group_over_several_network_namespaces_is_refused() {
    let (group, victim, lab) = (Group::new("spread.slice"), Victim::sleeper(), Lab::new());
    let sleeper = Sleeper::on(&lab.host("host"));
    group.take(sleeper.0.id());
    let target = one("cgroup", &json!({ "path": group.path() }));
    assert_eq!(placed(&target).0, lab_inode(&sleeper), "all of it is in one, though not in ours");
    group.take(victim.pid());
    let target = one("cgroup", &json!({ "path": group.path() }));
    let error = place(&target, &squall_sys::facts()).expect_err("refused");
    assert!(error.message.contains("2 network namespaces") && error.hint.is_some(), "{error:?}");
}

fn lab_inode(sleeper: &Sleeper) -> u64 {
    Namespace::of_process(sleeper.0.id()).expect("it runs").inode
}

#[test]
fn a_user_is_found_by_number() {
    const UID: u32 = 54_322;
    #[expect(clippy::disallowed_methods, reason = "a process of another user")]
    let mut command = std::process::Command::new("sleep");
    let _sleeper = Sleeper(command.arg("120").uid(UID).spawn().expect("started, as root"));
    for selector in [json!({ "name": UID }), json!({ "name": UID.to_string() })] {
        let target = one("user", &selector);
        let (inode, owner) = placed(&target);
        assert!(inode == own() && matches!(owner, Owner::MarkedUser { uid: UID, .. }), "{owner:?}");
    }
}

#[test]
fn a_container_is_found_by_its_id_and_told_by_what_it_shares() {
    let id = format!("{:032x}{:032x}", std::process::id(), 0xfeed);
    let group = Group::new(&format!("docker-{id}.scope"));
    let selector = json!({ "id": &id[..40] });
    assert_eq!(find("container", &selector).expect("looked"), [], "nothing runs in it");
    // With the host's network.
    let (first, second) = (Victim::sleeper(), Victim::sleeper());
    group.take(first.pid());
    group.take(second.pid());
    let target = one("container", &selector);
    assert_eq!(target.id, format!("container:{id}"));
    assert_eq!(target.facts["init"]["pid"], first.pid());
    assert_eq!(placed(&target), (own(), Owner::CgroupV2(group.path())));
    drop((first, second));
    // With a network of its own.
    let lab = Lab::new();
    let host = lab.host("pod");
    let alone = Sleeper::on(&host);
    group.take(alone.0.id());
    eventually("the others are gone", || find("container", &selector).is_ok_and(|found| found[0].facts["init"]["pid"] == alone.0.id()));
    assert_eq!(placed(&one("container", &selector)), (host.namespace().inode, Owner::Everything));
    // Beside another container of its pod.
    let _beside = Sleeper::on(&host);
    assert_eq!(placed(&one("container", &selector)), (host.namespace().inode, Owner::CgroupV2(group.path())));
    group.take(std::process::id());
    assert_eq!(find("container", &selector).expect("looked"), [], "Squall's own container never matches");
}

#[test]
fn a_process_is_told_by_marks_unless_it_has_a_namespace_for_itself() {
    let victim = Victim::sleeper();
    let target = one("process", &json!({ "pid": victim.pid() }));
    let (inode, owner) = placed(&target);
    let Owner::Processes { roots, mark } = owner else { panic!("{owner:?}") };
    assert_eq!((inode, roots[0].pid, roots.len(), mark & 0xff00_0000), (own(), victim.pid(), 1, squall_engine::marks::OWNER_MARK));
    let unprivileged = squall_engine::HostFacts { uid: 1000, ..squall_sys::facts() };
    let error = place(&target, &unprivileged).expect_err("refused");
    assert!(error.hint.is_some_and(|hint| hint.contains("root")));
    drop(victim);
    let error = place(&target, &squall_sys::facts()).expect_err("gone");
    assert!(error.message.contains("has ended"), "{error:?}");
}
