//! What the agent has to say to one server, kept until that server has it.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use squall_api::link::{Answer, Message};
use tokio::sync::Notify;

/// The most that is sent at once.
const BATCH: usize = 256;

/// What is done once a server has a message.
pub(crate) type Acknowledged = Box<dyn FnOnce() + Send>;

/// One message.
struct Item {
    line: Vec<u8>,
    /// The command that it answers.
    answers: Option<u64>,
    /// Says that the agent is there now; of no use later.
    of_the_moment: bool,
    acknowledged: Option<Acknowledged>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Item>,
    sent: Vec<Item>,
    /// Commands that are being carried out, or whose answers the server has not got.
    commands: HashSet<u64>,
}

/// Messages for one server, in order.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    ready: Notify,
}

impl Outbox {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, message: &Message, answers: Option<u64>, of_the_moment: bool, acknowledged: Option<Acknowledged>) {
        // Messages are plain values: encoding them cannot fail.
        let line = serde_json::to_vec(message).unwrap_or_default();
        self.queue().waiting.push_back(Item { line, answers, of_the_moment, acknowledged });
        self.ready.notify_one();
    }

    /// Says something that must not get lost.
    pub fn say(&self, message: &Message, acknowledged: Option<Acknowledged>) {
        self.put(message, None, false, acknowledged);
    }

    /// Says that the agent is there, in place of what it said of that before.
    pub fn alive(&self, in_force: u32, acknowledged: Acknowledged) {
        self.queue().waiting.retain(|item| !item.of_the_moment);
        self.put(&Message::Alive { in_force }, None, true, Some(acknowledged));
    }

    /// A command has come. False: it came before, and its answer will.
    pub fn begin(&self, command: u64) -> bool {
        self.queue().commands.insert(command)
    }

    /// Answers a command.
    pub fn answer(&self, command: u64, answer: Answer) {
        self.put(&Message::Answer { id: command, answer }, Some(command), false, None);
    }

    /// Ready when there is something to send.
    pub async fn ready(&self) {
        loop {
            let ready = self.ready.notified();
            if !self.queue().waiting.is_empty() {
                return;
            }
            ready.await;
        }
    }

    /// What is to be sent next, one JSON document a line.
    pub fn take(&self) -> Vec<u8> {
        let mut queue = self.queue();
        let count = queue.waiting.len().min(BATCH);
        let batch: Vec<Item> = queue.waiting.drain(..count).collect();
        let body = batch.iter().flat_map(|item| item.line.iter().copied().chain([b'\n'])).collect();
        queue.sent.extend(batch);
        body
    }

    /// The server has what was taken.
    pub fn acknowledge(&self) {
        let sent = {
            let mut queue = self.queue();
            let sent = std::mem::take(&mut queue.sent);
            for command in sent.iter().filter_map(|item| item.answers) {
                queue.commands.remove(&command);
            }
            sent
        };
        for acknowledged in sent.into_iter().filter_map(|item| item.acknowledged) {
            acknowledged();
        }
    }

    /// It is not known whether the server has it: it is sent again.
    pub fn take_back(&self) {
        let mut queue = self.queue();
        let sent = std::mem::take(&mut queue.sent);
        for item in sent.into_iter().rev() {
            queue.waiting.push_front(item);
        }
        queue.waiting.retain(|item| !item.of_the_moment);
    }

    /// Whether the server has everything.
    pub fn is_empty(&self) -> bool {
        let queue = self.queue();
        queue.waiting.is_empty() && queue.sent.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn text(outbox: &Outbox) -> String {
        String::from_utf8(outbox.take()).expect("text")
    }

    #[test]
    fn what_was_not_acknowledged_is_said_again_but_not_that_the_agent_was_there() {
        let (outbox, renewed) = (Outbox::default(), Arc::new(AtomicU32::new(0)));
        let renew = |by: u32| {
            let renewed = renewed.clone();
            Box::new(move || _ = renewed.fetch_add(by, Ordering::Relaxed))
        };
        assert!(outbox.begin(7) && !outbox.begin(7));
        outbox.answer(7, Answer::Done { how: "so".into() });
        outbox.alive(1, renew(1));
        assert_eq!(text(&outbox).lines().count(), 2);
        outbox.take_back();
        assert!(!outbox.begin(7), "its answer is on its way");
        outbox.alive(2, renew(10));
        outbox.alive(3, renew(100));
        let said = text(&outbox);
        assert!(said.lines().count() == 2 && said.contains("so") && said.contains("\"in_force\":3"), "{said}");
        outbox.acknowledge();
        assert!(outbox.is_empty() && outbox.begin(7) && renewed.load(Ordering::Relaxed) == 100);
    }
}
