//! `PagerDuty`: the Events API v2 (<https://developer.pagerduty.com/docs/send-alert-event>).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use squall_model::Verdict;
use utoipa::ToSchema;

use super::check_url;
use crate::channel::Mistake;
use crate::message::clip;
use crate::transport::Post;
use crate::{EventKind, Guards, Message, Notice, Receipt, SecretRef, SendError, Sending, Transport};

/// A service of `PagerDuty`. What goes wrong triggers an alert, a finding that somebody takes on acknowledges the alert of its run,
/// and one that is closed resolves it; lost hosts trigger, and resolve when they are back. Other notices are not sent. All that
/// belongs to one run has its id as the deduplication key, so that what comes twice counts once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PagerDutyChannel)]
pub struct PagerDuty {
    /// The integration key of the service.
    pub routing_key: SecretRef,
    /// Where events go; `https://events.eu.pagerduty.com/v2/enqueue` in the service region of the EU.
    #[serde(default = "default_url")]
    pub url: String,
}

fn default_url() -> String {
    "https://events.pagerduty.com/v2/enqueue".into()
}

/// What becomes of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Trigger,
    Acknowledge,
    Resolve,
    /// Triggers and resolves at once, so that nobody is kept awake by a test.
    Try,
}

/// What a notice means for the alert of its subject, if anything.
pub(crate) fn action(notice: &Notice) -> Option<Action> {
    match (notice.event, notice.verdict) {
        (EventKind::RunAborted | EventKind::HostLost | EventKind::ScheduleMissed | EventKind::FindingOpened, _)
        | (EventKind::RunEnded, Some(Verdict::Deviated | Verdict::Failed | Verdict::Aborted)) => Some(Action::Trigger),
        (EventKind::FindingAcknowledged, _) => Some(Action::Acknowledge),
        (EventKind::FindingClosed | EventKind::HostBack, _) | (EventKind::RunEnded, Some(Verdict::Held)) => Some(Action::Resolve),
        (EventKind::Test, _) => Some(Action::Try),
        _ => None,
    }
}

impl PagerDuty {
    pub(crate) fn check(&self, guards: &Guards) -> Vec<Mistake> {
        check_url("to.pagerduty.url", &self.url, guards).into_iter().collect()
    }

    pub(crate) async fn send(&self, transport: &Transport, message: &Message, sending: &Sending<'_>) -> Result<Receipt, SendError> {
        let key = transport.secret(&self.routing_key)?;
        let actions: &[&str] = match action(sending.notice) {
            Some(Action::Trigger) => &["trigger"],
            Some(Action::Acknowledge) => &["acknowledge"],
            Some(Action::Resolve) => &["resolve"],
            Some(Action::Try) => &["trigger", "resolve"],
            None => return Err(SendError::refused(format!("`{}` means nothing to PagerDuty", sending.notice.event.name()))),
        };
        let mut receipt = Receipt { detail: String::new(), status: None };
        for action in actions {
            receipt = transport.post(Post::json(&self.url, &event(action, key.expose(), message, sending.notice))?).await?;
        }
        Ok(receipt)
    }
}

/// Limits: 1,024 characters for the summary, 255 for the deduplication key.
fn event(action: &str, key: &str, message: &Message, notice: &Notice) -> Value {
    let mut event = json!({ "routing_key": key, "event_action": action, "dedup_key": clip(&notice.subject, 255), "client": "Squall" });
    let Some(map) = event.as_object_mut() else { return event };
    if let Some(url) = &message.url {
        map.insert("client_url".into(), url.clone().into());
        map.insert("links".into(), json!([{ "href": url, "text": "Read more" }]));
    }
    if action == "trigger" {
        let details: Map<String, Value> = message.facts.iter().map(|fact| (fact.name.to_owned(), fact.value.clone().into())).collect();
        let source = notice.hosts.first().or(notice.experiment.as_ref()).map_or("squall", String::as_str);
        map.insert(
            "payload".into(),
            json!({
                "summary": clip(&summary(message), 1024),
                "source": source,
                "severity": message.severity.word(),
                "timestamp": notice.at.to_string(),
                "component": notice.experiment,
                "group": notice.labels.get("service"),
                "class": notice.event.name(),
                "custom_details": details,
            }),
        );
    }
    event
}

fn summary(message: &Message) -> String {
    if message.text.is_empty() { message.title.clone() } else { format!("{}: {}", message.title, message.text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Template;

    fn of(event: EventKind, verdict: Option<Verdict>) -> Option<Action> {
        let mut notice = Notice::new("n", event, jiff::Timestamp::UNIX_EPOCH, "r");
        notice.verdict = verdict;
        action(&notice)
    }

    #[test]
    fn only_trouble_wakes_somebody_and_a_run_that_held_does_not() {
        assert_eq!(of(EventKind::RunStarted, None), None);
        assert_eq!(of(EventKind::RunStopped, None), None);
        assert_eq!(of(EventKind::RunAborted, None), Some(Action::Trigger));
        assert_eq!(of(EventKind::RunEnded, Some(Verdict::Deviated)), Some(Action::Trigger));
        assert_eq!(of(EventKind::RunEnded, Some(Verdict::Unsteady)), None);
        assert_eq!(of(EventKind::RunEnded, Some(Verdict::Held)), Some(Action::Resolve));
        assert_eq!(of(EventKind::FindingAcknowledged, None), Some(Action::Acknowledge));
        assert_eq!(of(EventKind::FindingClosed, None), Some(Action::Resolve));
    }

    #[test]
    fn an_event_has_what_the_api_wants_of_it() {
        let mut notice = Notice::samples().into_iter().find(|notice| notice.verdict == Some(Verdict::Deviated)).expect("a sample");
        notice.reason = Some("y".repeat(3000));
        let message = Message::new(&notice, &Template::default());
        let trigger = event("trigger", "KEY", &message, &notice);
        assert_eq!((&trigger["event_action"], &trigger["dedup_key"]), (&json!("trigger"), &json!("r000000000000")));
        assert_eq!((&trigger["payload"]["severity"], &trigger["payload"]["source"]), (&json!("error"), &json!("host-a")));
        assert!(trigger["payload"]["summary"].as_str().is_some_and(|text| text.chars().count() == 1024));
        let resolve = event("resolve", "KEY", &message, &notice);
        assert!(resolve.get("payload").is_none() && resolve["dedup_key"] == "r000000000000", "{resolve}");
    }
}
