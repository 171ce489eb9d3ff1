//! The log of what runs for long: server and agent. Lines on standard error, which systemd keeps.

use tracing::level_filters::LevelFilter;

use crate::context::CliError;

/// Begins to log, at the level of `SQUALL_LOG`: `off`, `error`, `warn`, `info` (by default), `debug` or `trace`.
pub fn begin() -> anyhow::Result<()> {
    let level = match std::env::var("SQUALL_LOG") {
        Err(_) => LevelFilter::INFO,
        Ok(text) => text.parse::<LevelFilter>().map_err(|_| {
            CliError::usage(format!("SQUALL_LOG={text} is no level"), Some("write off, error, warn, info, debug or trace".to_owned()))
        })?,
    };
    let log = tracing_subscriber::fmt().with_max_level(level).with_target(false).with_ansi(false).with_writer(std::io::stderr);
    // A second time in one process changes nothing.
    let _ = log.try_init();
    Ok(())
}
