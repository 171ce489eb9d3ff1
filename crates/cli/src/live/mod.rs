//! What a person sees while an experiment runs: a live view on a terminal, plain lines elsewhere, or nothing.
//!
//! [`Story`] turns states into the lines of what happened, for both. The live view prints them above itself, so that they
//! scroll away naturally, and keeps the present (`view`, `draw`) in the last lines of the terminal (`terminal`).

mod draw;
mod format;
mod plain;
mod story;
mod terminal;
mod view;

use std::io::{IsTerminal, stdin};
use std::sync::Arc;

use squall_engine::{Control, State};
use squall_model::RunId;
use tokio::sync::{mpsc, watch};

use crate::context::Context;

pub use format::{seconds, span, wrap};
pub use story::{Mark, Story, Tale};

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Not at all.
    Silent,
    /// One line for each thing that matters.
    Plain,
    /// A view that is kept up to date, with keys to stop and continue.
    Live,
}

impl Mode {
    /// What fits where the output goes.
    pub fn choose(cx: &Context, plain: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        if cx.quiet {
            Self::Silent
        } else if plain || dumb || !cx.terminal || !stdin().is_terminal() || !in_foreground() {
            Self::Plain
        } else {
            Self::Live
        }
    }
}

/// Whether the terminal is ours: a process in the background is stopped by the kernel when it changes the terminal's mode.
fn in_foreground() -> bool {
    rustix::termios::tcgetpgrp(stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Shows a run until it is over. Returns early when the person leaves, having told so through `leave`.
pub async fn show(
    mode: Mode,
    colour: bool,
    run: RunId,
    states: watch::Receiver<Arc<State>>,
    control: mpsc::UnboundedSender<Control>,
    leave: mpsc::UnboundedSender<()>,
) {
    match mode {
        Mode::Silent => {}
        Mode::Plain => plain::show(colour, states).await,
        Mode::Live => {
            // On a thread of its own: it waits for keys, and must answer however busy the run is.
            let view = tokio::task::spawn_blocking({
                let states = states.clone();
                move || terminal::show(colour, &run, states, &control, &leave)
            });
            if !matches!(view.await, Ok(Ok(()))) {
                // A terminal that cannot be drawn on can still take lines.
                plain::show(colour, states).await;
            }
        }
    }
}
