//! `squall validate`

use std::process::ExitCode;

use serde_json::Value;
use squall_model::{Diagnostics, Document};

use crate::context::{CliError, Context, Output, Style, exit};
use crate::registry::registry;
use crate::{diagnostics, library};

/// Check manifests: everything that is wrong, with line, column and hint; touches nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall validate examples/first.yaml
  squall validate --output json experiments/*.yaml
  squall plan examples/first.yaml     what a valid manifest would touch on this host

Exit codes: 0 every manifest is valid, 2 at least one is not")]
pub struct Args {
    /// Experiments or policies: files, `-` for standard input, or library:NAME
    #[arg(required = true, value_name = "MANIFEST")]
    manifests: Vec<String>,
    /// Fill in a parameter of the manifests
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Checks each manifest, and goes on after one that is wrong.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let Args { manifests, set, output } = args;
    let parameters = library::parameters(&set)?;
    let mut results = Vec::new();
    let mut good = true;
    for source in &manifests {
        let text = read(source, &parameters)?;
        let outcome = check(&text);
        good &= outcome.is_ok();
        match (output, outcome) {
            (Output::Json, outcome) => results.push(diagnostics::json(source, &outcome.err().unwrap_or_default())),
            (Output::Text, Ok(summary)) => cx.say(format!("{source}: {} {summary}", cx.style(Style::Green, "valid")))?,
            // What is wrong is this command's result, and so goes to standard output.
            (Output::Text, Err(found)) => cx.result(diagnostics::error(source, &text, found).render(cx.terminal, cx.colour))?,
        }
    }
    if output == Output::Json {
        cx.json(&results)?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(exit::USAGE) })
}

fn read(source: &str, parameters: &library::Values) -> anyhow::Result<String> {
    if let Some(name) = source.strip_prefix("library:") {
        return library::load(name, parameters);
    }
    let text = if source == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(source) };
    let text = text.map_err(|e| {
        let hint = "give the path of a manifest, `-` for standard input, or `library:NAME` (`squall library list`)";
        CliError::usage(format!("{source} cannot be read: {e}"), Some(hint.to_owned()))
    })?;
    library::fill(&text, parameters).map_err(|e| CliError::usage(format!("{source}: {e}"), None).into())
}

/// A few words on what a valid manifest holds, or what is wrong with it. A policy is told by its `kind`.
fn check(text: &str) -> Result<String, Diagnostics> {
    let is_policy = Document::parse(text).is_ok_and(|document| document.value.get("kind").and_then(Value::as_str) == Some("Policy"));
    if is_policy {
        let (policy, _) = squall_model::parse_policy(text)?;
        return Ok(format!("policy `{}`", policy.metadata.name));
    }
    let (experiment, _) = squall_engine::validate_experiment(text, &registry())?;
    let spec = &experiment.spec;
    let count = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
    let (probes, steps) = (count(spec.hypothesis.probes.len(), "probe"), count(spec.method.len(), "step"));
    Ok(format!("experiment `{}` ({probes}, {steps}, {})", experiment.metadata.name, count(spec.guards.len(), "guard")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: squall.dev/v1\nkind: Experiment\nmetadata: { name: example }\nspec:\n  \
                        traffic:\n    - { name: shoppers, rate: 10/s, http: { url: \"http://127.0.0.1/\" } }\n";
    const PROBE: &str = "name: p\ncommand: { run: [\"true\"] }\nexpect: { eq: 0 }\n";
    const STEP: &str = "fault: cpu.load\nwith: { load: 1% }\nfor: 1s\n";

    /// As the one element of a list.
    fn element(text: &str) -> String {
        let lines = text.trim_end().lines().enumerate();
        lines.map(|(i, line)| format!("{}{line}\n", if i == 0 { "      - " } else { "        " })).collect()
    }

    /// What people copy out of the references.
    #[test]
    fn the_example_of_every_fault_and_probe_is_valid() {
        let registry = registry();
        let examples = registry.faults.iter().map(|fault| (fault.meta().name, PROBE, fault.meta().example));
        let examples = examples.chain(registry.probes.iter().map(|probe| (probe.meta().name, probe.meta().example, STEP)));
        let mut wrong = Vec::new();
        for (name, probe, step) in examples {
            let named = if step.contains("name:") { step.to_owned() } else { format!("name: s\n{step}") };
            let hypothesis = format!("  hypothesis:\n    statement: s\n    probes:\n{}", element(probe));
            let text = format!("{HEAD}{hypothesis}  method:\n{}  recovery: {{ within: 5s }}\n", element(&named));
            if let Err(found) = check(&text) {
                wrong.push(format!("{name}: {found:?}\n{text}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
