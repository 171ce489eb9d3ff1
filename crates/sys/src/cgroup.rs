//! Control groups, v1, v2 and both at once (`cgroups(7)`): which a process is in, what limits it there, and joining them.

use std::io;
use std::path::{Path, PathBuf};

use squall_undo::Armed;

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted: `/sys/fs/cgroup/memory`, `/sys/fs/cgroup`.
    pub mount_point: PathBuf,
    /// Which group of the hierarchy is seen at the mount point; `/` outside of containers.
    pub root: PathBuf,
    /// v1: the controllers of the hierarchy. v2: empty.
    pub controllers: Vec<String>,
    /// v2, the unified hierarchy.
    pub unified: bool,
}

impl Hierarchy {
    /// All that are mounted, from `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`).
    pub fn all() -> io::Result<Vec<Self>> {
        Ok(parse_mountinfo(&std::fs::read_to_string("/proc/self/mountinfo")?))
    }

    /// The v1 hierarchy with that controller, if it is mounted.
    pub fn v1_of(controller: &str) -> Option<Self> {
        Self::all().ok()?.into_iter().find(|h| h.controllers.iter().any(|c| c == controller))
    }
}

fn parse_mountinfo(text: &str) -> Vec<Hierarchy> {
    // `25 20 0:22 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu`: the options after the dash name the controllers.
    text.lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut left = left.split(' ').skip(3);
            let (root, mount_point) = (left.next()?, left.next()?);
            let mut right = right.split(' ');
            let unified = match right.next()? {
                "cgroup" => false,
                "cgroup2" => true,
                _ => return None,
            };
            let options = right.nth(1).unwrap_or_default();
            let controllers = if unified { Vec::new() } else { options.split(',').map(str::to_owned).collect() };
            Some(Hierarchy { mount_point: unescape(mount_point), root: unescape(root), controllers, unified })
        })
        .collect()
}

/// The kernel writes space, tab, newline and backslash as octal escapes.
fn unescape(text: &str) -> PathBuf {
    PathBuf::from(text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\"))
}

/// The group of one hierarchy that a process is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its directory on this host.
    pub directory: PathBuf,
    /// Its path within the hierarchy, for people: `/user.slice/…`.
    pub path: String,
    /// v2.
    pub unified: bool,
    /// v1: the controllers of its hierarchy.
    pub controllers: Vec<String>,
}

impl Group {
    /// Every group that a process is in, one a mounted hierarchy.
    pub fn of_process(pid: u32) -> io::Result<Vec<Self>> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        Ok(groups(&text, &Hierarchy::all()?))
    }

    /// The group that governs a controller for a process: the v1 hierarchy that has it, otherwise v2's. `None` where neither
    /// is mounted, or a v2 that does not have the controller stands beside a v1 without it.
    pub fn governing(pid: u32, controller: &str) -> io::Result<Option<Self>> {
        let groups = Self::of_process(pid)?;
        Ok(pick(groups, controller))
    }

    /// Whether it is the root of its hierarchy, which limits nothing.
    pub fn is_root(&self) -> bool {
        self.path == "/"
    }

    /// The strictest memory limit of this group and those above it, in bytes; `None` where nothing limits.
    pub fn memory_limit(&self) -> Option<u64> {
        let file = if self.unified { "memory.max" } else { "memory.limit_in_bytes" };
        let above = Path::new(&self.path).ancestors().count();
        // v1 writes "no limit" as the largest multiple of the page size; v2 as `max`, which is not a number.
        let limits = self.directory.ancestors().take(above).filter_map(|d| std::fs::read_to_string(d.join(file)).ok()?.trim().parse().ok());
        limits.min().filter(|limit: &u64| *limit < u64::MAX / 4)
    }

    /// How often the group was throttled at its CPU limit (`nr_throttled` of `cpu.stat`), 0 where there is no limit.
    pub fn throttled(&self) -> u64 {
        let text = std::fs::read_to_string(self.directory.join("cpu.stat")).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse().ok()).unwrap_or(0)
    }

    /// Moves a process into this group. It leaves when it ends, or is moved again.
    pub fn join(&self, armed: &Armed, pid: u32) -> io::Result<()> {
        let _ = armed;
        std::fs::write(self.directory.join("cgroup.procs"), pid.to_string())
    }
}

fn groups(text: &str, hierarchies: &[Hierarchy]) -> Vec<Group> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (names, path) = (fields.next()?, fields.next()?);
            let controllers: Vec<String> = names.split(',').filter(|n| !n.is_empty()).map(str::to_owned).collect();
            let unified = controllers.is_empty();
            let hierarchy = hierarchies.iter().find(|h| {
                h.unified == unified && controllers.iter().all(|c| h.controllers.contains(c)) && Path::new(path).starts_with(&h.root)
            })?;
            let below = Path::new(path).strip_prefix(&hierarchy.root).ok()?;
            Some(Group { directory: hierarchy.mount_point.join(below), path: path.to_owned(), unified, controllers })
        })
        .collect()
}

fn pick(groups: Vec<Group>, controller: &str) -> Option<Group> {
    let has_v1 = groups.iter().any(|g| g.controllers.iter().any(|c| c == controller));
    groups.into_iter().find(|group| {
        if has_v1 {
            group.controllers.iter().any(|c| c == controller)
        } else {
            group.unified
                && std::fs::read_to_string(group.directory.join("cgroup.controllers"))
                    .is_ok_and(|text| text.split_whitespace().any(|c| c == controller))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
29 24 0:25 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
30 29 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct
31 29 0:27 /docker/abc /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 29 0:28 / /sys/fs/cgroup/unified\\040x rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn groups_are_found_in_v1_v2_and_within_a_container() {
        let hierarchies = parse_mountinfo(MOUNTS);
        assert_eq!(hierarchies.len(), 3);
        let found = groups("4:memory:/docker/abc/inner\n1:cpu,cpuacct:/web\n0::/web.scope\n", &hierarchies);
        let directories: Vec<_> = found.iter().map(|g| g.directory.to_string_lossy().into_owned()).collect();
        assert_eq!(directories, ["/sys/fs/cgroup/memory/inner", "/sys/fs/cgroup/cpu/web", "/sys/fs/cgroup/unified x/web.scope"]);
        assert_eq!(pick(found.clone(), "cpu").map(|g| g.path), Some("/web".to_owned()));
        assert_eq!(pick(found, "io"), None, "v2 does not offer it");
    }

    #[test]
    fn this_process_is_in_the_groups_that_the_kernel_says() {
        for group in Group::of_process(std::process::id()).expect("cgroups are mounted") {
            let members = std::fs::read_to_string(group.directory.join("cgroup.procs")).expect("a group's members can be read");
            assert!(members.lines().any(|pid| pid == std::process::id().to_string()), "{group:?}");
        }
    }
}
