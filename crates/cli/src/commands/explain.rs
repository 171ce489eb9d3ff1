//! `squall explain`

mod field;
mod topic;

use std::process::ExitCode;

use crate::context::{CliError, Context, Output, Style};
use crate::registry::registry;

use topic::Topic;

/// Explain a fault, a probe, a target, a toxic, or any field of a manifest, with an example
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall explain                     list what can be explained
  squall explain process.kill        a fault
  squall explain probes.http         a kind of probe
  squall explain targets.process     a kind of target
  squall explain toxics.latency      a toxic of a proxy
  squall explain spec.method.ramp    a field of an experiment
  squall explain policy.spec.caps    a field of a policy
  squall explain exit-codes")]
pub struct Args {
    /// What to explain
    topic: Option<String>,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Explains a topic, or lists them.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let registry = registry();
    let name = args.topic.unwrap_or_default();
    let Some(topic) = topic::find(name.trim(), &registry) else {
        let names = topic::names(&registry);
        let hint = match squall_model::nearest(&name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`? `squall explain` lists all topics"),
            None => "`squall explain` lists all topics; a field is named by its path, such as `spec.method.ramp`".into(),
        };
        return Err(CliError::usage(format!("nothing is known of `{name}`"), hint).into());
    };
    match args.output {
        Output::Json => cx.json(&topic)?,
        Output::Text => print(&topic, cx)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(topic: &Topic, cx: &Context) -> anyhow::Result<()> {
    cx.result(cx.style(Style::Bold, &topic.name))?;
    for line in topic.text.lines() {
        cx.result(format!("  {line}").trim_end())?;
    }
    if !topic.facts.is_empty() {
        cx.result("")?;
        let width = topic.facts.iter().map(|fact| fact.name.len()).max().unwrap_or_default();
        for fact in &topic.facts {
            cx.result(format!("  {:width$}  {}", fact.name, fact.value))?;
        }
    }
    for section in &topic.sections {
        cx.result("")?;
        cx.result(cx.style(Style::Bold, &section.title))?;
        let width = section.entries.iter().map(|entry| entry.name.chars().count()).max().unwrap_or_default().min(28);
        for entry in &section.entries {
            let note =
                if entry.note.is_empty() { String::new() } else { format!(" {}", cx.style(Style::Dim, format!("({})", entry.note))) };
            let pad = " ".repeat(width.saturating_sub(entry.name.chars().count()));
            cx.result(format!("  {}{pad}  {}{note}", cx.style(Style::Cyan, &entry.name), entry.text))?;
        }
    }
    if let Some(example) = &topic.example {
        cx.result("")?;
        cx.result(cx.style(Style::Bold, "Example"))?;
        for line in example.trim_end().lines() {
            cx.result(format!("  {line}").trim_end())?;
        }
    }
    Ok(())
}
