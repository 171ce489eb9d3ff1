//! Called through a link named `toxiproxy-server` or `toxiproxy-cli`, this program is that one: same flags, same output.

mod client;
mod connection;
mod flags;
mod help;
mod log;
mod server;
mod show;

use std::path::Path;
use std::process::ExitCode;

pub use client::run as run_client;
pub use log::{Form, Level, Log};

/// Runs as the program that it was called as; none where that is Squall.
pub fn called_as_one() -> Option<ExitCode> {
    let mut arguments = std::env::args();
    let program = arguments.next()?;
    let rest: Vec<String> = arguments.collect();
    match Path::new(&program).file_name()?.to_str()? {
        "toxiproxy-server" => Some(server::run(&rest)),
        "toxiproxy-cli" => Some(client::run("toxiproxy-cli", &rest)),
        _ => None,
    }
}
