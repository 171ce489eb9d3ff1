//! `squall channel`

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};
use squall_api::client::{Client, escape};
use squall_notify::{ChannelDocument, ChannelTest, ChannelView, Delivery, DeliveryState};
use squall_report::clean;

use crate::context::{CliError, Context, Output};
use crate::remote::{Server, block_on, failed};
use crate::saved::{self, Apply, File, Listing, Named, Saved, Show, minute, query, word};

const CHANNELS: Saved = Saved { path: "channels", kind: "Channel", field: "channel", what: "channel" };

/// Look after a server's channels: where notices of runs, findings and game days go
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall channel apply payments.yaml
  squall channel test payments              sends a message at once, and says what the receiver answered
  squall channel dead                       what could not be delivered
  squall channel retry --all --channel payments

A channel names its secrets, and never holds them: `url: { env: SQUALL_SECRET_SLACK }`.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List channels
    List(Listing),
    /// Save channels from files
    Apply(Apply),
    /// Print a channel; its secrets are named, and never shown
    Show(Show),
    /// Send a test message at once, also to a paused channel
    Test(Named),
    /// List deliveries, the newest first
    Deliveries(Deliveries),
    /// List dead letters: deliveries that were given up
    Dead(Dead),
    /// Deliver again
    Retry(Retry),
    /// Discard deliveries
    Discard(Discard),
    /// Remove a channel; what waits for it becomes dead letters
    Rm(Named),
}

#[derive(Debug, clap::Args)]
struct Deliveries {
    #[command(flatten)]
    server: Server,
    /// Only of this channel
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// Only pending, delivered or dead ones
    #[arg(long, value_parser = word::<DeliveryState>)]
    state: Option<DeliveryState>,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Dead {
    #[command(flatten)]
    server: Server,
    /// Only of this channel
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Retry {
    #[command(flatten)]
    server: Server,
    /// Ids of deliveries
    #[arg(required_unless_present = "all")]
    ids: Vec<String>,
    /// Every dead letter
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// With --all: only of this channel
    #[arg(long, value_name = "NAME", requires = "all")]
    channel: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Discard {
    #[command(flatten)]
    server: Server,
    /// Ids of deliveries
    #[arg(required = true)]
    ids: Vec<String>,
}

/// Does it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List(args) => list(&args, cx)?,
        Command::Apply(args) => apply(&args, cx)?,
        Command::Show(args) => show(&args, cx)?,
        Command::Test(args) => try_out(&args, cx)?,
        Command::Deliveries(args) => {
            block_on(deliveries(&args.server.client()?, args.channel.as_deref(), args.state, args.output, cx))?;
        }
        Command::Dead(args) => {
            block_on(deliveries(&args.server.client()?, args.channel.as_deref(), Some(DeliveryState::Dead), args.output, cx))?;
        }
        Command::Retry(args) => block_on(retry(&args.server.client()?, &args, cx))?,
        Command::Discard(args) => {
            let client = args.server.client()?;
            for id in &args.ids {
                block_on(async { client.delete(&format!("deliveries/{}", escape(id))).await.map_err(failed) })?;
                cx.say(format!("discarded {id}"))?;
            }
        }
        Command::Rm(args) => CHANNELS.remove(&args, cx)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(args: &Listing, cx: &Context) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let channels = block_on(saved::all::<ChannelView>(&client, "channels"))?;
    saved::list(cx, args.output, &channels, "no channels; `squall channel apply FILE` saves one", |view| {
        let events = view.channel.filter.events.iter().map(|event| event.name()).collect::<Vec<_>>().join(",");
        let paused = if view.channel.paused { "paused" } else { "" };
        vec![
            view.name.clone(),
            view.channel.kind().to_owned(),
            paused.to_owned(),
            if events.is_empty() { "everything".to_owned() } else { events },
        ]
    })
}

fn apply(args: &Apply, cx: &Context) -> anyhow::Result<()> {
    let read = |source: &String| File::read(source, CHANNELS.kind)?.decode::<ChannelDocument>();
    let channels = args.files.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    let client = args.server.client()?;
    block_on(async {
        for ChannelDocument { metadata, spec, .. } in &channels {
            let _: Value = client.put(&CHANNELS.at(&metadata.name), spec).await.map_err(failed)?;
            cx.say(format!("saved channel `{}`", metadata.name))?;
        }
        Ok(())
    })
}

fn show(args: &Show, cx: &Context) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let view: ChannelView = block_on(async { client.get(&CHANNELS.at(&args.name)).await.map_err(failed) })?;
    if args.output == Output::Json {
        return cx.json(&view);
    }
    // As a file of it would be: JSON is YAML.
    let metadata = json!({ "name": view.name });
    cx.json(&json!({ "apiVersion": squall_model::API_VERSION, "kind": CHANNELS.kind, "metadata": metadata, "spec": view.channel }))
}

fn try_out(args: &Named, cx: &Context) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let path = format!("{}/test", CHANNELS.at(&args.name));
    let test: ChannelTest = block_on(async { client.post(&path, &json!({})).await.map_err(failed) })?;
    let status = test.status.map(|status| format!(" ({status})")).unwrap_or_default();
    let detail = clean(&test.detail);
    if test.delivered {
        return cx.say(format!("delivered in {} ms{status}: {detail}", test.took_ms));
    }
    let hint = if test.again { "it may work later" } else { "it will not work before something is changed" };
    Err(CliError::failed(format!("not delivered{status}: {detail}"), hint.to_owned()).into())
}

async fn deliveries(
    client: &Client,
    channel: Option<&str>,
    state: Option<DeliveryState>,
    output: Output,
    cx: &Context,
) -> anyhow::Result<()> {
    let found = found(client, channel, state).await?;
    let none = if state == Some(DeliveryState::Dead) { "no dead letters" } else { "no deliveries" };
    saved::list(cx, output, &found, none, |delivery| {
        let why = delivery.attempts.last().and_then(|last| last.error.clone().or_else(|| last.answer.clone())).unwrap_or_default();
        let event = delivery.notice.event.name();
        let state = format!("{} after {}", said(delivery.state), delivery.tries);
        vec![delivery.id.clone(), minute(delivery.notice.at), delivery.channel.clone(), event.to_owned(), state, why]
    })
}

async fn found(client: &Client, channel: Option<&str>, state: Option<DeliveryState>) -> anyhow::Result<Vec<Delivery>> {
    let path = format!("deliveries{}", query(&[("channel", channel), ("state", state.map(said))]));
    saved::all(client, &path).await
}

fn said(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Pending => "pending",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Dead => "dead",
    }
}

async fn retry(client: &Client, args: &Retry, cx: &Context) -> anyhow::Result<()> {
    let ids = if args.all {
        found(client, args.channel.as_deref(), Some(DeliveryState::Dead)).await?.into_iter().map(|delivery| delivery.id).collect()
    } else {
        args.ids.clone()
    };
    for id in &ids {
        let delivery: Delivery = client.post(&format!("deliveries/{}/redeliver", escape(id)), &json!({})).await.map_err(failed)?;
        cx.say(format!("{id} goes to `{}` again", delivery.channel))?;
    }
    if ids.is_empty() { cx.say("no dead letters") } else { Ok(()) }
}
