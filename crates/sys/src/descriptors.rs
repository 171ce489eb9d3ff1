//! Descriptors that this program was given, and must not pass on.

use std::io;

/// From here on no child gets a descriptor that this process has now, but for standard input, output and error where they are
/// handed over on purpose: the watchdog and relaunched processes outlive the run, and would keep open what whoever started
/// Squall waits for (a pipe, a lock). Linux 5.11; an error on older kernels, which harms nothing else.
pub fn keep_from_children() -> io::Result<()> {
    // SAFETY: close_range with CLOSE_RANGE_CLOEXEC closes nothing; it sets a flag on descriptors that stay open and owned by
    // whoever owns them. Safe code cannot do it: no crate in use wraps the call for a range.
    let done = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

    #[test]
    fn descriptors_that_would_be_inherited_are_not() {
        let file = std::fs::File::open("/dev/null").expect("open");
        fcntl_setfd(&file, FdFlags::empty()).expect("inheritable");
        keep_from_children().expect("Linux 5.11 or later");
        assert!(fcntl_getfd(&file).expect("flags").contains(FdFlags::CLOEXEC));
    }
}
