//! Lines for logs and pipes: one for each thing that matters, with the time since the run's start.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use squall_engine::State;
use tokio::sync::watch;

use super::format::span;
use super::{Mark, Story, Tale};

/// Prints lines until the run is over. The verdict is the caller's to print.
pub async fn show(colour: bool, mut states: watch::Receiver<Arc<State>>) {
    let mut story = Story::default();
    loop {
        let state = states.borrow_and_update().clone();
        for tale in story.tell(&state) {
            // A reader that went away does not stop an experiment.
            let _ = writeln!(std::io::stdout().lock(), "{}", line(&tale, colour));
        }
        if state.verdict.is_some() || states.changed().await.is_err() {
            return;
        }
    }
}

/// One line: `    3.2s  ✗ errors is 12%, expected < 1%`.
pub fn line(tale: &Tale, colour: bool) -> String {
    let code = match tale.mark {
        Mark::Step => "",
        Mark::Fault | Mark::Unsure => "33",
        Mark::Good => "32",
        Mark::Bad => "31",
    };
    let text = format!("{} {}", tale.mark.sign(), tale.text);
    let text = if colour && !code.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text };
    format!("{:>8}  {text}", span(Duration::from_micros(tale.at)))
}
