//! Starting processes that belong to nobody, or that must die with Squall.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::attributes::Prepared;

/// Starts a command as a grandchild whose parent is gone at once, with these attributes, and gives its number. It leads a
/// session of its own, its parent is process 1 (or the nearest reaper), and it has no descriptor of this process beside
/// standard input, output and error.
pub(crate) fn detached(command: &mut Command, attributes: Prepared) -> io::Result<u32> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let raw = write.as_raw_fd();
    // SAFETY: between fork and exec only setsid, fork, getpid, write, close_range, _exit and the plain system calls of
    // `take_on` are made, all async-signal-safe (signal-safety(7)); nothing is allocated, and `raw` stays open as `write`
    // outlives the spawn.
    // Safe code cannot do it: a second fork before exec is the only way to a process that is not our child, and `Command`
    // offers no other place for it.
    unsafe {
        command.pre_exec(move || {
            if libc::setsid() < 0 {
                return Err(io::Error::last_os_error());
            }
            match libc::fork() {
                -1 => return Err(io::Error::last_os_error()),
                0 => {}
                _ => libc::_exit(0),
            }
            let pid = libc::getpid().to_ne_bytes();
            if libc::write(raw, pid.as_ptr().cast(), pid.len()) != 4 {
                return Err(io::Error::last_os_error());
            }
            // Whoever started Squall may have left descriptors open on purpose (a lock, a pipe that is waited for). Refused
            // before Linux 5.11, where `keep_from_children` could not help either.
            libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed());
            attributes.take_on()
        });
    }
    let spawned = command.spawn();
    drop(write);
    let mut between = spawned?;
    between.wait()?;
    let mut pid = [0; 4];
    File::from(read).read_exact(&mut pid)?;
    Ok(u32::from_ne_bytes(pid))
}

/// Makes a command's process die with the thread that starts it: for what must never outlive Squall.
pub fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only prctl and getppid are called, both async-signal-safe; nothing is allocated.
    // Safe code cannot do it: the setting belongs to the new process and has to be made inside it, before exec.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            // The parent may have died before the setting was made.
            let now = rustix::process::getppid().map_or(0, |p| p.as_raw_nonzero().get());
            if u32::try_from(now).ok() == Some(parent) { Ok(()) } else { Err(io::Error::other("the parent is gone")) }
        });
    }
}
