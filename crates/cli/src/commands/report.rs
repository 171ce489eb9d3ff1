//! `squall report`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use squall_model::RunId;

use crate::context::{CliError, Context};
use crate::past::{Past, write_file};

/// Write the report of a run, with charts
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall report latest                         squall-report-<run>.html, one file that needs nothing else
  squall report r1hf7 --format md -o -         Markdown on standard output
  squall report latest --format junit -o squall.xml")]
pub struct Args {
    /// The run: its id, the beginning of it, or `latest`
    #[arg(default_value = "latest")]
    run: String,
    /// What to write; by the ending of the file where there is one
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Where to; `-` is standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What a report is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One self-contained page with charts.
    Html,
    /// The same in text.
    Md,
    /// The same for programs, with every sample.
    Json,
    /// JUnit XML for CI.
    Junit,
}

impl Format {
    const fn ending(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Md => "md",
            Self::Json => "json",
            Self::Junit => "xml",
        }
    }
}

/// Writes it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let past = Past::open(cx)?;
    let run = past.resolve(&args.run)?;
    let standard = args.output.as_deref() == Some(Path::new("-"));
    let format = match (args.format, &args.output) {
        (Some(format), _) => format,
        (None, Some(path)) if !standard => format_of(path)?,
        (None, _) => Format::Html,
    };
    let text = render(&past, &run, format)?;
    if standard {
        cx.result(text.trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = args.output.unwrap_or_else(|| PathBuf::from(format!("squall-report-{run}.{}", format.ending())));
    write_file(&path, &text)?;
    cx.result(path.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn render(past: &Past, run: &RunId, format: Format) -> anyhow::Result<String> {
    let (report, _) = past.report(run)?;
    Ok(match format {
        Format::Html => report.html()?,
        Format::Md => report.markdown()?,
        Format::Json => report.json()?,
        Format::Junit => report.junit()?,
    })
}

/// The format that a file's ending asks for.
pub fn format_of(path: &Path) -> anyhow::Result<Format> {
    match path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("html" | "htm") => Ok(Format::Html),
        Some("md" | "markdown") => Ok(Format::Md),
        Some("json") => Ok(Format::Json),
        Some("xml") => Ok(Format::Junit),
        _ => {
            let hint = "let it end in .html, .md, .json or .xml (JUnit)".to_owned();
            Err(CliError::usage(format!("{} does not say which kind of report is meant", path.display()), hint).into())
        }
    }
}

/// Writes the report of a run to a file.
pub fn write(cx: &Context, run: &RunId, format: Format, path: &Path) -> anyhow::Result<()> {
    write_file(path, &render(&Past::open(cx)?, run, format)?)
}
