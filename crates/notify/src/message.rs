//! A notice in words.

use jiff::Timestamp;
use squall_model::Verdict;

use crate::{EventKind, Notice, Severity, Template};

/// A notice in words, the same for every kind of channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// One line.
    pub title: String,
    /// What follows it; plain text, perhaps empty.
    pub text: String,
    /// What is known, by name.
    pub facts: Vec<Fact>,
    /// How much it matters.
    pub severity: Severity,
    /// Where to read more.
    pub url: Option<String>,
    /// Why the channel's own words could not be used, if so.
    pub note: Option<String>,
}

/// Something that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What.
    pub name: &'static str,
    /// Its value, on one line.
    pub value: String,
}

/// The longest title: that of a header in Slack.
const LONGEST_TITLE: usize = 150;

impl Message {
    /// Puts a notice in the words of a channel.
    pub fn new(notice: &Notice, template: &Template) -> Self {
        let (title, text, note) = template.apply(notice);
        let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
        let title = if title.is_empty() { default_title(notice) } else { title };
        let title = clip(&title.replace(char::is_control, " "), LONGEST_TITLE);
        Self { title, text, facts: facts(notice), severity: notice.severity(), url: notice.url.clone(), note }
    }
}

/// At most so many characters, the last of them `…` where something is missing.
pub(crate) fn clip(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

fn facts(notice: &Notice) -> Vec<Fact> {
    let labels: Vec<String> = notice.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let some = |values: &[String]| (!values.is_empty()).then(|| values.join(", "));
    [
        ("Experiment", notice.experiment.clone()),
        ("Run", notice.run.clone()),
        ("Verdict", notice.verdict.map(|verdict| verdict.to_string())),
        ("Finding", notice.finding.clone()),
        ("Game day", notice.game_day.clone()),
        ("Schedule", notice.schedule.clone()),
        ("Due", notice.due.map(|due| time(&due))),
        ("By", notice.by.clone()),
        ("Hosts", some(&notice.hosts)),
        ("Labels", some(&labels)),
        ("At", Some(time(&notice.at))),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.map(|value| Fact { name, value: value.replace(char::is_control, " ") }))
    .collect()
}

/// For people, in UTC.
fn time(at: &Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// What Squall says in one line.
pub(crate) fn default_title(notice: &Notice) -> String {
    let experiment = notice.experiment.as_deref().or(notice.run.as_deref()).unwrap_or("a run");
    let by = notice.by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
    let hosts = if notice.hosts.is_empty() { "a host".to_owned() } else { notice.hosts.join(", ") };
    let finding = notice.finding.as_deref().unwrap_or("a weakness");
    let day = notice.game_day.as_deref().unwrap_or("a game day");
    match notice.event {
        EventKind::RunStarting => match &notice.due {
            Some(due) => format!("{experiment} will start at {}", time(due)),
            None => format!("{experiment} is about to start"),
        },
        EventKind::RunStarted => format!("{experiment} has started"),
        EventKind::RunAborted => format!("{experiment} is aborted and being reverted"),
        EventKind::RunStopped => format!("{experiment} was stopped{by} and is being reverted"),
        EventKind::RunEnded => format!("{experiment} {}", ended(notice.verdict)),
        EventKind::ApprovalWanted => format!("{experiment} waits for an approval"),
        EventKind::ScheduleMissed => format!("{experiment} did not run when it should have"),
        EventKind::HostLost => format!("{hosts} is lost"),
        EventKind::HostBack => format!("{hosts} is back"),
        EventKind::FindingOpened => format!("Finding: {finding}"),
        EventKind::FindingAcknowledged => format!("Finding taken on{by}: {finding}"),
        EventKind::FindingClosed => format!("Finding closed: {finding}"),
        EventKind::GameDayStarted => format!("Game day started: {day}"),
        EventKind::GameDayEnded => format!("Game day over: {day}"),
        EventKind::Test => format!("A test message of Squall{by}"),
    }
}

fn ended(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        Some(Verdict::Held) => "held",
        Some(Verdict::Deviated) => "deviated: a weakness was found",
        Some(Verdict::Unsteady) => "was not steady, so nothing was touched",
        Some(Verdict::Aborted) => "was aborted and is reverted",
        Some(Verdict::Inconclusive) => "is inconclusive",
        Some(Verdict::Failed) => "failed: look whether everything is reverted",
        None => "has ended",
    }
}

/// What Squall says below it.
pub(crate) fn default_text(notice: &Notice) -> String {
    match (&notice.reason, notice.event) {
        (Some(reason), _) => reason.clone(),
        (None, EventKind::Test) => "If you can read this, the channel works.".into(),
        (None, EventKind::HostLost) => "Its agent reverts by itself what is in force there.".into(),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_notice_has_words_without_a_template() {
        for notice in Notice::samples() {
            let message = Message::new(&notice, &Template::default());
            assert!(message.title.len() > 5 && !message.title.contains('\n'), "{message:?}");
            let bare = Message::new(&Notice::new("x", notice.event, notice.at, "x"), &Template::default());
            assert!(bare.title.len() > 5, "{bare:?}");
        }
    }

    #[test]
    fn a_title_stays_one_line_and_short() {
        let template = Template { title: Some("a\r\nBcc: x@y.example {{ 'b' * 400 }}".into()), text: None };
        let title = Message::new(&Notice::samples()[0], &template).title;
        assert!(title.starts_with("a Bcc: x@y.example bbb") && title.chars().count() == LONGEST_TITLE && title.ends_with('…'), "{title}");
        let empty = Template { title: Some("{{ labels.none }}".into()), text: None };
        assert!(!Message::new(&Notice::samples()[0], &empty).title.is_empty());
    }
}
