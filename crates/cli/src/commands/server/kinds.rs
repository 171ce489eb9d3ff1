//! What the server is given of this binary.

use std::collections::BTreeMap;
use std::sync::Arc;

use squall_api::experiments::{LibraryEntry, LibraryParameter};
use squall_probes::LoadGenerator;
use squall_server::runs::Kinds;
use squall_sys::BootClock;

use crate::library;
use crate::registry::registry;
use crate::runner::chance;

/// Every kind, the clock, load and the library.
pub fn kinds(clock: Arc<BootClock>) -> Kinds {
    let of_load = clock.clone();
    Kinds {
        registry: registry(),
        clock,
        traffic: Box::new(move || Arc::new(LoadGenerator::new(of_load.clone()))),
        rollback: squall_faults::custom::rollback_undo,
        fill: |text, values: &BTreeMap<String, String>| library::fill(text, values).map_err(|e| e.to_string()),
        library: |name| library::find(name).ok().map(|entry| entry.text.to_owned()),
        search: |words| library::entries().into_iter().filter(|entry| entry.matches(words)).map(seen).collect(),
        chance: || u64::from(chance()) << 21 | u64::from(chance()),
    }
}

fn seen(entry: library::Entry) -> LibraryEntry {
    let parameter = |p: library::Parameter| LibraryParameter { name: p.name, meaning: p.meaning, default: p.default };
    LibraryEntry {
        name: entry.name,
        description: entry.description,
        tags: entry.tags,
        parameters: entry.parameters.into_iter().map(parameter).collect(),
    }
}
