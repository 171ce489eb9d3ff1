//! The shop's services without the rest of Squall, for this crate's tests: `squall-shop shop payments --listen …`.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use squall_shop::ServiceCommand;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one service.
    #[command(subcommand)]
    Shop(ServiceCommand),
}

fn main() -> Result<(), squall_shop::ServiceError> {
    let Command::Shop(service) = Cli::parse().command;
    service.serve()
}
