//! What is asked of a run that another server drives: a note in the database, which that server sees at once.

use serde::{Deserialize, Serialize};
use squall_engine::Control;
use squall_model::RunId;
use squall_store::{Batch, CommitError, Document, List, Write};

use super::Runs;
use crate::ApiError;
use crate::error::json_of;

/// The kind of the notes; the id is the run's, with the wish.
pub(super) const WISH: &str = "run-wish";

/// What can be asked of a run under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wish {
    /// To stop, and put everything back.
    Stop,
    /// To go on after a suspension.
    Continue,
}

/// A note.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Note {
    run: RunId,
    wish: Wish,
    by: String,
}

impl Wish {
    fn control(self, by: String) -> Control {
        match self {
            Self::Stop => Control::Stop(by),
            Self::Continue => Control::Continue(by),
        }
    }
}

impl Runs {
    /// Asks something of a run, whichever server drives it. Of one that is over, nothing is asked: whoever calls this has looked.
    pub async fn ask(&self, run: &RunId, wish: Wish, by: &str) -> Result<(), ApiError> {
        if self.tell(run, wish, by) {
            return Ok(());
        }
        let note = Note { run: run.clone(), wish, by: by.to_owned() };
        let body = json_of(&note)?;
        let id = format!("{run}/{}", if wish == Wish::Stop { "stop" } else { "continue" });
        match self.0.db.commit(Batch::new(vec![Write::Create { kind: WISH.into(), id, body }])).await {
            // It was asked already.
            Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The same of one that this server drives. False where it is not one of its own.
    fn tell(&self, run: &RunId, wish: Wish, by: &str) -> bool {
        self.live().get(run).is_some_and(|live| live.control.send(wish.control(by.to_owned())).is_ok())
    }

    /// Looks at one note.
    pub(super) async fn look_at_wish(&self, id: &str) {
        match self.0.db.get(WISH, id).await {
            Ok(Some(note)) => self.fulfil(&note).await,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "what is asked of a run cannot be read"),
        }
    }

    /// Looks at all of them.
    pub(super) async fn look_at_wishes(&self) {
        match self.0.db.list(WISH, &List::default()).await {
            Ok(notes) => {
                for note in &notes {
                    self.fulfil(note).await;
                }
            }
            Err(error) => tracing::warn!(%error, "what is asked of runs cannot be read"),
        }
    }

    /// Does what a note asks, if this server drives the run, and takes the note away; also if the run is over.
    async fn fulfil(&self, document: &Document) {
        let done = match document.decode::<Note>() {
            Ok(Note { run, wish, by }) => {
                self.tell(&run, wish, &by) || self.0.db.run(&run).await.is_ok_and(|run| run.summary.verdict.is_some())
            }
            Err(error) => {
                tracing::warn!(%error, "what is asked of a run cannot be read");
                true
            }
        };
        if done {
            let delete = Write::Delete { kind: WISH.into(), id: document.id.clone(), version: Some(document.version) };
            // Another has taken it away already, or does so next time.
            let _ = self.0.db.commit(Batch::new(vec![delete]).unsynced()).await;
        }
    }
}
