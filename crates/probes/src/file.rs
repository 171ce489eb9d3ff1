//! `file`: whether a file is there, and what is known of it.

use std::fs::{File as StdFile, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, BoxFuture, Measure, Probe, ProbeCx, ProbeMeta};
use squall_model::{Dimension, Value};

/// The most that is read of a file whose content matters.
const CONTENT_LIMIT: u64 = 1024 * 1024;

/// The kind of probe.
#[derive(Debug)]
pub struct File;

/// Whether a file is there, and what is known of it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Args {
    /// Where it is.
    pub path: PathBuf,
    /// What is measured; `exists` by default.
    #[serde(default)]
    pub measure: FileMeasure,
}

/// What a `file` probe measures. All but `exists` are not measured when the file is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FileMeasure {
    /// 1 if it is there, 0 if not.
    #[default]
    Exists,
    /// Its size.
    Size,
    /// The time since its content was changed.
    Age,
    /// Its content without white space at the ends.
    Text,
    /// Its content as a number.
    Number,
    /// The number of its lines.
    Lines,
}

impl Probe for File {
    type Args = Args;

    const META: ProbeMeta = ProbeMeta {
        name: "file",
        summary: "Whether a file exists, its size, age or content",
        from_anywhere: false,
        example: "\
name: backups are fresh
file: { path: /var/backups/latest.tar, measure: age }
expect: { lt: 1d }
",
    };

    fn check(&self, args: &Args) -> Vec<ArgError> {
        if args.path.as_os_str().is_empty() {
            return vec![ArgError::field("path", "`path` is empty", "write it like `/var/log/app.log`".to_owned())];
        }
        Vec::new()
    }

    fn dimension(&self, args: &Args) -> Dimension {
        match args.measure {
            FileMeasure::Exists | FileMeasure::Number | FileMeasure::Lines => Dimension::Number,
            FileMeasure::Size => Dimension::Bytes,
            FileMeasure::Age => Dimension::Time,
            FileMeasure::Text => Dimension::Text,
        }
    }

    fn describe(&self, args: &Args) -> String {
        let path = args.path.display();
        match args.measure {
            FileMeasure::Exists => format!("whether {path} exists"),
            FileMeasure::Size => format!("size of {path}"),
            FileMeasure::Age => format!("age of {path}"),
            FileMeasure::Text | FileMeasure::Number => format!("content of {path}"),
            FileMeasure::Lines => format!("lines of {path}"),
        }
    }

    fn open(&self, args: Args, _: &ProbeCx) -> Result<Box<dyn Measure>, String> {
        Ok(Box::new(Open { args }))
    }
}

struct Open {
    args: Args,
}

impl Measure for Open {
    fn measure(&mut self) -> BoxFuture<'_, Result<Value, String>> {
        let args = self.args.clone();
        // A file system can hang for long; this must not hold up anybody else.
        let looking = tokio::task::spawn_blocking(move || look(&args.path, args.measure));
        Box::pin(async move { looking.await.map_err(|e| e.to_string())? })
    }
}

fn look(path: &Path, measure: FileMeasure) -> Result<Value, String> {
    let wrong = |e: std::io::Error| format!("{}: {e}", path.display());
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if measure == FileMeasure::Exists && is_missing(&error) => return Ok(Value::Number(0.0)),
        Err(error) => return Err(wrong(error)),
    };
    match measure {
        FileMeasure::Exists => Ok(Value::Number(1.0)),
        FileMeasure::Size => Ok(Value::Number(metadata.len() as f64)),
        FileMeasure::Age => age(&metadata).map(Value::Number).map_err(wrong),
        FileMeasure::Lines => lines(&open_regular(path, &metadata)?).map(|lines| Value::Number(lines as f64)).map_err(wrong),
        FileMeasure::Text => content(path, &metadata).map(Value::Text),
        FileMeasure::Number => {
            let text = content(path, &metadata)?;
            match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::Number(number)),
                _ => Err(format!("{} holds `{}`, not a number", path.display(), text.chars().take(80).collect::<String>())),
            }
        }
    }
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

#[expect(clippy::disallowed_methods, reason = "files carry wall-clock times, so their age is by the wall clock")]
fn age(metadata: &Metadata) -> std::io::Result<f64> {
    // A time in the future (another host's clock) is no age at all.
    Ok(SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default().as_secs_f64())
}

/// Opens what can be read to an end: not a pipe or a device, which could wait forever.
fn open_regular(path: &Path, metadata: &Metadata) -> Result<StdFile, String> {
    if !metadata.is_file() {
        return Err(format!("{} is not a regular file", path.display()));
    }
    StdFile::open(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn content(path: &Path, metadata: &Metadata) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = open_regular(path, metadata)?;
    file.take(CONTENT_LIMIT + 1).read_to_end(&mut bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    if bytes.len() as u64 > CONTENT_LIMIT {
        return Err(format!("{} is larger than 1MiB", path.display()));
    }
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Counts like a person: a last line without an end is a line.
fn lines(mut file: &StdFile) -> std::io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let (mut count, mut last) = (0_u64, b'\n');
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(count + u64::from(last != b'\n'));
        }
        for byte in &buffer[..read] {
            count += u64::from(*byte == b'\n');
        }
        last = buffer[read - 1];
    }
}
