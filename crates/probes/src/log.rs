//! `log`: how many new lines of a file match a pattern.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, BoxFuture, Measure, Probe, ProbeCx, ProbeMeta};
use squall_model::{Dimension, Value};

/// A line is matched in parts of this size at most.
const LINE_LIMIT: usize = 64 * 1024;

/// The kind of probe.
#[derive(Debug)]
pub struct Log;

/// How many new lines of a file match a pattern.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Args {
    /// The file. It may be rotated (renamed and made anew) or truncated meanwhile, or appear later.
    pub path: PathBuf,
    /// A regular expression that is looked for in each line.
    pub pattern: String,
    /// What is measured; `count` by default.
    #[serde(default)]
    pub measure: LogMeasure,
}

/// What a `log` probe measures. What was in the file before the run does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LogMeasure {
    /// Matching lines since the start of the run.
    #[default]
    Count,
    /// Matching lines since the last sample.
    New,
}

impl Probe for Log {
    type Args = Args;

    const META: ProbeMeta = ProbeMeta {
        name: "log",
        summary: "How many new lines of a log match a pattern",
        from_anywhere: false,
        example: "\
name: no panics
log: { path: /var/log/payments.log, pattern: 'panic|FATAL' }
expect: { eq: 0 }
",
    };

    fn check(&self, args: &Args) -> Vec<ArgError> {
        let mut errors = Vec::new();
        if args.path.as_os_str().is_empty() {
            errors.push(ArgError::field("path", "`path` is empty", "write it like `/var/log/app.log`".to_owned()));
        }
        if let Err(error) = Regex::new(&args.pattern) {
            let reason = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
            errors.push(ArgError::field("pattern", format!("not a regular expression: {reason}"), None));
        }
        errors
    }

    fn dimension(&self, _: &Args) -> Dimension {
        Dimension::Number
    }

    fn describe(&self, args: &Args) -> String {
        let since = match args.measure {
            LogMeasure::Count => "",
            LogMeasure::New => "new ",
        };
        format!("{since}lines of {} that match /{}/", args.path.display(), args.pattern)
    }

    fn open(&self, args: Args, _: &ProbeCx) -> Result<Box<dyn Measure>, String> {
        let pattern = Regex::new(&args.pattern).map_err(|e| e.to_string())?;
        let tail = Tail::new(args.path, pattern).map_err(|(path, e)| format!("{}: {e}", path.display()))?;
        Ok(Box::new(Open { tail: Arc::new(Mutex::new(tail)), measure: args.measure, told: 0 }))
    }
}

struct Open {
    tail: Arc<Mutex<Tail>>,
    measure: LogMeasure,
    /// What the last sample said, so that a sample that nobody waited for takes no matches with it.
    told: u64,
}

impl Measure for Open {
    fn measure(&mut self) -> BoxFuture<'_, Result<Value, String>> {
        let tail = self.tail.clone();
        // A file system can hang for long; this must not hold up anybody else.
        let reading = tokio::task::spawn_blocking(move || tail.lock().unwrap_or_else(PoisonError::into_inner).read());
        Box::pin(async move {
            let count = reading.await.map_err(|e| e.to_string())??;
            let new = count - self.told;
            self.told = count;
            let value = match self.measure {
                LogMeasure::Count => count,
                LogMeasure::New => new,
            };
            Ok(Value::Number(value as f64))
        })
    }
}

/// The end of a file that grows, is rotated or truncated.
#[derive(Debug)]
struct Tail {
    path: PathBuf,
    pattern: Regex,
    open: Option<Reading>,
    /// There has been a file at some time.
    seen: bool,
    matches: u64,
}

#[derive(Debug)]
struct Reading {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    offset: u64,
    /// The last line so far, still without its end.
    rest: Vec<u8>,
}

impl Reading {
    fn open(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok(Self { file, identity: (metadata.dev(), metadata.ino()), offset: 0, rest: Vec::new() })
    }

    /// Counts matching lines from where it was left to the end.
    fn read(&mut self, pattern: &Regex) -> io::Result<u64> {
        if self.file.metadata()?.len() < self.offset {
            // Truncated: what is there now is all new.
            self.offset = 0;
            self.rest.clear();
        }
        self.file.seek(SeekFrom::Start(self.offset))?;
        let mut matches = 0;
        let mut buffer = vec![0; LINE_LIMIT];
        loop {
            let read = self.file.read(&mut buffer)?;
            if read == 0 {
                return Ok(matches);
            }
            self.offset += read as u64;
            let mut data = &buffer[..read];
            while let Some(end) = data.iter().position(|byte| *byte == b'\n') {
                let (line, after) = data.split_at(end);
                matches += u64::from(if self.rest.is_empty() {
                    pattern.is_match(line)
                } else {
                    self.rest.extend_from_slice(line);
                    pattern.is_match(&self.rest)
                });
                self.rest.clear();
                data = &after[1..];
            }
            self.rest.extend_from_slice(data);
            if self.rest.len() > LINE_LIMIT {
                matches += u64::from(pattern.is_match(&self.rest));
                self.rest.clear();
            }
        }
    }

    /// The last line counts even without an end when nothing will be added to it.
    fn last(&self, pattern: &Regex) -> u64 {
        u64::from(!self.rest.is_empty() && pattern.is_match(&self.rest))
    }
}

impl Tail {
    /// From the end of the file, if there is one yet.
    fn new(path: PathBuf, pattern: Regex) -> Result<Self, (PathBuf, io::Error)> {
        let open = match Reading::open(&path) {
            Ok(mut reading) => match reading.file.metadata() {
                Ok(metadata) => {
                    reading.offset = metadata.len();
                    Some(reading)
                }
                Err(error) => return Err((path, error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err((path, error)),
        };
        Ok(Self { seen: open.is_some(), path, pattern, open, matches: 0 })
    }

    fn read(&mut self) -> Result<u64, String> {
        let wrong = |path: &Path, e: &io::Error| format!("{}: {e}", path.display());
        if let Some(reading) = &mut self.open {
            self.matches += reading.read(&self.pattern).map_err(|e| wrong(&self.path, &e))?;
        }
        match std::fs::metadata(&self.path) {
            // Between two rotations there may be no file; what was read before stands.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.seen => return Ok(self.matches),
            Err(error) => return Err(wrong(&self.path, &error)),
            Ok(metadata) => {
                let identity = (metadata.dev(), metadata.ino());
                if self.open.as_ref().is_some_and(|reading| reading.identity == identity) {
                    return Ok(self.matches);
                }
            }
        }
        let mut next = Reading::open(&self.path).map_err(|e| wrong(&self.path, &e))?;
        if let Some(old) = &mut self.open {
            // The writer may have added to the old file after it was read and before it was renamed.
            self.matches += old.read(&self.pattern).map_err(|e| wrong(&self.path, &e))?;
            self.matches += old.last(&self.pattern);
        }
        let matches = next.read(&self.pattern).map_err(|e| wrong(&self.path, &e))?;
        self.matches += matches;
        self.open = Some(next);
        self.seen = true;
        Ok(self.matches)
    }
}
