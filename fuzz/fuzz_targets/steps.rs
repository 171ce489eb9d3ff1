//! What faults make of a body that comes in pieces.

use bytes::Bytes;
use squall_proxy::body::{BodyFault, Step, Steps};

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

/// The same steps without the time that they take, which a pace may divide as the pieces come.
pub fn timeless(steps: &[Step]) -> (Vec<u8>, Vec<Step>) {
    let bytes = steps.iter().filter_map(|step| if let Step::Send(bytes) = step { Some(&bytes[..]) } else { None });
    let others = steps.iter().filter(|step| !matches!(step, Step::Send(_) | Step::Wait(_)));
    (bytes.flatten().copied().collect(), others.cloned().collect())
}
