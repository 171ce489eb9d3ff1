//! `squall reference` (hidden): writes the references that come from the code; `cargo xtask gen` calls it.

mod proxy;
mod schema;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory;
use squall_engine::Undone;

use crate::cli::Cli;
use crate::context::Context;
use crate::registry::registry;
use schema::table;

/// Write the generated references into a directory
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory
    directory: PathBuf,
}

/// Writes them.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let dir = &args.directory;
    std::fs::create_dir_all(dir.join("man"))?;
    let registry = registry();
    let write = |name: &str, text: String| -> anyhow::Result<()> {
        // One newline at the end and none before it, whatever was put together.
        Ok(std::fs::write(dir.join(name), format!("{}\n", text.trim_end()))?)
    };
    write("cli.md", command_line())?;
    write("faults.md", faults(&registry))?;
    write("probes.md", probes(&registry))?;
    write("targets.md", targets(&registry))?;
    write("proxy.md", proxy::reference())?;
    write("openapi.json", serde_json::to_string_pretty(&squall_server::openapi())?)?;
    for (kind, schema) in super::schema::all(&registry) {
        write(&format!("{kind}.schema.json"), serde_json::to_string_pretty(&schema)?)?;
    }
    manual_pages(&dir.join("man"))?;
    cx.say(format!("wrote {}", dir.display()))?;
    Ok(ExitCode::SUCCESS)
}

const GENERATED: &str = "<!-- Generated from the code by `cargo xtask gen`; do not edit. -->\n\n";

fn command_line() -> String {
    let mut text = format!("{GENERATED}# Command line\n");
    let mut root = Cli::command().term_width(100);
    root.build();
    for command in std::iter::once(&root).chain(root.get_subcommands()) {
        if command.is_hide_set() || command.get_name() == "help" {
            continue;
        }
        let name = if command.get_name() == "squall" { "squall".to_owned() } else { format!("squall {}", command.get_name()) };
        let help = command.clone().bin_name(name.clone()).render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        let _ = write!(text, "\n## {name}\n\n```text\n{}\n```\n", help.join("\n").trim_end());
    }
    text
}

fn manual_pages(dir: &Path) -> anyhow::Result<()> {
    let mut root = Cli::command();
    root.build();
    for command in std::iter::once(&root).chain(root.get_subcommands()) {
        if command.is_hide_set() || command.get_name() == "help" {
            continue;
        }
        let name = if command.get_name() == "squall" { "squall".to_owned() } else { format!("squall-{}", command.get_name()) };
        let mut page = Vec::new();
        clap_mangen::Man::new(command.clone()).title(name.clone()).date("").render(&mut page)?;
        std::fs::write(dir.join(format!("{name}.1")), page)?;
    }
    Ok(())
}

fn faults(registry: &squall_engine::Registry) -> String {
    let mut text = format!("{GENERATED}# Faults\n");
    for fault in &registry.faults {
        let meta = fault.meta();
        let undone = match meta.undone {
            Undone::Kernel => "by the kernel, when Squall's process ends",
            Undone::Child => "a child of Squall carries it; the kernel ends the child when Squall ends",
            Undone::Ledger => "by the undo in the ledger: the run, the watchdog, the next run or `squall recover`",
            Undone::Supervisor => "by whoever supervises the target; Squall checks that they did",
            Undone::Depends => "it depends on the arguments; `squall plan` says",
            Undone::Irreversible => "never; the step has to say `acceptIrreversible: true`",
        };
        let _ = write!(text, "\n## {}\n\n{}\n\nTargets: {}. Undone: {undone}.", meta.name, meta.summary, meta.targets.join(", "));
        if meta.lasting {
            text.push_str(" Needs `for`.");
        }
        if !meta.needs.is_empty() {
            let _ = write!(text, " Needs of the host: {}.", meta.needs.join(", "));
        }
        let _ = write!(text, "\n\n```yaml\n{}\n```\n", meta.example.trim());
        // What every rule of a proxy may have is told once, there.
        table(&mut text, "argument", &fault.schema(), &["match", "sticky"]);
    }
    text
}

fn probes(registry: &squall_engine::Registry) -> String {
    let mut text = format!("{GENERATED}# Probes\n");
    for probe in &registry.probes {
        let meta = probe.meta();
        let _ = write!(text, "\n## {}\n\n{}\n\n```yaml\n{}\n```\n", meta.name, meta.summary, meta.example.trim());
        table(&mut text, "argument", &probe.schema(), &[]);
    }
    text
}

fn targets(registry: &squall_engine::Registry) -> String {
    let mut text = format!("{GENERATED}# Targets\n");
    for target in &registry.targets {
        let meta = target.meta();
        let _ = write!(text, "\n## {}\n\n{}\n\n```yaml\n{}\n```\n", meta.name, meta.summary, meta.example.trim());
        table(&mut text, "argument", &target.schema(), &[]);
        if !meta.variables.is_empty() {
            text.push_str("\nIn the questions of a comparison (`compare`):\n\n| placeholder | stands for |\n|---|---|\n");
            for variable in meta.variables {
                let _ = writeln!(text, "| `{{{{target.{}}}}}` | {} |", variable.name, variable.what);
            }
        }
    }
    text
}
