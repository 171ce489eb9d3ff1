//! The journal and the server's database: each against one suite for all its implementations, and what only one of them can
//! get wrong.

mod conformance;
mod format;
mod journal_file;
mod journals;
mod postgres;
mod sample;
mod sqlite;
mod sudden_end;
mod tampering;
