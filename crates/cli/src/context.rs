//! What every subcommand is given: where to print, in which colours, and where state is kept.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use squall_undo::StateDir;

use crate::cli::Global;
use crate::diagnostics::ManifestError;

/// The exit codes that are not a verdict's ([`squall_model::Verdict::exit_code`]).
pub mod exit {
    /// Wrong usage, or a manifest that cannot be used.
    pub const USAGE: u8 = 2;
    /// Something that a command needs failed (a file, the journal, the ledger).
    pub const FAILED: u8 = 6;
    /// The plan was refused: by policy, by a conflict with another run, or because nothing matched. Nothing was touched.
    pub const REFUSED: u8 = 7;
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What scripts get instead of text for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON document on standard output.
    Json,
}

/// What every subcommand is given.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts of two streams that have nothing to do with each other")]
pub struct Context {
    /// Print only results and errors.
    pub quiet: bool,
    /// Standard output takes colours.
    pub colour: bool,
    /// Standard error takes colours.
    pub colour_err: bool,
    /// Standard output is a terminal.
    pub terminal: bool,
    /// Standard error is a terminal.
    pub terminal_err: bool,
    state_dir: Option<PathBuf>,
}

/// A style of text, as SGR parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// What matters.
    Bold,
    /// What does not.
    Dim,
    /// Good.
    Green,
    /// Bad.
    Red,
    /// Worth a look.
    Yellow,
    /// Names.
    Cyan,
}

impl Style {
    const fn sgr(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Green => "32",
            Self::Red => "31",
            Self::Yellow => "33",
            Self::Cyan => "36",
        }
    }
}

/// An error that has its own exit code and, where there is one, a next step.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    /// What went wrong.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// The exit code.
    pub code: u8,
}

impl CliError {
    /// Wrong usage.
    pub fn usage(message: impl Into<String>, hint: impl Into<Option<String>>) -> Self {
        Self { message: message.into(), hint: hint.into(), code: exit::USAGE }
    }

    /// Something that the command needs failed.
    pub fn failed(message: impl Into<String>, hint: impl Into<Option<String>>) -> Self {
        Self { message: message.into(), hint: hint.into(), code: exit::FAILED }
    }
}

impl Context {
    /// From the global options and the environment.
    pub fn new(global: &Global) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        let colour = |terminal: bool| match global.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && !plain,
        };
        let (terminal, terminal_err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            quiet: global.quiet,
            colour: colour(terminal),
            colour_err: colour(terminal_err),
            terminal,
            terminal_err,
            state_dir: global.state_dir.clone(),
        }
    }

    /// Where state is kept: `--state-dir`, `SQUALL_STATE_DIR`, or the user's own place.
    pub fn state_dir(&self) -> anyhow::Result<StateDir> {
        Ok(match &self.state_dir {
            Some(path) => StateDir::new(path.clone())?,
            None => StateDir::locate()?,
        })
    }

    /// A line of result on standard output, quiet or not.
    #[expect(clippy::unused_self, reason = "whoever prints has been given the right to")]
    pub fn result(&self, line: impl AsRef<str>) -> anyhow::Result<()> {
        write_line(&mut io::stdout().lock(), line.as_ref())
    }

    /// A line of explanation on standard output, unless quiet.
    pub fn say(&self, line: impl AsRef<str>) -> anyhow::Result<()> {
        if self.quiet { Ok(()) } else { self.result(line) }
    }

    /// A line on standard error, unless quiet: progress and warnings that must not end up in a pipe.
    pub fn note(&self, line: impl AsRef<str>) {
        if !self.quiet {
            // Nowhere to tell of a standard error that is gone.
            let _ = writeln!(io::stderr().lock(), "{}", line.as_ref());
        }
    }

    /// A JSON document on standard output.
    pub fn json(&self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        self.result(serde_json::to_string_pretty(value)?)
    }

    /// Text in a style, if standard output takes colours.
    pub fn style(&self, style: Style, text: impl AsRef<str>) -> String {
        paint(self.colour, style, text.as_ref())
    }

    /// Prints an error with its hint on standard error, and gives its exit code. A reader that went away is not an error.
    pub fn report(&self, error: &anyhow::Error) -> ExitCode {
        let gone = error.chain().any(|e| e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe));
        if gone {
            return ExitCode::SUCCESS;
        }
        if let Some(manifest) = error.downcast_ref::<ManifestError>() {
            let _ = writeln!(io::stderr().lock(), "{}", manifest.render(self.terminal_err, self.colour_err));
            return ExitCode::from(exit::USAGE);
        }
        let known = error.downcast_ref::<CliError>();
        let mut text = format!("{} {error}", paint(self.colour_err, Style::Red, "error:"));
        for cause in error.chain().skip(1) {
            text.push_str(&format!(": {cause}"));
        }
        if let Some(hint) = known.and_then(|e| e.hint.as_deref()) {
            text.push_str(&format!("\n{} {hint}", paint(self.colour_err, Style::Cyan, "hint:")));
        }
        let _ = writeln!(io::stderr().lock(), "{text}");
        ExitCode::from(known.map_or(exit::FAILED, |e| e.code))
    }
}

fn paint(colour: bool, style: Style, text: &str) -> String {
    if colour { format!("\x1b[{}m{text}\x1b[0m", style.sgr()) } else { text.to_owned() }
}

fn write_line(out: &mut impl Write, line: &str) -> anyhow::Result<()> {
    out.write_all(line.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}
