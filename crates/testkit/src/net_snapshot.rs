//! What a network namespace looks like to the tools that people use, as text: before a fault and after it must be the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use squall_undo::boottime;

/// What is asked in the namespace, each under a heading. Without `-s`, so that counters are left out; with handles, so that
/// something that was deleted and made again is told from what was left alone.
const QUESTIONS: &str = r#"
say() { echo "== $1"; }
say "tc qdisc"; tc -d qdisc show
for dev in $(ls /proc/sys/net/ipv4/conf | grep -v -x -e all -e default); do
  say "tc class $dev"; tc class show dev "$dev"
  for parent in "" ingress egress; do
    say "tc filter $dev $parent"; tc -d filter show dev "$dev" $parent 2>&1 | grep -v -i "^Error: Parent Qdisc"
  done
done
for action in mirred gact skbedit bpf police pedit; do say "tc action $action"; tc actions ls action $action 2>&1; done
say "nft ruleset"; nft -s -a list ruleset || echo "cannot be read"
say "ip link"; ip -d link show
say "ip address"; ip address show
say "ip -4 route"; ip -4 route show table all | sort
say "ip -6 route"; ip -6 route show table all | sort
say "ip -4 rule"; ip -4 rule show
say "ip -6 rule"; ip -6 rule show
say "bpf attached"; bpftool net show 2>&1
say "queues"; cut -c 1-6 /proc/net/netfilter/nfnetlink_queue
say "sysctl"; grep -rsH . /proc/sys/net/ipv4 /proc/sys/net/ipv6 /proc/sys/net/core | sort
"#;

/// Of the tools above, those that a machine may lack.
const TOOLS: [&str; 5] = ["tc", "ip", "nft", "bpftool", "nsenter"];

/// A network namespace at one moment: qdiscs, classes, filters and actions, nftables, links, addresses, routes, rules, BPF
/// programs that are attached there, queues of netfilter, sysctls; and the BPF programs of the whole host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetSnapshot {
    sections: BTreeMap<String, Vec<String>>,
    /// BPF programs by their numbers, which are never given twice.
    programs: BTreeSet<u32>,
}

impl NetSnapshot {
    /// Looks at the namespace that a file leads to: `host.path()`, or `/proc/self/ns/net` for our own.
    pub fn take(namespace: &Path) -> Self {
        let text = run("nsenter", &[&format!("--net={}", namespace.display()), "--", "sh", "-c", QUESTIONS]);
        let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut lines = Vec::new();
        let mut heading = String::new();
        for line in text.lines() {
            if let Some(next) = line.strip_prefix("== ") {
                sections.insert(std::mem::replace(&mut heading, next.trim().to_owned()), std::mem::take(&mut lines));
            } else if !line.trim().is_empty() {
                lines.push(without_clocks(line));
            }
        }
        sections.insert(heading, lines);
        sections.remove("");
        Self { sections, programs: programs() }
    }

    /// What is otherwise afterwards, a line each: `- nft ruleset: …` is gone, `+ tc qdisc: …` is new. Empty if nothing is.
    ///
    /// Of BPF programs, only new ones: what goes away elsewhere on the host is nobody's business here. And only those that no
    /// process outside of this one and its descendants holds, as other tests have theirs at the same time.
    pub fn diff(&self, after: &Self) -> String {
        let mut text = String::new();
        let headings: BTreeSet<&String> = self.sections.keys().chain(after.sections.keys()).collect();
        for heading in headings {
            let lines = |snapshot: &Self| snapshot.sections.get(heading).cloned().unwrap_or_default();
            let (old, new) = (lines(self), lines(after));
            if old == new {
                continue;
            }
            let before = text.len();
            only_in(&old, &new).for_each(|line| text += &format!("- {heading}: {line}\n"));
            only_in(&new, &old).for_each(|line| text += &format!("+ {heading}: {line}\n"));
            if text.len() == before {
                text += &format!("~ {heading}: the same lines in another order\n");
            }
        }
        for program in after.programs.difference(&self.programs) {
            text += &format!("+ bpf: program {program}\n");
        }
        text
    }

    /// Waits until the namespace is again as it was, and gives how long that took. Fails with the difference if it takes
    /// longer than `within`.
    pub fn returns(&self, namespace: &Path, within: Duration) -> Duration {
        let start = boottime();
        let mut lasting: Option<BTreeSet<u32>> = None;
        loop {
            let at = boottime() - start;
            let mut now = Self::take(namespace);
            // A program that somebody else has just for a moment is not there the next time.
            let new: BTreeSet<u32> = now.programs.difference(&self.programs).copied().collect();
            let still: BTreeSet<u32> = lasting.map_or_else(|| new.clone(), |before| before.intersection(&new).copied().collect());
            now.programs.clone_from(&still);
            lasting = Some(still);
            let diff = self.diff(&now);
            if diff.is_empty() {
                return at;
            }
            assert!(at < within, "after {at:?} the network of {} is not as it was:\n{diff}", namespace.display());
        }
    }
}

/// What counts down by itself: lifetimes of addresses and routes.
fn without_clocks(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    for at in 1..words.len() {
        let counts = matches!(words[at - 1], "valid_lft" | "preferred_lft" | "expires" | "age") && words[at].ends_with("sec");
        if counts {
            words[at] = "…";
        }
    }
    words.join(" ")
}

/// Lines of the one that the other does not have, each as often as it has it more often.
fn only_in<'a>(these: &'a [String], those: &[String]) -> impl Iterator<Item = &'a String> {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for line in those {
        *left.entry(line).or_default() += 1;
    }
    let left: BTreeMap<String, usize> = left.into_iter().map(|(line, count)| (line.to_owned(), count)).collect();
    these.iter().filter({
        let mut left = left;
        move |line| match left.get_mut(line.as_str()) {
            Some(count) if *count > 0 => {
                *count -= 1;
                false
            }
            _ => true,
        }
    })
}

/// The BPF programs of this host that nobody but us can have loaded for a purpose that lasts.
fn programs() -> BTreeSet<u32> {
    let listed = run("bpftool", &["--json", "prog", "show"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap_or_else(|e| panic!("bpftool: {e}: {listed}"));
    let all = listed.as_array().into_iter().flatten().filter_map(|p| u32::try_from(p["id"].as_u64()?).ok());
    let foreign = held_by_others();
    all.filter(|id| !foreign.contains(id)).collect()
}

/// The programs that processes hold, by themselves or in a link, which neither are this one nor descend from it.
fn held_by_others() -> BTreeSet<u32> {
    let mut held = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let ids: Vec<u32> =
            std::fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten().filter_map(|fd| program_of(&fd.path())).collect();
        if !ids.is_empty() && !is_ours(pid) {
            held.extend(ids);
        }
    }
    held
}

/// The number of the BPF program that a descriptor leads to: `prog_id` of its `fdinfo`.
fn program_of(fd: &Path) -> Option<u32> {
    if !std::fs::read_link(fd).ok()?.to_str()?.contains("bpf") {
        return None;
    }
    let info = fd.parent()?.with_file_name("fdinfo").join(fd.file_name()?);
    let text = std::fs::read_to_string(info).ok()?;
    text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
}

fn is_ours(mut pid: u32) -> bool {
    while pid > 1 {
        if pid == std::process::id() {
            return true;
        }
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
        pid = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok()).unwrap_or(0);
    }
    false
}

fn run(program: &str, args: &[&str]) -> String {
    #[expect(clippy::disallowed_methods, reason = "the tools that people use are what says how it looks")]
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be started, of {TOOLS:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("not found"), "a tool is missing, of {TOOLS:?}: {errors}");
    assert!(output.status.success(), "{program}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_down_is_left_out_and_nothing_else() {
        let line = "    inet6 fe80::1/64 valid_lft 86391sec preferred_lft forever";
        assert_eq!(without_clocks(line), "    inet6 fe80::1/64 valid_lft … preferred_lft forever");
        assert_eq!(without_clocks("default via fe80::1 expires 1798sec mtu 1500"), "default via fe80::1 expires … mtu 1500");
    }

    #[test]
    fn lines_are_counted() {
        let lines = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        assert_eq!(only_in(&lines("aab"), &lines("ab")).collect::<Vec<_>>(), ["a"]);
        assert_eq!(only_in(&lines("ab"), &lines("bba")).count(), 0);
    }
}
