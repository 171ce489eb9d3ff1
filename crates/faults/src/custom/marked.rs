//! Processes that carry an injection's mark in their environment.

use std::time::Duration;

use rustix::process::Signal;
use squall_sys::process::{ProcessId, with_variable};
use squall_undo::{Armed, boottime};

use super::program::MARK;
use crate::process::{DIES_WITHIN, blocking};

/// Those that run.
pub async fn marked(marker: &str) -> Result<Vec<ProcessId>, String> {
    let marker = marker.to_owned();
    blocking(move || with_variable(MARK, &marker)).await?.map_err(|e| e.to_string())
}

/// Ends them, by SIGTERM and after `grace` by SIGKILL, waits until they are gone, and says how many there were.
pub async fn end_marked(marker: &str, grace: Duration, armed: &Armed) -> Result<usize, String> {
    let send = |process: ProcessId, signal| {
        process.signal(armed, signal).map_err(|e| format!("process {} cannot be ended: {e}", process.pid)).map(drop)
    };
    let mut ended = 0;
    let mut left = marked(marker).await?;
    if !grace.is_zero() {
        left.iter().try_for_each(|process| send(*process, Signal::TERM))?;
        let until = boottime() + grace;
        for process in &left {
            wait_gone(*process, until.saturating_sub(boottime())).await?;
        }
        ended = left.iter().filter(|process| process.state().is_none()).count();
        left = marked(marker).await?;
    }
    // Again, in case one was being started meanwhile.
    while !left.is_empty() {
        left.iter().try_for_each(|process| send(*process, Signal::KILL))?;
        for process in &left {
            if !wait_gone(*process, DIES_WITHIN).await? {
                return Err(format!("process {} does not end, not even by SIGKILL", process.pid));
            }
        }
        ended += left.len();
        left = marked(marker).await?;
    }
    Ok(ended)
}

async fn wait_gone(process: ProcessId, within: Duration) -> Result<bool, String> {
    blocking(move || process.wait_gone(within)).await?.map_err(|e| e.to_string())
}
