//! A process with a supervisor.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

use crate::victim::{kill_all_in, lifetime, own_program, running, start};

/// A process that is started again a moment after it has ended, as systemd would. See [`crate::Victim`] for the rest.
#[derive(Debug)]
pub struct Supervised {
    program: PathBuf,
    directory: TempDir,
    stop: Arc<AtomicBool>,
    starts: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Supervised {
    /// A sleeper, started again `after` it has ended.
    pub fn sleeper(after: Duration) -> Self {
        let (directory, program) = own_program("sleep");
        let (stop, starts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(1)));
        let mut child = start(&program, &[lifetime()]);
        let (of, stopping, counter) = (program.clone(), stop.clone(), starts.clone());
        let thread = std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(2));
                if matches!(child.try_wait(), Ok(Some(_))) {
                    std::thread::sleep(after);
                    child = start(&of, &[lifetime()]);
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
            let _ = child.kill();
            let _ = child.wait();
        });
        Self { program, directory, stop, starts, thread: Some(thread) }
    }

    /// How often it was started.
    pub fn starts(&self) -> usize {
        self.starts.load(Ordering::Relaxed)
    }

    /// The name of its program.
    pub fn name(&self) -> &str {
        self.program.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// The processes of its program that run.
    pub fn running(&self) -> Vec<u32> {
        running(&self.program)
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        kill_all_in(self.directory.path());
    }
}
