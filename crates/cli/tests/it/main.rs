//! Sessions of the real binary.

mod field;
mod runs;
