//! The server as its users have it: over HTTP on loopback, with a clock that the tests move.

mod auth;
mod desk;
mod findings;
mod gamedays;
mod notifications;
mod scheduler;
mod team;
mod versions;
mod watching;
