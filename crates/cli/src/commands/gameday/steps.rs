//! What happens to a game day.

use serde_json::json;
use squall_api::client::Client;
use squall_api::gamedays::{Changed, DayView, NewNote, Reason, Words};
use squall_gameday::{ActionItem, NewActionItem, Priority};
use squall_report::clean;

use super::{Action, Actual, InScenario, Item, Mark, Note, One, Reasoned, Scenario, at};
use crate::context::{CliError, Context};
use crate::remote::{block_on, failed};

/// Tells what a change put into the timeline.
fn told(changed: &Changed, cx: &Context) -> anyhow::Result<()> {
    let title = |index: usize| changed.view.day.plan.scenarios.get(index).map(|plan| plan.title.clone()).unwrap_or_default();
    match &changed.entry {
        Some(entry) => cx.say(clean(&entry.what.words(title)))?,
        None => cx.say("nothing has changed: somebody else was first")?,
    }
    for run in &changed.still_running {
        cx.note(format!("run {run} could not be asked to stop; `squall stop --server …` stops it, and everything else"));
    }
    Ok(())
}

async fn post(client: &Client, path: &str, body: &impl serde::Serialize, cx: &Context) -> anyhow::Result<()> {
    told(&client.post(path, body).await.map_err(failed)?, cx)
}

/// Starts one.
pub fn begin(args: &One, cx: &Context) -> anyhow::Result<()> {
    block_on(post(&args.server.client()?, &format!("{}/start", at(&args.id)), &json!({}), cx))
}

/// Ends one.
pub fn end(args: &One, cx: &Context) -> anyhow::Result<()> {
    block_on(post(&args.server.client()?, &format!("{}/finish", at(&args.id)), &json!({}), cx))
}

/// Calls one off.
pub fn cancel(args: &Reasoned, cx: &Context) -> anyhow::Result<()> {
    let why = Reason { reason: args.reason.clone() };
    block_on(post(&args.server.client()?, &format!("{}/cancel", at(&args.id)), &why, cx))
}

fn within(of: &InScenario, what: &str) -> String {
    format!("{}/scenarios/{}/{what}", at(&of.id), of.scenario)
}

/// Starts a scenario, or leaves it out.
pub fn scenario(args: &Scenario, cx: &Context) -> anyhow::Result<()> {
    match args {
        Scenario::Start(of) => block_on(post(&of.server.client()?, &within(of, "start"), &json!({}), cx)),
        Scenario::Skip(args) => {
            let why = Reason { reason: args.reason.clone() };
            block_on(post(&args.of.server.client()?, &within(&args.of, "skip"), &why, cx))
        }
    }
}

/// Marks, or takes a mark back.
pub fn mark(args: &Mark, cx: &Context) -> anyhow::Result<()> {
    let (client, path) = (args.of.server.client()?, within(&args.of, args.what.name()));
    block_on(async {
        if !args.undo {
            return post(&client, &path, &json!({}), cx).await;
        }
        told(&client.delete_for(&path).await.map_err(failed)?, cx)
    })
}

/// Notes something.
pub fn note(args: &Note, cx: &Context) -> anyhow::Result<()> {
    let note = NewNote { scenario: args.scenario, text: args.text.clone() };
    block_on(post(&args.server.client()?, &format!("{}/notes", at(&args.id)), &note, cx))
}

/// Says what people and systems did.
pub fn actual(args: &Actual, cx: &Context) -> anyhow::Result<()> {
    let client = args.of.server.client()?;
    let words = Words { text: args.text.clone() };
    block_on(async { told(&client.put(&within(&args.of, "actual"), &words).await.map_err(failed)?, cx) })
}

/// Writes down a lesson.
pub fn lesson(args: &super::Words, cx: &Context) -> anyhow::Result<()> {
    let words = Words { text: args.text.clone() };
    block_on(post(&args.server.client()?, &format!("{}/lessons", at(&args.id)), &words, cx))
}

/// Adds an action item, or changes one.
pub fn action(args: &Action, cx: &Context) -> anyhow::Result<()> {
    match args {
        Action::Add(args) => {
            let item = args.item.item(args.text.clone());
            block_on(post(&args.server.client()?, &format!("{}/actions", at(&args.id)), &item, cx))
        }
        Action::Set(args) => {
            let client = args.server.client()?;
            block_on(async {
                let view: DayView = client.get(&at(&args.id)).await.map_err(failed)?;
                let item = args.item.changed(&view.day.actions, args.action, args.text.clone())?;
                let path = format!("{}/actions/{}", at(&args.id), args.action);
                told(&client.put(&path, &item).await.map_err(failed)?, cx)
            })
        }
    }
}

impl Item {
    /// A new action item.
    pub fn item(&self, text: String) -> NewActionItem {
        NewActionItem {
            text,
            owner: self.owner.clone(),
            priority: self.priority.unwrap_or(Priority::P1),
            due: self.due,
            state: self.state.unwrap_or_default(),
        }
    }

    /// One of these with what was given.
    pub fn changed(&self, known: &[ActionItem], id: u32, text: Option<String>) -> anyhow::Result<NewActionItem> {
        let known = known.iter().find(|item| item.id == id);
        let known = known.ok_or_else(|| CliError::usage(format!("there is no action item {id}"), "`show` lists them".to_owned()))?;
        let was = known.what.clone();
        Ok(NewActionItem {
            text: text.unwrap_or(was.text),
            owner: self.owner.clone().or(was.owner),
            priority: self.priority.unwrap_or(was.priority),
            due: self.due.or(was.due),
            state: self.state.unwrap_or(was.state),
        })
    }
}
