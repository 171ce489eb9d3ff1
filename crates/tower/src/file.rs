//! Setting faults: what the agent and the engine of Squall do. A service has no use for it, but in its own tests.
//!
//! Two files make a fault. `<id>.fault` says what it does, and is locked by whoever set it for as long as that process lives.
//! `<id>.taken` is empty; every service that obeys the fault holds a shared lock on it. Both kinds of lock are `flock(2)`'s: they
//! need no right to write, work across containers that share the directory, and end with their process.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::directory::{self, Trusted};
use crate::fault::Setting;

/// The ending of the file that says what a fault does.
pub(crate) const FAULT: &str = "fault";
/// The ending of the file that services lock.
const TAKEN: &str = "taken";
/// A setting is some hundred bytes, with a few patterns.
const LARGEST: u64 = 64 * 1024;

/// A fault that this process has set. It is over when this is dropped, or this process ends.
#[derive(Debug)]
#[must_use = "the fault is over when this is dropped"]
pub struct Held {
    _lock: File,
}

/// Sets a fault, as one step: a service sees all of it or nothing. Makes the directory where there is none.
pub fn publish(directory: &Path, setting: &Setting) -> io::Result<Held> {
    setting.check().map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, format!("the fault {why}")))?;
    directory::make(directory)?;
    let taken = path(directory, &setting.id, TAKEN);
    File::create(&taken)?.set_permissions(Permissions::from_mode(0o644))?;
    let hidden = hidden(directory, &setting.id);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&hidden)?;
    // Before anybody else can open it: a fault that can be seen is locked.
    file.try_lock().map_err(io::Error::from)?;
    file.write_all(&serde_json::to_vec(setting)?)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    std::fs::rename(&hidden, path(directory, &setting.id, FAULT))?;
    Ok(Held { _lock: file })
}

/// Ends a fault, whoever set it. None if there was none.
pub fn withdraw(directory: &Path, id: &str) -> io::Result<Option<Withdrawn>> {
    let taken = open(&path(directory, id, TAKEN))?;
    let mut there = taken.is_some();
    for path in [path(directory, id, FAULT), hidden(directory, id), path(directory, id, TAKEN)] {
        match std::fs::remove_file(path) {
            Ok(()) => there = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(there.then_some(Withdrawn { taken }))
}

/// A fault that was ended.
#[derive(Debug)]
pub struct Withdrawn {
    taken: Option<File>,
}

impl Withdrawn {
    /// Whether some service has not seen yet that it is over.
    pub fn is_obeyed(&self) -> io::Result<bool> {
        self.taken.as_ref().map_or(Ok(false), |taken| is_locked(taken, true))
    }
}

/// How a fault stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whoever set it lives: services obey it.
    pub held: bool,
    /// Some service obeys it now.
    pub taken: bool,
    /// The processes that do, by their numbers here. A process of another container may not be among them.
    pub by: Vec<u32>,
}

/// Looks at a fault from outside. None if there is no such fault.
pub fn look(directory: &Path, id: &str) -> io::Result<Option<Standing>> {
    let (Some(fault), Some(taken)) = (open(&path(directory, id, FAULT))?, open(&path(directory, id, TAKEN))?) else { return Ok(None) };
    let standing = Standing { held: is_locked(&fault, false)?, taken: is_locked(&taken, true)?, by: holders(&taken)? };
    Ok(Some(standing))
}

/// Whether somebody else has a lock that is in the way of this kind.
pub(crate) fn is_locked(file: &File, exclusive: bool) -> io::Result<bool> {
    match if exclusive { file.try_lock() } else { file.try_lock_shared() } {
        Ok(()) => file.unlock().map(|()| false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Who has a shared lock on it, by `/proc/locks` (`proc_locks(5)`).
fn holders(file: &File) -> io::Result<Vec<u32>> {
    let inode = format!(":{}", file.metadata()?.ino());
    let holder = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, "READ", pid, place, ..] = fields.as_slice() else { return None };
        place.ends_with(&inode).then(|| pid.parse().ok()).flatten()
    };
    let mut pids: Vec<u32> = std::fs::read_to_string("/proc/locks")?.lines().filter_map(holder).collect();
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Takes up a fault: others see that it is obeyed for as long as the file is open. None while somebody just looks, or if the
/// fault is gone.
pub(crate) fn take(fault: &Path) -> Option<File> {
    let file = open(&fault.with_extension(TAKEN)).ok()??;
    file.try_lock_shared().ok().map(|()| file)
}

/// Reads a setting of somebody who is trusted.
pub(crate) fn read(path: &Path, trusted: &Trusted) -> Result<Option<(File, Setting)>, String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let Some(file) = open(path).map_err(failed)? else { return Ok(None) };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.len() > LARGEST || !trusted.owns(&metadata) {
        return Err(format!("{} is not obeyed: it is too large, or others than its directory's owner can write it", path.display()));
    }
    let mut bytes = Vec::new();
    Read::take(&file, LARGEST).read_to_end(&mut bytes).map_err(failed)?;
    let setting: Setting = serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    setting.check().map_err(|why| format!("{} {why}", path.display()))?;
    Ok(Some((file, setting)))
}

/// Opens what is there, and waits for nothing: neither for the other end of a pipe nor for where a link leads.
fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn path(directory: &Path, id: &str, ending: &str) -> PathBuf {
    directory.join(format!("{id}.{ending}"))
}

/// Where a fault is written before it is seen.
fn hidden(directory: &Path, id: &str) -> PathBuf {
    directory.join(format!(".{id}.new"))
}
