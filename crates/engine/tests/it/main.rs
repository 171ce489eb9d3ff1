//! Tests of the engine from outside.

mod kinds;
mod properties;
