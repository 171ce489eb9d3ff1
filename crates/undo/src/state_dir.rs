//! Where runs are kept.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use squall_model::RunId;

/// The directory that holds the journal, under `runs/<id>` each run's undo ledger, and the stop file `STOP`.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// A directory of the caller's choice, made if it is not there (mode 0700).
    pub fn new(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self(path.canonicalize()?))
    }

    /// `$SQUALL_STATE_DIR`, else `$XDG_STATE_HOME/squall`, else `~/.local/state/squall` (XDG Base Directory Specification).
    pub fn locate() -> io::Result<Self> {
        let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let path = from("SQUALL_STATE_DIR")
            .or_else(|| from("XDG_STATE_HOME").filter(|p| p.is_absolute()).map(|p| p.join("squall")))
            .or_else(|| from("HOME").map(|p| p.join(".local/state/squall")))
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "HOME is not set; set SQUALL_STATE_DIR"))?;
        Self::new(path)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The directory of one run.
    pub fn run_dir(&self, run: &RunId) -> PathBuf {
        self.0.join("runs").join(run.as_str())
    }

    /// The undo ledger of one run.
    pub fn ledger(&self, run: &RunId) -> PathBuf {
        ledger_in(&self.run_dir(run))
    }

    /// Every run that has a directory here, oldest first. What is not named like a run is passed over.
    pub fn runs(&self) -> io::Result<Vec<RunId>> {
        let entries = match std::fs::read_dir(self.0.join("runs")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut runs = Vec::new();
        for entry in entries {
            if let Some(run) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                runs.push(run);
            }
        }
        runs.sort();
        Ok(runs)
    }

    /// The stop file: while it exists, every run stops and none can arm a fault.
    pub fn stop_file(&self) -> PathBuf {
        self.0.join("STOP")
    }

    /// Whether the stop file exists, and what it says (who made it, or nothing). A file that cannot be looked at counts.
    pub fn stopped(&self) -> Option<String> {
        match std::fs::symlink_metadata(self.stop_file()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            _ => Some(std::fs::read_to_string(self.stop_file()).unwrap_or_default().trim().to_owned()),
        }
    }
}

/// The undo ledger within a run's directory.
pub(crate) fn ledger_in(run_dir: &Path) -> PathBuf {
    run_dir.join("ledger")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_listed_oldest_first_and_strangers_are_passed_over() {
        let scratch = tempfile::tempdir().expect("scratch");
        let state = StateDir::new(scratch.path().join("state")).expect("state");
        assert_eq!(state.runs().expect("none yet"), []);
        let (early, late) = (RunId::new(1_000, 1), RunId::new(2_000, 1));
        for run in [&late, &early] {
            std::fs::create_dir_all(state.run_dir(run)).expect("run");
        }
        std::fs::create_dir_all(state.path().join("runs/lost+found")).expect("stranger");
        assert_eq!(state.runs().expect("two"), [early, late]);
    }

    #[test]
    fn the_stop_file_says_who_made_it() {
        let scratch = tempfile::tempdir().expect("scratch");
        let state = StateDir::new(scratch.path()).expect("state");
        assert_eq!(state.stopped(), None);
        std::fs::write(state.stop_file(), "the on-call\n").expect("write");
        assert_eq!(state.stopped().as_deref(), Some("the on-call"));
    }
}
