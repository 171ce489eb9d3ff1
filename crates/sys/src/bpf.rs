//! The little of `bpf(2)` that is needed: maps of numbers, programs put together by hand, and links that end with the
//! descriptor that holds them, so with the process.

mod assembly;
mod btf;
mod socket_marker;

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use squall_undo::Armed;

use assembly::Instruction;

pub use socket_marker::{SocketMarker, UserMarker, marking_possible};

/// Commands of `bpf(2)` (`linux/bpf.h`, `enum bpf_cmd`).
mod command {
    pub const MAP_CREATE: i32 = 0;
    pub const MAP_UPDATE: i32 = 2;
    pub const MAP_DELETE: i32 = 3;
    pub const MAP_NEXT_KEY: i32 = 4;
    pub const PROGRAM_LOAD: i32 = 5;
    pub const PROGRAM_NEXT_ID: i32 = 11;
    pub const RAW_TRACEPOINT_OPEN: i32 = 17;
    pub const LINK_CREATE: i32 = 28;
    pub const LINK_NEXT_ID: i32 = 31;
}

/// Length of the `union bpf_attr` that is passed: more than any command here uses; the rest is zero, which every kernel takes.
const ATTRIBUTES: usize = 72;
/// `BPF_MAP_TYPE_HASH` and `BPF_F_NO_PREALLOC`.
const HASH: u32 = 1;
const NO_PREALLOC: u32 = 1;
/// One of the licences under which a program may call all helpers (`license_is_gpl_compatible` knows these by name): the few
/// instructions here are under both.
const LICENSE: &CStr = c"Dual MIT/GPL";
/// What the verifier may say about a program that it refuses.
const LOG: usize = 64 * 1024;

/// Arguments of a command: numbers at their places within `union bpf_attr`.
#[repr(C, align(8))]
struct Arguments([u8; ATTRIBUTES]);

impl Arguments {
    fn new() -> Self {
        Self([0; ATTRIBUTES])
    }

    fn word(mut self, at: usize, value: u32) -> Self {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn pointer<T: ?Sized>(mut self, at: usize, value: *const T) -> Self {
        self.0[at..at + 8].copy_from_slice(&(value.cast::<u8>() as u64).to_ne_bytes());
        self
    }

    fn text(mut self, at: usize, value: &str) -> Self {
        // `BPF_OBJ_NAME_LEN` is 16, with the zero at the end.
        let bytes = &value.as_bytes()[..value.len().min(15)];
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn fd(self, at: usize, fd: &impl AsFd) -> Self {
        self.word(at, fd.as_fd().as_raw_fd().cast_unsigned())
    }
}

/// One call.
///
/// # Safety
/// Every pointer in the arguments must be valid for what the command does with it, for the whole call.
unsafe fn call(command: i32, arguments: &mut Arguments) -> io::Result<RawFd> {
    // SAFETY: the arguments are 8-byte aligned and ATTRIBUTES long; what they point to is the caller's promise.
    // Safe code cannot do it: no crate in use wraps bpf(2).
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, arguments.0.as_mut_ptr(), ATTRIBUTES) };
    if result < 0 { Err(io::Error::last_os_error()) } else { RawFd::try_from(result).map_err(io::Error::other) }
}

/// One call that makes a descriptor.
///
/// # Safety
/// As [`call`].
unsafe fn call_for_fd(command: i32, mut arguments: Arguments) -> io::Result<OwnedFd> {
    // SAFETY: what the arguments point to is the caller's promise; the commands that are given here return a new descriptor
    // that nobody else owns.
    unsafe { call(command, &mut arguments).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// A hash map from numbers of 32 bits to numbers of 32 bits, gone with its descriptors.
#[derive(Debug)]
pub struct Map(OwnedFd);

impl Map {
    /// Makes one, for at most so many entries. The name, up to 15 bytes, is what `bpftool map` shows.
    pub fn create(armed: &Armed, name: &str, entries: u32) -> io::Result<Self> {
        let _ = armed;
        let size = u32::try_from(size_of::<u32>()).unwrap_or_default();
        let arguments = Arguments::new().word(0, HASH).word(4, size).word(8, size).word(12, entries).word(16, NO_PREALLOC).text(28, name);
        // SAFETY: the arguments hold no pointer.
        unsafe { call_for_fd(command::MAP_CREATE, arguments) }.map(Self)
    }

    /// Sets an entry.
    pub fn insert(&self, armed: &Armed, key: u32, value: u32) -> io::Result<()> {
        let _ = armed;
        let mut arguments = Arguments::new().fd(0, &self.0).pointer(8, &raw const key).pointer(16, &raw const value);
        // SAFETY: `key` and `value` live to the end of this function, and are as long as the map's keys and values.
        unsafe { call(command::MAP_UPDATE, &mut arguments) }.map(drop)
    }

    /// Takes an entry away, if it is there.
    pub fn remove(&self, armed: &Armed, key: u32) -> io::Result<()> {
        let _ = armed;
        let mut arguments = Arguments::new().fd(0, &self.0).pointer(8, &raw const key);
        // SAFETY: `key` lives to the end of this function, and is as long as the map's keys.
        match unsafe { call(command::MAP_DELETE, &mut arguments) } {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Its keys. Entries that come and go meanwhile may be missing, or there twice.
    pub fn keys(&self) -> io::Result<Vec<u32>> {
        let mut keys: Vec<u32> = Vec::new();
        loop {
            let (last, mut next) = (keys.last().copied(), 0_u32);
            let before = last.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
            let mut arguments = Arguments::new().fd(0, &self.0).pointer(8, before).pointer(16, &raw mut next);
            // SAFETY: `last` and `next` live past the call and are as long as the map's keys; no key is a null pointer, which
            // the kernel takes as "the first".
            match unsafe { call(command::MAP_NEXT_KEY, &mut arguments) } {
                Ok(_) => keys.push(next),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(keys),
                Err(error) => return Err(error),
            }
            // A table that grows while it is walked may begin anew; nobody has so many processes.
            if keys.len() > 1 << 20 {
                return Ok(keys);
            }
        }
    }
}

/// The kind of a program (`enum bpf_prog_type`), and where it will be attached (`enum bpf_attach_type`).
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Runs when a socket of IPv4 or IPv6 is made.
    SocketCreate,
    /// Runs at a point of the kernel.
    RawTracepoint,
}

impl Kind {
    const fn numbers(self) -> (u32, u32) {
        match self {
            // BPF_PROG_TYPE_CGROUP_SOCK, BPF_CGROUP_INET_SOCK_CREATE.
            Self::SocketCreate => (9, 2),
            // BPF_PROG_TYPE_RAW_TRACEPOINT.
            Self::RawTracepoint => (17, 0),
        }
    }
}

/// Loads a program. An error carries what the verifier said last.
fn load(armed: &Armed, kind: Kind, name: &str, program: &[Instruction]) -> io::Result<OwnedFd> {
    let _ = armed;
    let (program_type, attach) = kind.numbers();
    let length = u32::try_from(program.len()).map_err(io::Error::other)?;
    let arguments = || {
        let base = Arguments::new().word(0, program_type).word(4, length).pointer(8, program.as_ptr());
        base.pointer(16, LICENSE.as_ptr()).text(48, name).word(68, attach)
    };
    // SAFETY: the program is `length` instructions of eight bytes and the licence ends with a zero; both outlive the call.
    match unsafe { call_for_fd(command::PROGRAM_LOAD, arguments()) } {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EACCES | libc::E2BIG)) => {
            let mut log = vec![0_u8; LOG];
            let logged = arguments().word(24, 1).word(28, u32::try_from(LOG).unwrap_or_default()).pointer(32, log.as_mut_ptr());
            // SAFETY: as above; `log` is LOG bytes long and outlives the call.
            if let Ok(fd) = unsafe { call_for_fd(command::PROGRAM_LOAD, logged) } {
                return Ok(fd);
            }
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
            let text = String::from_utf8_lossy(&log[..end]).into_owned();
            // The last lines say what is wrong; the ones before are the program.
            let last: Vec<&str> = text.lines().rev().filter(|line| !line.starts_with("processed ")).take(2).collect();
            Err(io::Error::new(error.kind(), format!("{error}: {}", last.into_iter().rev().collect::<Vec<_>>().join("; "))))
        }
        loaded => loaded,
    }
}

/// Attaches a program to a control group of v2, beside those that are attached there, for as long as the descriptor is open.
fn attach_to_group(armed: &Armed, program: &OwnedFd, group: &Path, kind: Kind) -> io::Result<OwnedFd> {
    let _ = armed;
    let group = std::fs::File::open(group)?;
    let arguments = Arguments::new().fd(0, program).fd(4, &group).word(8, kind.numbers().1);
    // SAFETY: the arguments hold no pointer.
    unsafe { call_for_fd(command::LINK_CREATE, arguments) }
}

/// Attaches a program to a point of the kernel, for as long as the descriptor is open.
fn attach_to_tracepoint(armed: &Armed, program: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    let _ = armed;
    let arguments = Arguments::new().pointer(0, name.as_ptr()).fd(8, program);
    // SAFETY: the name ends with a zero and outlives the call.
    unsafe { call_for_fd(command::RAW_TRACEPOINT_OPEN, arguments) }
}

/// The numbers of all programs that are loaded on this host: for comparing before and after.
pub fn programs() -> io::Result<Vec<u32>> {
    ids(command::PROGRAM_NEXT_ID)
}

/// The numbers of all links that exist on this host.
pub fn links() -> io::Result<Vec<u32>> {
    ids(command::LINK_NEXT_ID)
}

fn ids(command: i32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    loop {
        let mut arguments = Arguments::new().word(0, found.last().copied().unwrap_or_default());
        // SAFETY: the arguments hold no pointer; the kernel writes the next number into them.
        match unsafe { call(command, &mut arguments) } {
            Ok(_) => found.push(u32::from_ne_bytes([arguments.0[4], arguments.0[5], arguments.0[6], arguments.0[7]])),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Armed {
        Armed::received(b"go").expect("a token")
    }

    #[test]
    fn a_map_keeps_what_is_put_in_and_forgets_what_is_taken_out() {
        let map = Map::create(&token(), "squall_test", 16).expect("made");
        for key in [7, 9, 11] {
            map.insert(&token(), key, 1).expect("set");
        }
        map.remove(&token(), 9).expect("taken");
        map.remove(&token(), 9).expect("again is no error");
        let mut keys = map.keys().expect("walked");
        keys.sort_unstable();
        assert_eq!(keys, [7, 11]);
    }

    #[test]
    fn a_program_that_is_refused_is_an_error_with_the_verifiers_words() {
        // It ends without a result.
        let mut wrong = assembly::Program::default();
        wrong.exit();
        let program = wrong.finish().expect("put together");
        let error = load(&token(), Kind::SocketCreate, "squall_wrong", &program).expect_err("refused");
        assert!(error.to_string().contains("R0"), "{error}");
    }
}
