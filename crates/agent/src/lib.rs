//! The agent of a host: it carries out faults there, whoever asks for them, within the host's own limits.
#![forbid(unsafe_code)]

pub mod local;
