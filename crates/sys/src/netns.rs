//! Network namespaces (`network_namespaces(7)`): which one a process is in, and doing something within another.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

/// A network namespace: a file that leads to it, and the inode that tells it from others and from one that comes later.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Namespace {
    /// `/proc/<pid>/ns/net`, or where `ip netns` keeps it: `/run/netns/<name>`.
    pub path: PathBuf,
    /// Of the namespace. Unique while it exists.
    pub inode: u64,
}

impl Namespace {
    /// That of this process.
    pub fn own() -> io::Result<Self> {
        Self::at(Path::new("/proc/self/ns/net"))
    }

    /// That of a process.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        Self::at(&PathBuf::from(format!("/proc/{pid}/ns/net")))
    }

    /// The one that a file leads to.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), inode: std::fs::metadata(path)?.ino() })
    }

    /// Whether this process is in it.
    pub fn is_own(&self) -> bool {
        Self::own().is_ok_and(|own| own.inode == self.inode)
    }

    /// Opens it, and makes sure that it still is the same. `NotFound` if it is gone, or its process has another now.
    pub fn open(&self) -> io::Result<File> {
        let path = if self.is_own() { Path::new("/proc/self/ns/net") } else { &self.path };
        let file = File::open(path)?;
        if file.metadata()?.ino() == self.inode {
            return Ok(file);
        }
        Err(io::Error::new(io::ErrorKind::NotFound, format!("{} leads to another network namespace now", path.display())))
    }

    /// The same namespace by a file that leads to it now: its process may have ended while others are still in it. `None` if no
    /// process and no name leads to it any more.
    pub fn found(&self) -> Option<Self> {
        match self.open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Whatever else is wrong is for whoever enters it.
            _ => return Some(self.clone()),
        }
        let entries = |directory: &str| std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
        let processes = entries("/proc").map(|path| path.join("ns/net"));
        let mut files = entries("/run/netns").chain(processes);
        files.find_map(|path| Self::at(&path).ok().filter(|other| other.inode == self.inode))
    }

    /// Moves the calling thread into it, for good. For processes of one thread, and threads that end afterwards.
    pub fn enter(&self) -> io::Result<()> {
        let file = self.open()?;
        if self.is_own() {
            return Ok(());
        }
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }

    /// Does something within it, on a thread of its own. Sockets that are opened there stay in it.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        if self.is_own() {
            return work();
        }
        let there = || {
            self.enter()?;
            work()
        };
        std::thread::scope(|scope| scope.spawn(there).join()).map_err(|_| io::Error::other("the thread within the namespace panicked"))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_with_another_inode_is_not_entered() {
        let own = Namespace::own().expect("own");
        assert!(own.is_own() && own.open().is_ok());
        let other = Namespace { inode: own.inode + 1, ..own };
        assert_eq!(other.open().expect_err("another").kind(), io::ErrorKind::NotFound);
        assert!(other.within(|| Ok(())).is_err());
    }

    #[test]
    fn a_namespace_is_found_again_when_the_process_it_was_known_by_is_gone() {
        let own = Namespace::own().expect("own");
        let elsewhere = Namespace { path: "/proc/0/ns/net".into(), ..own.clone() };
        assert_eq!(elsewhere.found().expect("found").inode, own.inode);
        assert_eq!(Namespace { inode: 1, ..own }.found(), None);
    }
}
