//! The ledger, the watchdog and recover with real processes and real files.
#![forbid(unsafe_code)]

mod damage;
mod full_disk;
mod ledger;
mod processes;
mod undoer;
