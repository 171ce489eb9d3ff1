//! What a stressor is told on its command line, and how it is written there.

use std::ffi::OsString;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CpuJob, MemoryJob};
use crate::dns::DnsJob;
use crate::network::NetworkJob;

/// The load to carry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Job {
    /// CPU time.
    Cpu(CpuJob),
    /// Memory.
    Memory(MemoryJob),
    /// Packets.
    Network(Box<NetworkJob>),
    /// DNS queries.
    Dns(Box<DnsJob>),
}

/// The whole order: `--marker M --parent PID --deadline NS --job JSON`. The deadline is in nanoseconds of `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// By which it is found.
    pub marker: String,
    /// The process that must be its parent.
    pub parent: i32,
    /// When it ends by itself.
    pub deadline: Duration,
    /// What to do.
    pub job: Job,
}

impl Order {
    /// The arguments after `--marker M`.
    pub fn args(parent: u32, deadline: Duration, job: &Job) -> Result<Vec<OsString>, String> {
        let job = serde_json::to_string(job).map_err(|e| e.to_string())?;
        let texts = ["--parent".into(), parent.to_string(), "--deadline".into(), deadline.as_nanos().to_string(), "--job".into(), job];
        Ok(texts.into_iter().map(OsString::from).collect())
    }

    /// Reads what [`Order::args`] writes. Each is needed, once, and nothing else.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        const NAMES: [&str; 4] = ["--marker", "--parent", "--deadline", "--job"];
        let mut values: [Option<String>; 4] = Default::default();
        let mut args = args.into_iter();
        while let Some(name) = args.next() {
            let name = name.to_string_lossy().into_owned();
            let index = NAMES.iter().position(|n| *n == name).ok_or_else(|| format!("`{name}` is not one of {}", NAMES.join(", ")))?;
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            if values[index].replace(value.to_string_lossy().into_owned()).is_some() {
                return Err(format!("{name} is given twice"));
            }
        }
        let mut take = |index: usize| values[index].take().ok_or_else(|| format!("{} is missing", NAMES[index]));
        let number = |name: &str, text: &str| format!("{name} is `{text}`, which is not a number");
        let (marker, parent, deadline, job) = (take(0)?, take(1)?, take(2)?, take(3)?);
        Ok(Self {
            marker,
            parent: parent.parse().map_err(|_| number("--parent", &parent))?,
            deadline: Duration::from_nanos(deadline.parse().map_err(|_| number("--deadline", &deadline))?),
            job: serde_json::from_str(&job).map_err(|e| format!("--job: {e}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Meaning, Shape};
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_written() {
        let jobs = [
            Job::Cpu(CpuJob { percent: 12.5, cores: vec![0, 3], meaning: Meaning::Host, seed: 7 }),
            Job::Memory(MemoryJob { shape: Shape::Leak { rate: 10, limit: None }, leave_free: 5 }),
        ];
        for job in jobs {
            let args = Order::args(12, Duration::from_nanos(34), &job).expect("encodes");
            let args = ["--marker".into(), "squall-r-1".into()].into_iter().chain(args);
            let order = Order::parse(args).expect("parses");
            assert_eq!(order, Order { marker: "squall-r-1".into(), parent: 12, deadline: Duration::from_nanos(34), job });
        }
    }

    #[test]
    fn an_order_with_something_missing_or_unknown_is_refused_by_name() {
        let parse = |text: &str| Order::parse(text.split_whitespace().map(OsString::from)).expect_err("refused");
        assert_eq!(parse("--marker m"), "--parent is missing");
        assert_eq!(parse("--marker"), "--marker needs a value");
        assert_eq!(parse("--marker a --marker b"), "--marker is given twice");
        assert_eq!(parse("--load 5"), "`--load` is not one of --marker, --parent, --deadline, --job");
    }
}
