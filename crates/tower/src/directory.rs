//! Where faults are set.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where root sets faults for every service of the host.
pub const OF_THE_HOST: &str = "/run/squall/faults";
/// The variable that names another directory. A service in a container is given the host's directory as a volume, and told by
/// this where it is.
pub const VARIABLE: &str = "SQUALL_FAULTS_DIR";

/// Where this process sets faults: [`VARIABLE`] if it is set; [`OF_THE_HOST`] for root; `$XDG_RUNTIME_DIR/squall/faults` for
/// everybody else. None where neither variable is set.
pub fn to_write() -> Option<PathBuf> {
    let own = || std::env::var_os("XDG_RUNTIME_DIR").filter(|v| !v.is_empty()).map(|dir| Path::new(&dir).join("squall/faults"));
    named().or_else(|| if own_user() == 0 { Some(PathBuf::from(OF_THE_HOST)) } else { own() })
}

/// Where a service looks: [`VARIABLE`] alone if it is set, otherwise the host's directory and the user's own.
pub fn to_watch() -> Vec<PathBuf> {
    if let Some(named) = named() {
        return vec![named];
    }
    let mut all = vec![PathBuf::from(OF_THE_HOST)];
    all.extend(to_write().filter(|own| *own != all[0]));
    all
}

fn named() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// Makes it, readable for all and writable for its owner alone.
pub fn make(directory: &Path) -> io::Result<()> {
    if !directory.is_dir() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        // Whatever the umask took away.
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Users whose files in this directory are obeyed: its owner, root, and this process's own.
pub(crate) struct Trusted([u32; 3]);

impl Trusted {
    /// An error where anybody at all could put a file into the directory. None where there is no directory.
    pub(crate) fn of(directory: &Path) -> Result<Option<Self>, String> {
        let metadata = match std::fs::metadata(directory) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{} cannot be looked at: {error}", directory.display())),
        };
        if !metadata.is_dir() {
            return Err(format!("{} is not a directory", directory.display()));
        }
        if metadata.mode() & 0o002 != 0 {
            return Err(format!("{} can be written by everybody, so no fault in it is obeyed; `chmod o-w` it", directory.display()));
        }
        Ok(Some(Self([metadata.uid(), 0, own_user()])))
    }

    pub(crate) fn owns(&self, metadata: &std::fs::Metadata) -> bool {
        self.0.contains(&metadata.uid()) && metadata.mode() & 0o022 == 0
    }
}

/// Its own user: the owner of `/proc/self` (`proc(5)`).
fn own_user() -> u32 {
    std::fs::metadata("/proc/self").map_or(u32::MAX, |metadata| metadata.uid())
}
