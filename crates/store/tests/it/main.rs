//! The journal: both stores against one suite, and what only a database can get wrong.

mod conformance;
mod database;
mod format;
mod sample;
