//! How a game day is shown.

use squall_api::gamedays::DayView;
use squall_gameday::{ActionItem, DayReport, Entry};
use squall_report::clean;

use super::{Report, Show, at};
use crate::context::{CliError, Context, Output, Style};
use crate::remote::{block_on, failed};
use crate::saved::columns;

/// Shows one.
pub fn show(args: &Show, cx: &Context) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let view: DayView = block_on(async { client.get(&at(&args.id)).await.map_err(failed) })?;
    if args.output == Output::Json {
        return cx.json(&view);
    }
    // Times and objectives as the report has them.
    let report = DayReport::new(&view.day, Vec::new(), view.now);
    cx.result(cx.style(Style::Bold, clean(&format!("{} ({})", report.title, report.state.name()))))?;
    let people = report.participants.iter().map(|one| format!("{} ({})", one.name, one.role.name())).collect::<Vec<_>>();
    cx.result(clean(&people.join(", ")))?;
    for (index, scenario) in report.scenarios.iter().enumerate() {
        let verdict = scenario.verdict.map(|verdict| format!(", {verdict}")).unwrap_or_default();
        let run = scenario.run.as_ref().map(|run| format!(", run {run}")).unwrap_or_default();
        cx.result(clean(&format!("{index}  {} ({}{verdict}{run})", scenario.title, scenario.state.name())))?;
        if scenario.from.is_some() {
            cx.result(format!("   time to detect: {}", scenario.time_to_detect.words()))?;
            cx.result(format!("   time to resolve: {}", scenario.time_to_resolve.words()))?;
        }
    }
    for lesson in &report.lessons {
        cx.result(clean(&format!("lesson: {}", lesson.replace('\n', " "))))?;
    }
    actions(&report.actions).iter().try_for_each(|line| cx.result(line))
}

/// Action items, one a line.
pub fn actions(items: &[ActionItem]) -> Vec<String> {
    let row = |item: &ActionItem| {
        let what = &item.what;
        let due = what.due.map(|day| format!("by {day}")).unwrap_or_default();
        let (number, priority) = (format!("action {}", item.id), what.priority.name().to_owned());
        vec![number, priority, what.state.name().to_owned(), what.owner.clone().unwrap_or_default(), due, what.text.clone()]
    };
    columns(items.iter().map(row).collect())
}

/// Follows one until it is over. A stream that breaks is opened anew where it broke.
pub fn follow(args: &Show, cx: &Context) -> anyhow::Result<()> {
    let client = args.server.client()?;
    block_on(async {
        let view: DayView = client.get(&at(&args.id)).await.map_err(failed)?;
        let title = |index: usize| view.day.plan.scenarios.get(index).map(|plan| plan.title.clone()).unwrap_or_default();
        let mut last: Option<String> = None;
        loop {
            let mut events = client.events(&format!("{}/events", at(&args.id)), last.as_deref()).await.map_err(failed)?;
            loop {
                let event = match events.next().await {
                    Ok(Some(event)) => event,
                    Ok(None) => return Ok(()),
                    // Whether the server is still there, opening the stream anew will tell.
                    Err(_) => break,
                };
                let entry: Entry = serde_json::from_str(&event.data)?;
                last = Some(entry.seq.to_string());
                match args.output {
                    Output::Json => cx.result(serde_json::to_string(&entry)?)?,
                    Output::Text => {
                        let words = entry.what.words(title).replace('\n', " ");
                        cx.result(clean(&format!("{}  {}: {words}", entry.at.strftime("%H:%M:%S"), entry.by)))?;
                    }
                }
            }
        }
    })
}

/// Prints or writes the report.
pub fn report(args: &Report, cx: &Context) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let path = format!("{}/report?format={}", at(&args.id), args.format);
    let text = block_on(async { client.text(&path).await.map_err(failed) })?;
    let Some(out) = &args.out else { return cx.result(text.trim_end()) };
    std::fs::write(out, text).map_err(|e| CliError::failed(format!("{}: {e}", out.display()), None))?;
    cx.say(format!("wrote {}", out.display()))
}
