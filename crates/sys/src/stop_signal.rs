//! A polite end: `SIGTERM` as something that can be waited for, in a child that has things to put in order.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Blocks `SIGTERM` for this thread and those that it starts from now on, and gives a descriptor that becomes readable when it
/// arrives (`signalfd(2)`). To be called before any thread is started.
pub fn catch() -> io::Result<OwnedFd> {
    // SAFETY: `set` is initialised by `sigemptyset` before it is used, and outlives the calls. The descriptor is new and owned by
    // nobody else. Safe code cannot do it: rustix has neither signal masks nor `signalfd`.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        let blocked = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        if blocked != 0 {
            return Err(io::Error::from_raw_os_error(blocked));
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}
