//! The layer in a real HTTP service, under load; faults set and ended as Squall does.

mod ending;
mod field;
mod load;
mod trust;
