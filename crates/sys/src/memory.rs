//! Memory that is really resident, and how much of it there is.

use std::ffi::c_void;
use std::io;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, MlockFlags, ProtFlags, madvise, mlock_with, mmap_anonymous, munlock, munmap};

/// The host's memory, from `/proc/meminfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostMemory {
    /// `MemTotal`, bytes.
    pub total: u64,
    /// `MemAvailable`: what can be had without swapping, bytes.
    pub available: u64,
}

impl HostMemory {
    /// As it is now.
    pub fn read() -> io::Result<Self> {
        let text = std::fs::read_to_string("/proc/meminfo")?;
        let total = field(&text, "MemTotal:").ok_or_else(|| missing("MemTotal"))?;
        let available = field(&text, "MemAvailable:").ok_or_else(|| missing("MemAvailable"))?;
        Ok(Self { total, available })
    }

    /// What is in use and cannot be had: `total - available`.
    pub const fn used(self) -> u64 {
        self.total.saturating_sub(self.available)
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{name} is not in /proc/meminfo"))
}

/// `Name:   123 kB` as bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Resident memory of a process, in bytes: exact, from `/proc/<pid>/smaps_rollup`, where it may be read; otherwise
/// from `status`, whose counters lag by some pages a core.
pub fn resident(pid: u32) -> io::Result<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
    if let Some(bytes) = rollup.ok().and_then(|text| field(&text, "Rss:")) {
        return Ok(bytes);
    }
    field(&std::fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:").ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// The most that a process has had resident so far, in bytes (`VmHWM`).
pub fn peak_resident(pid: u32) -> io::Result<u64> {
    field(&std::fs::read_to_string(format!("/proc/{pid}/status"))?, "VmHWM:").ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// Makes the calling process the one that the kernel kills first when memory runs out (`oom_score_adj` 1000).
pub fn offer_to_oom_killer() -> io::Result<()> {
    std::fs::write("/proc/self/oom_score_adj", "1000")
}

/// Memory of this process that is held on purpose: the first `len` bytes of one reserved range are resident, page by page,
/// each filled with noise.
///
/// Why this way: private anonymous pages that were written are really there (never the zero page); noise cannot be merged
/// (`MADV_UNMERGEABLE` besides) nor compressed away by zswap or zram; `MADV_NOHUGEPAGE` makes exactly what was asked resident,
/// not the next 2 MiB; `MADV_DONTDUMP` keeps a core dump small. Pages are locked (`MLOCK_ONFAULT`) where the limit on locked
/// memory allows; where not, [`Hoard::touch`] keeps them in use. Changes nothing but the calling process.
#[derive(Debug)]
pub struct Hoard {
    base: NonNull<c_void>,
    reserved: usize,
    len: usize,
    page: usize,
    locked: bool,
    noise: u64,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread.
unsafe impl Send for Hoard {}

impl Hoard {
    /// Reserves addresses for at most so many bytes. Nothing is resident yet.
    pub fn reserve(most: u64) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let reserved = usize::try_from(most).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?.max(1).next_multiple_of(page);
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing. Raw mapping, because no safe
        // allocator promises which pages become resident and when they are given back.
        let base = unsafe { mmap_anonymous(std::ptr::null_mut(), reserved, ProtFlags::READ | ProtFlags::WRITE, flags) }?;
        let base = NonNull::new(base).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        for advice in [Advice::LinuxNoHugepage, Advice::LinuxUnmergeable, Advice::LinuxDontDump] {
            // A kernel without huge pages or KSM refuses advice about them, and does not need it.
            // SAFETY: the range is ours, and none of these changes its contents.
            let _ = unsafe { madvise(base.as_ptr(), reserved, advice) };
        }
        // SAFETY: the range is ours; locking changes no contents.
        let locked = unsafe { mlock_with(base.as_ptr(), reserved, MlockFlags::ONFAULT) }.is_ok();
        Ok(Self { base, reserved, len: 0, page, locked, noise: 0x9e37_79b9_7f4a_7c15 })
    }

    /// Bytes held now.
    pub const fn len(&self) -> u64 {
        self.len as u64
    }

    /// Whether nothing is held.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether its pages are locked, so that they need no [`Hoard::touch`].
    pub const fn locked(&self) -> bool {
        self.locked
    }

    /// Holds more or less, rounded to pages and up to what was reserved. Gives back what is held then.
    pub fn resize(&mut self, bytes: u64) -> io::Result<u64> {
        let wanted = usize::try_from(bytes).unwrap_or(usize::MAX).min(self.reserved);
        let wanted = wanted.next_multiple_of(self.page).min(self.reserved);
        if wanted > self.len {
            self.fill(wanted);
        } else if wanted < self.len {
            self.release(wanted)?;
        }
        Ok(self.len())
    }

    fn fill(&mut self, end: usize) {
        // SAFETY: `len..end` is within the mapping, page-aligned, and borrowed by nobody else (`&mut self`); zero or noise,
        // any bit pattern is a `u64`.
        let words = unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().byte_add(self.len).cast::<u64>(), (end - self.len) / 8) };
        for word in words {
            // xorshift64 (Marsaglia 2003)
            self.noise ^= self.noise << 13;
            self.noise ^= self.noise >> 7;
            self.noise ^= self.noise << 17;
            *word = self.noise;
        }
        self.len = end;
    }

    fn release(&mut self, end: usize) -> io::Result<()> {
        // SAFETY: `end..len` is within the mapping, and no reference into it is alive.
        unsafe {
            let start = self.base.as_ptr().byte_add(end);
            if self.locked {
                munlock(start, self.len - end)?;
            }
            madvise(start, self.len - end, Advice::LinuxDontNeed)?;
            if self.locked {
                self.locked = mlock_with(start, self.len - end, MlockFlags::ONFAULT).is_ok();
            }
        }
        self.len = end;
        Ok(())
    }

    /// Writes to every page, so that none counts as idle and is swapped out.
    pub fn touch(&mut self) {
        for offset in (0..self.len).step_by(self.page) {
            // SAFETY: within the mapping, aligned, and ours alone. Volatile, so that it is not optimised away.
            unsafe {
                let word = self.base.as_ptr().byte_add(offset).cast::<u64>();
                word.write_volatile(word.read_volatile() ^ 1);
            }
        }
    }
}

impl Drop for Hoard {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing refers to it any more. There is nobody to tell of a failure.
        let _ = unsafe { munmap(self.base.as_ptr(), self.reserved) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hoard_is_resident_to_the_page_and_given_back() {
        const MIB: u64 = 1 << 20;
        let mut hoard = Hoard::reserve(64 * MIB).expect("addresses");
        let before = resident(std::process::id()).expect("rss");
        assert_eq!(hoard.resize(24 * MIB + 1).expect("grow"), 24 * MIB + 4096);
        let grown = resident(std::process::id()).expect("rss") - before;
        // Other tests of this process allocate too, a little.
        assert!((24 * MIB..28 * MIB).contains(&grown), "{grown}");
        hoard.touch();
        assert_eq!(hoard.resize(8 * MIB).expect("shrink"), 8 * MIB);
        let left = resident(std::process::id()).expect("rss").saturating_sub(before);
        assert!(left < 12 * MIB, "{left}");
        assert_eq!(hoard.resize(u64::MAX).expect("grow again"), 64 * MIB, "never beyond what was reserved");
    }

    #[test]
    fn the_hosts_memory_adds_up() {
        let memory = HostMemory::read().expect("meminfo");
        assert!(memory.total > memory.available && memory.available > 0);
        assert_eq!(memory.used(), memory.total - memory.available);
    }
}
