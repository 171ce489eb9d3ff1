//! Tests of the engine from outside.

mod catalogue;
mod kinds;
mod malformed;
mod properties;
mod schema;
