//! Bytes in pieces, and what faults make of them.
#![allow(dead_code, reason = "each target uses its part")]

use bytes::Bytes;
use squall_proxy::body::{BodyFault, Step, Steps};

/// Where pieces end: after each byte, in one, or anywhere.
pub struct Cuts {
    at: usize,
    length: usize,
    state: u64,
    size: u8,
}

impl Cuts {
    pub fn of(length: usize, how: u8) -> Self {
        Self { at: 0, length, state: u64::from(how) | 1 << 40, size: how }
    }
}

impl Iterator for Cuts {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.at == self.length {
            return None;
        }
        // xorshift64 (Marsaglia, 2003).
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let step = match self.size {
            // Byte by byte as long as that is not a matter of seconds.
            0..=63 if self.length <= 4096 => 1,
            255 => self.length,
            _ => 1 + usize::try_from(self.state % (1 + u64::from(self.size))).expect("small"),
        };
        self.at = (self.at + step).min(self.length);
        Some(self.at)
    }
}

/// The steps of these faults, one behind the other, on a body that comes in pieces. Bytes that are sent without anything
/// between them are one.
pub fn run(faults: &mut [Box<dyn BodyFault>], body: &[u8], ends: impl Iterator<Item = usize>) -> Vec<Step> {
    let mut merged = Vec::new();
    let mut start = 0;
    for end in ends {
        let mut steps = Steps::default();
        steps.send(Bytes::copy_from_slice(&body[start..end]));
        merge(squall_proxy::fuzzing::through(faults, steps, false), &mut merged);
        start = end;
    }
    merge(squall_proxy::fuzzing::through(faults, Steps::default(), true), &mut merged);
    merged.into_iter().map(|(step, bytes)| if let Step::Send(_) = step { Step::Send(bytes.into()) } else { step }).collect()
}

fn merge(mut steps: Steps, merged: &mut Vec<(Step, Vec<u8>)>) {
    while let Some(step) = steps.take() {
        match (merged.last_mut(), &step) {
            (Some((Step::Send(_), last)), Step::Send(more)) => last.extend_from_slice(more),
            (_, Step::Send(bytes)) => {
                let bytes = bytes.to_vec();
                merged.push((step, bytes));
            }
            _ => merged.push((step, Vec::new())),
        }
    }
}

/// How many bytes are sent.
pub fn sent(steps: &[Step]) -> usize {
    steps.iter().map(|step| if let Step::Send(bytes) = step { bytes.len() } else { 0 }).sum()
}

/// The same steps without the time that they take, which a pace may divide as the pieces come.
pub fn timeless(steps: &[Step]) -> (Vec<u8>, Vec<Step>) {
    let bytes = steps.iter().filter_map(|step| if let Step::Send(bytes) = step { Some(&bytes[..]) } else { None });
    let others = steps.iter().filter(|step| !matches!(step, Step::Send(_) | Step::Wait(_)));
    (bytes.flatten().copied().collect(), others.cloned().collect())
}
