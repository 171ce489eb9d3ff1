//! Undos that the tests can see: of a process that was stopped, of a file that was made.

use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use squall_undo::{Armed, Undoer};

/// Knows `test.pause {pid}`, `test.file {path}`, `test.hang` and `test.fail`.
pub struct TestUndoer;

impl Undoer for TestUndoer {
    fn revert<'a>(
        &'a self,
        fault: &'a str,
        undo: &'a Value,
        _: &'a Armed,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>> {
        Box::pin(async move {
            match fault {
                "test.pause" => go_on(undo).ok_or("no pid")?,
                "test.file" => remove(Path::new(undo["path"].as_str().ok_or("no path")?)),
                "test.hang" => std::future::pending().await,
                "test.panic" => panic!("as told"),
                _ => Err(format!("{fault} fails, as told")),
            }
        })
    }
}

fn go_on(undo: &Value) -> Option<Result<String, String>> {
    let pid = Pid::from_raw(i32::try_from(undo["pid"].as_i64()?).ok()?)?;
    Some(match kill_process(pid, Signal::CONT) {
        Ok(()) => Ok("sent SIGCONT".into()),
        Err(Errno::SRCH) => Ok("the process is gone".into()),
        Err(error) => Err(error.to_string()),
    })
}

fn remove(path: &Path) -> Result<String, String> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok("removed the file".into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok("the file is gone".into()),
        Err(error) => Err(error.to_string()),
    }
}
