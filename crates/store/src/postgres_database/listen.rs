//! What other servers, and this one, changed: `LISTEN` on a connection of its own.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use squall_engine::Clock;
use squall_model::RunId;
use tokio::sync::{broadcast, oneshot};
use tokio_postgres::{AsyncMessage, Error};

use super::connect::Address;
use crate::Change;

/// Between two tries to connect again.
const PAUSE: Duration = Duration::from_millis(500);

/// A change on its way through the database. With keys of 512 bytes at most it is below the 8,000 that a message may have.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
enum Message {
    Document(String, String),
    Run(RunId),
}

/// As it is sent.
pub(super) fn payload(change: Change) -> Option<String> {
    let message = match change {
        Change::Document { kind, id } => Message::Document(kind, id),
        Change::Run(run) => Message::Run(run),
        Change::Missed => return None,
    };
    serde_json::to_string(&message).ok()
}

fn change(payload: &str) -> Change {
    match serde_json::from_str(payload) {
        Ok(Message::Document(kind, id)) => Change::Document { kind, id },
        Ok(Message::Run(run)) => Change::Run(run),
        // Of a newer squall: something changed.
        Err(_) => Change::Missed,
    }
}

/// Passes on what is heard, for ever. Says when it listens for the first time, or why it cannot.
pub(super) async fn listen(
    address: Address,
    channel: String,
    changes: broadcast::Sender<Change>,
    clock: Arc<dyn Clock>,
    ready: oneshot::Sender<Result<(), Error>>,
) {
    let mut ready = Some(ready);
    loop {
        let outcome = listen_once(&address, &channel, &changes, &mut ready).await;
        if let Some(ready) = ready.take() {
            // It never listened: whoever waits for that gives up.
            let _ = ready.send(outcome);
            return;
        }
        let _ = changes.send(Change::Missed);
        clock.sleep_until(clock.now() + PAUSE).await;
    }
}

async fn listen_once(
    address: &Address,
    channel: &str,
    changes: &broadcast::Sender<Change>,
    ready: &mut Option<oneshot::Sender<Result<(), Error>>>,
) -> Result<(), Error> {
    let (client, mut connection) = address.config.connect(address.tls.clone()).await?;
    let command = format!("LISTEN {channel}");
    let asked = client.batch_execute(&command);
    tokio::pin!(asked);
    let mut listening = false;
    loop {
        tokio::select! {
            done = &mut asked, if !listening => {
                done?;
                listening = true;
                match ready.take() {
                    Some(ready) => drop(ready.send(Ok(()))),
                    // What was changed between the two connections nobody told.
                    None => drop(changes.send(Change::Missed)),
                }
            }
            message = poll_fn(|cx| connection.poll_message(cx)) => match message {
                Some(Ok(AsyncMessage::Notification(heard))) => drop(changes.send(change(heard.payload()))),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        }
    }
}
