//! Which processes have which sockets open: the links in `/proc/<pid>/fd`.

use std::collections::BTreeSet;
use std::io;

/// A descriptor that leads to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// The descriptor's number in it.
    pub fd: i32,
    /// The socket.
    pub inode: u64,
}

/// The descriptors of a process that lead to sockets of any kind.
pub(crate) fn descriptors_of(pid: u32) -> io::Result<Vec<Holder>> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"))?;
    let holder = |entry: io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let link = std::fs::read_link(entry.path()).ok()?;
        let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        Some(Holder { pid, fd: entry.file_name().to_str()?.parse().ok()?, inode })
    };
    Ok(entries.filter_map(holder).collect())
}

/// The inodes of the sockets that a process has open.
pub fn inodes_of(pid: u32) -> io::Result<BTreeSet<u64>> {
    Ok(descriptors_of(pid)?.into_iter().map(|holder| holder.inode).collect())
}

/// Every descriptor of every process that leads to one of these sockets. Processes that end meanwhile, or may not be looked
/// at, have none.
pub fn holders(inodes: &BTreeSet<u64>) -> io::Result<Vec<Holder>> {
    let mut found = Vec::new();
    if inodes.is_empty() {
        return Ok(found);
    }
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let descriptors = descriptors_of(pid).unwrap_or_default();
        found.extend(descriptors.into_iter().filter(|holder| inodes.contains(&holder.inode)));
    }
    Ok(found)
}

/// The inodes of raw and ping sockets of the calling thread's network namespace, which `sock_diag` does not list on every
/// kernel.
pub fn unlisted() -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for name in ["raw", "raw6", "icmp", "icmp6"] {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
        // `sl local rem st tx:rx tr:when retrnsmt uid timeout inode`
        let inode = |line: &str| line.split_whitespace().nth(9)?.parse::<u64>().ok();
        found.extend(text.lines().skip(1).filter_map(inode).filter(|inode| *inode != 0));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn the_holder_of_a_socket_is_found_with_its_descriptor() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
        let inode = std::fs::metadata(path).expect("a link").ino();
        let holder = Holder { pid: std::process::id(), fd: socket.as_raw_fd(), inode };
        assert!(holders(&BTreeSet::from([inode])).expect("looked").contains(&holder));
        assert!(inodes_of(std::process::id()).expect("looked").contains(&inode));
    }
}
