//! TLS faults as real clients see them: curl, Python, Node and Rust (reqwest on rustls).

mod clients;
mod faults;
mod field;
mod passing;
