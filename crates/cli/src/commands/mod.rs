//! One file a subcommand.

pub mod completions;
