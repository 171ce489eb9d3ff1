//! What the stressor's main thread does: nothing, until it is time to go or to end.

use std::io::stdin;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use squall_sys::cpu_time::boottime;
use squall_undo::Armed;

/// The longest wait at once. A poll does not count suspended time and the deadline does, so it is looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// Waits until a descriptor has something to say or is closed; false at the deadline.
fn wait_readable(fds: &[BorrowedFd<'_>], deadline: Duration) -> Result<bool, String> {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    loop {
        let left = deadline.saturating_sub(boottime());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = left.min(LOOK).try_into().map_err(|_| "a deadline too far away".to_owned())?;
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(format!("poll: {error}")),
        }
    }
}

/// Waits for `go`, which hands over the token; none if the parent went away or the deadline passed first.
pub(super) fn wait_for_go(deadline: Duration) -> Result<Option<Armed>, String> {
    let input = stdin();
    let mut seen = Vec::new();
    while wait_readable(&[input.as_fd()], deadline)? {
        let mut byte = [0];
        match rustix::io::read(input.as_fd(), &mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => seen.push(byte[0]),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("standard input: {error}")),
        }
    }
    Ok(Armed::received(&seen))
}

/// Waits until the parent goes away, the deadline passes, or one of the others becomes readable (the load has failed, say).
pub(super) fn wait_for_end(deadline: Duration, others: &[BorrowedFd<'_>]) -> Result<(), String> {
    let input = stdin();
    // The parent writes nothing more: whatever makes its pipe readable is the end of it.
    let all: Vec<BorrowedFd<'_>> = std::iter::once(input.as_fd()).chain(others.iter().copied()).collect();
    wait_readable(&all, deadline).map(drop)
}
