//! The ledger's format: what is written, how it is framed, and what reading it back gives. Pure: bytes in, view out.
//!
//! Each record is `\n<length> <crc> <json>`: length and CRC-32 of the JSON as eight hexadecimal digits. The newline comes
//! first so that a record that was torn in the middle (power loss, a full disk) cannot take the one after it along. JSON
//! text holds no raw newline, so a reader finds the next record behind any damage.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use squall_model::{InjectionId, RevertedBy, RunId};

use crate::identity::ProcessIdentity;

/// Version of the ledger's format. A reader refuses newer ones.
pub const LEDGER_VERSION: u32 = 1;

/// The first record: whose ledger it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    /// Format: [`LEDGER_VERSION`].
    pub version: u32,
    /// The run.
    pub run: RunId,
    /// The process that runs it.
    pub engine: ProcessIdentity,
    /// When it was made, in microseconds since boot, as all `at` are.
    pub at: u64,
}

/// An undo, as it is on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArmedRecord {
    /// Number of the entry within the ledger, from 1.
    pub entry: u32,
    /// The injection it belongs to. An injection may have several, of which each is needed.
    pub injection: InjectionId,
    /// The kind of fault, which knows how to read the undo.
    pub fault: String,
    /// Id of the target, for people.
    pub target: String,
    /// All that is needed to put things back, as the fault's own type.
    pub undo: Value,
    /// What nobody else may touch until this is reverted.
    pub claims: Vec<String>,
    /// When it has to be reverted at the latest, in microseconds on `CLOCK_BOOTTIME`.
    pub deadline: Option<u64>,
    /// When it was armed, in microseconds since boot.
    pub at: u64,
}

/// One record of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(crate) enum Record {
    Header(Header),
    Armed(Box<ArmedRecord>),
    Reverted {
        entry: u32,
        by: RevertedBy,
        how: String,
        /// Whether nothing can touch the target any more: false where the engine was alive and somebody else reverted.
        last: bool,
        at: u64,
    },
    RevertFailed {
        entry: u32,
        by: RevertedBy,
        error: String,
        at: u64,
    },
    Noted {
        by: RevertedBy,
        text: String,
        at: u64,
    },
    Closed {
        by: RevertedBy,
        at: u64,
    },
}

/// A revert that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Who did it.
    pub by: RevertedBy,
    /// What was done.
    pub how: String,
}

/// An undo with what has become of it.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryView {
    /// As it was armed.
    pub armed: ArmedRecord,
    /// Reverted for good.
    pub reverted: Option<Done>,
    /// Reverted by somebody else while the engine was alive, because it was late. The engine might have touched the target
    /// after that: such an entry is reverted once more by the engine, or when the engine is gone.
    pub early: Option<Done>,
    /// Each try to revert it that failed, and who tried.
    pub failures: Vec<(RevertedBy, String)>,
}

impl EntryView {
    fn new(armed: ArmedRecord) -> Self {
        Self { armed, reverted: None, early: None, failures: Vec::new() }
    }

    /// Whether it still has to be reverted, once the engine is gone or by the engine itself.
    pub fn is_open(&self) -> bool {
        self.reverted.is_none()
    }

    /// Whether nobody has reverted it at all.
    pub fn is_outstanding(&self) -> bool {
        self.reverted.is_none() && self.early.is_none()
    }
}

/// What the watchdog, `squall stop` or `squall recover` left to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Who.
    pub by: RevertedBy,
    /// In words.
    pub text: String,
    /// In microseconds since boot.
    pub at: u64,
}

/// A ledger as it was read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LedgerView {
    /// Whose it is. `None` if that record is damaged or was not written yet.
    pub header: Option<Header>,
    /// In the order of arming.
    pub entries: Vec<EntryView>,
    /// Notes for `squall show`.
    pub notes: Vec<Note>,
    /// Nothing is outstanding and nothing will come; and who said so.
    pub closed: Option<RevertedBy>,
    /// Records that could not be read: torn while being written, or damaged on disk.
    pub damaged: usize,
}

/// Written by a newer Squall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("format {found} is newer than this program's {LEDGER_VERSION}; use the squall that wrote it")]
pub struct NewerFormat {
    /// The version in the header.
    pub found: u32,
}

impl LedgerView {
    /// Reads a ledger's bytes. Damage never hides what stands before or behind it.
    pub fn parse(bytes: &[u8]) -> Result<Self, NewerFormat> {
        let mut view = Self::default();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            // A newer format may have records that this program cannot read: the version is looked at first.
            match unframe(line).and_then(|json| {
                newer(json).map_or_else(|| serde_json::from_slice::<Record>(json).ok().map(Ok), |found| Some(Err(NewerFormat { found })))
            }) {
                Some(Ok(record)) => view.apply(record),
                Some(Err(error)) => return Err(error),
                None => view.damaged += 1,
            }
        }
        Ok(view)
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Header(header) => self.header = Some(header),
            Record::Armed(armed) => self.entries.push(EntryView::new(*armed)),
            Record::Reverted { entry, by, how, last, .. } => {
                if let Some(found) = self.entry_mut(entry) {
                    let place = if last { &mut found.reverted } else { &mut found.early };
                    place.get_or_insert(Done { by, how });
                }
            }
            Record::RevertFailed { entry, by, error, .. } => {
                if let Some(found) = self.entry_mut(entry) {
                    found.failures.push((by, error));
                }
            }
            Record::Noted { by, text, at } => self.notes.push(Note { by, text, at }),
            Record::Closed { by, .. } => self.closed = Some(by),
        }
    }

    fn entry_mut(&mut self, number: u32) -> Option<&mut EntryView> {
        self.entries.iter_mut().rev().find(|found| found.armed.entry == number)
    }

    /// Entries that still have to be reverted, last armed first.
    pub fn open(&self) -> impl Iterator<Item = &EntryView> {
        self.entries.iter().rev().filter(|entry| entry.is_open())
    }
}

/// A record as it goes to disk. Refuses what would not be read back.
pub(crate) fn frame(record: &Record) -> Result<Vec<u8>, String> {
    let json = serde_json::to_vec(record).map_err(|error| error.to_string())?;
    // serde_json writes deeper nesting than it reads: an undo that cannot be read is no undo.
    serde_json::from_slice::<Record>(&json).map_err(|error| error.to_string())?;
    let length = u32::try_from(json.len()).map_err(|_| "it is longer than 4 GiB".to_owned())?;
    let mut bytes = format!("\n{length:08x} {:08x} ", crc32fast::hash(&json)).into_bytes();
    bytes.extend_from_slice(&json);
    Ok(bytes)
}

/// The JSON of one line, if length and CRC are right. Anything may follow it: zeros, as a file system leaves behind after
/// power loss, or a record whose own newline was hit.
fn unframe(line: &[u8]) -> Option<&[u8]> {
    let number = |range: std::ops::Range<usize>| {
        let digits = line.get(range)?;
        // `from_str_radix` would take a sign.
        digits.iter().all(u8::is_ascii_hexdigit).then(|| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())?
    };
    let (length, crc) = (number(0..8)?, number(9..17)?);
    let json = line.get(18..18_usize.checked_add(length as usize)?)?;
    (line[8] == b' ' && line[17] == b' ' && crc32fast::hash(json) == crc).then_some(json)
}

/// The version, if the record is a header of a newer format.
fn newer(json: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct AnyHeader {
        header: AnyVersion,
    }
    #[derive(Deserialize)]
    struct AnyVersion {
        version: u32,
    }
    json.starts_with(b"{\"header\":")
        .then(|| serde_json::from_slice::<AnyHeader>(json).ok())?
        .map(|any| any.header.version)
        .filter(|version| *version > LEDGER_VERSION)
}
