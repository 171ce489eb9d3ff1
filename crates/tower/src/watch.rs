//! The thread that keeps the faults of a service up to date.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use crate::clock;
use crate::directory::Trusted;
use crate::fault::Active;
use crate::faults::Shared;
use crate::file;
use crate::pattern::Pattern;

/// Between two looks while a fault is in force: how late its setter's end is seen.
const BUSY: Duration = Duration::from_millis(50);
/// Between two looks while there is none and the kernel tells of changes: how late one is seen that it did not tell of.
const IDLE: Duration = Duration::from_secs(1);
/// Between two looks where the kernel does not tell of changes (`/proc/sys/fs/inotify/max_user_instances`).
const BLIND: Duration = Duration::from_millis(100);

/// A file, told from a later one of the same name.
type Key = (PathBuf, u64);

struct Known {
    active: Arc<Active>,
    /// Locked by the setter.
    file: File,
    /// Locked by us, once that was possible.
    taken: Option<File>,
}

pub(crate) struct Watcher {
    directories: Vec<PathBuf>,
    service: String,
    changes: Option<OwnedFd>,
    /// None for a file that is not for this service, or not to be obeyed.
    known: HashMap<Key, Option<Known>>,
}

impl Watcher {
    pub(crate) fn new(service: &str, directories: Vec<PathBuf>) -> Self {
        let changes = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
        Self { directories, service: service.to_owned(), changes, known: HashMap::new() }
    }

    /// Goes on until nobody has the faults any more.
    pub(crate) fn run(mut self, shared: &Weak<Shared>) {
        loop {
            let Some(shared) = shared.upgrade() else { return };
            let problem = self.look();
            let active: Vec<Arc<Active>> = self.known.values().flatten().map(|known| known.active.clone()).collect();
            let until = active.iter().map(|active| active.setting.deadline).min();
            shared.set(active, problem);
            // Only now: whoever sees that a fault is taken up can count on it.
            self.take();
            drop(shared);
            self.wait(until);
        }
    }

    /// Brings what is known up to date. What is wrong, in words.
    fn look(&mut self) -> Option<String> {
        let mut problem = None;
        let mut before = std::mem::take(&mut self.known);
        for directory in self.directories.clone() {
            // First: what changes after this wakes us, what changed before is seen now.
            self.tell_of_changes(&directory);
            let trusted = match Trusted::of(&directory) {
                Ok(Some(trusted)) => trusted,
                Ok(None) => continue,
                Err(why) => {
                    problem = Some(why);
                    continue;
                }
            };
            let entries = match std::fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) => {
                    problem = Some(format!("{} cannot be read: {error}", directory.display()));
                    continue;
                }
            };
            for entry in entries.flatten() {
                let path = entry.path();
                if path.extension().is_none_or(|ending| ending != file::FAULT) {
                    continue;
                }
                let key = (path, entry.ino());
                let known = match before.remove(&key) {
                    Some(known) => known,
                    None => self.read(&key, &trusted).unwrap_or_else(|why| {
                        problem = Some(why);
                        None
                    }),
                };
                self.known.insert(key, known.filter(Known::goes_on));
            }
        }
        before.into_values().flatten().for_each(|gone| gone.active.end());
        problem
    }

    /// Has the kernel tell of changes in a directory, or, while there is none, of its making. The same directory twice is one
    /// watch; a new one under the name is another.
    fn tell_of_changes(&mut self, directory: &Path) {
        let Some(changes) = &self.changes else { return };
        let within = WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::DELETE | WatchFlags::DELETE_SELF | WatchFlags::ONLYDIR;
        let above = WatchFlags::MOVED_TO | WatchFlags::CREATE | WatchFlags::ONLYDIR;
        let mut told = inotify::add_watch(changes, directory, within).map(drop);
        if told == Err(Errno::NOENT) {
            let nearest = |parent: &&Path| inotify::add_watch(changes, *parent, above) != Err(Errno::NOENT);
            directory.ancestors().skip(1).find(nearest);
            // Made just now; otherwise the next look is on time.
            told = match inotify::add_watch(changes, directory, within) {
                Err(Errno::NOENT) => Ok(()),
                watched => watched.map(drop),
            };
        }
        // Nothing to be watched by, or none of ours to watch: looked at again and again instead.
        if told.is_err() {
            self.changes = None;
        }
    }

    fn read(&self, (path, _): &Key, trusted: &Trusted) -> Result<Option<Known>, String> {
        let Some((file, setting)) = file::read(path, trusted)? else { return Ok(None) };
        let ours = Pattern::new(&setting.service).covers(&self.service);
        Ok(ours.then(|| Known { active: Arc::new(Active::new(setting)), file, taken: None }))
    }

    fn take(&mut self) {
        for ((path, _), known) in &mut self.known {
            if let Some(known) = known.as_mut().filter(|known| known.taken.is_none()) {
                known.taken = file::take(path);
            }
        }
    }

    /// Returns when something may have changed.
    fn wait(&self, until: Option<u64>) {
        let most = match (until, &self.changes) {
            (Some(deadline), _) => Duration::from_nanos(deadline.saturating_sub(clock::nanos())).min(BUSY),
            (None, Some(_)) => IDLE,
            (None, None) => BLIND,
        };
        let Some(changes) = &self.changes else { return std::thread::sleep(most) };
        let timeout = Timespec { tv_sec: i64::try_from(most.as_secs()).unwrap_or(1), tv_nsec: i64::from(most.subsec_nanos()) };
        let told = poll(&mut [PollFd::from_borrowed_fd(changes.as_fd(), PollFlags::IN)], Some(&timeout));
        if told.is_err() {
            // Interrupted, or out of memory: the next look is as good as a message.
            std::thread::sleep(BUSY);
        }
        // What changed is seen by looking; the messages are only to be out of the way.
        while rustix::io::read(changes, &mut [0_u8; 4096]).is_ok_and(|read| read > 0) {}
    }
}

impl Known {
    /// Ends it where its time is over, or whoever set it is gone. A file that cannot be asked is as good as gone.
    fn goes_on(&self) -> bool {
        let on = !self.active.is_over() && file::is_locked(&self.file, false).unwrap_or(false);
        if !on {
            self.active.end();
        }
        on
    }
}
