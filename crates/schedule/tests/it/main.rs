//! Tests of the crate as its users see it.

mod calendar;
mod import;
mod monkey;
mod polling;
mod simulation;
