//! Where runs are kept.

use std::path::{Path, PathBuf};

use squall_model::RunId;

/// The directory that holds the journal and, under `runs/<id>`, each run's undo ledger.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// A directory of the caller's choice, made if it is not there (mode 0700).
    pub fn new(path: PathBuf) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Self(path.canonicalize()?))
    }

    /// `$SQUALL_STATE_DIR`, else `$XDG_STATE_HOME/squall`, else `~/.local/state/squall` (XDG Base Directory Specification).
    pub fn locate() -> std::io::Result<Self> {
        let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let path = from("SQUALL_STATE_DIR")
            .or_else(|| from("XDG_STATE_HOME").filter(|p| p.is_absolute()).map(|p| p.join("squall")))
            .or_else(|| from("HOME").map(|p| p.join(".local/state/squall")))
            .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, "HOME is not set; set SQUALL_STATE_DIR"))?;
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
}
