//! The server as its users have it: over HTTP on loopback, with a clock that the tests move.

mod auth;
mod scheduler;
mod team;
