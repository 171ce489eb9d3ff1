//! Any bytes as a journal, a record a line: never a panic, whatever order the events come in, and replay is repeatable.
#![no_main]

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use squall_engine::{Evidence, Program, Registry, State};
use squall_model::{Experiment, Record};

/// An experiment with every kind of step, whose probes, faults and targets are of no kind that would be looked at.
fn program() -> &'static Arc<Program> {
    static PROGRAM: OnceLock<Arc<Program>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let spec = serde_json::json!({
            "hypothesis": { "statement": "s", "probes": [] },
            "method": [
                { "fault": "x", "for": "1ms" },
                { "parallel": [{ "fault": "y" }, { "wait": "1ms" }, { "suspend": { "message": "m", "timeout": "1ms" } }] },
                { "fault": "z", "for": "5ms", "ramp": { "percent": ["10%", "100%"], "every": "1ms" }, "repeat": { "times": 3 } }
            ],
            "rollback": { "actions": [{ "name": "a", "command": ["true"] }] },
            "observe": "1ms"
        });
        let whole = serde_json::json!({ "apiVersion": "squall.dev/v1", "kind": "Experiment", "metadata": { "name": "x" }, "spec": spec });
        let experiment: Experiment = serde_json::from_value(whole).expect("a good experiment");
        Arc::new(Program::compile(&experiment, &Registry::default()).expect("a good program"))
    })
}

fuzz_target!(|data: &[u8]| {
    let records: Vec<Record> = data.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let once = State::replay(program().clone(), &records);
    let twice = Evidence::gather(program(), &records).state;
    assert_eq!(format!("{:?} {:?}", once.phase, once.injections), format!("{:?} {:?}", twice.phase, twice.injections));
});
