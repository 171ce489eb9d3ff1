//! The local API: `/faults`.

mod asking;
mod ending;
mod field;
mod setting;
