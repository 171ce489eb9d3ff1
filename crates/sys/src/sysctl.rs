//! Settings of a network namespace under `/proc/sys/net`: of the namespace of the thread that reads or writes them
//! (`proc_sys_net(5)`).

use std::io;
use std::path::PathBuf;

use squall_undo::Armed;

fn file(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net").join(name)
}

/// What a setting says, without the newline at its end: `ipv4/ip_local_port_range`.
pub fn read(name: &str) -> io::Result<String> {
    Ok(std::fs::read_to_string(file(name))?.trim_end().to_owned())
}

/// Sets it.
pub fn write(_: &Armed, name: &str, value: &str) -> io::Result<()> {
    // The kernel takes a list of ports that is longer than a page in parts, each added to those before.
    std::fs::write(file(name), format!("{value}\n"))
}
