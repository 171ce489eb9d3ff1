//! A report as a trace, in the JSON encoding of OTLP 1.x (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use squall_engine::keyed_hash;
use squall_model::{RunId, Verdict};
use squall_report::{InjectionReport, Report};

/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u8 = 1;
/// `STATUS_CODE_OK` and `STATUS_CODE_ERROR`.
const OK: u8 = 1;
const ERROR: u8 = 2;

/// The id of a run's trace, 32 hexadecimal digits: the same for the same run, whoever makes the trace and however often.
pub fn trace_id(run: &RunId) -> String {
    let half = |half| keyed_hash(half, 0, 0, run.as_str().as_bytes());
    format!("{:016x}{:016x}", half(1), half(2))
}

/// The trace of a run, as the body of a request to `/v1/traces`. Nothing where the run's start cannot be read.
pub fn trace(report: &Report, service: &str) -> Option<Json> {
    let started: Timestamp = report.facts.started.parse().ok()?;
    let spans = Spans { report, trace: trace_id(&report.facts.run), started: started.as_nanosecond() };
    let all: Vec<Json> = std::iter::once(spans.root()).chain(spans.phases()).chain(spans.injections()).collect();
    let resource = json!({ "attributes": [text("service.name", service), text("service.version", &report.facts.squall), text("host.name", &report.facts.host)] });
    let scope = json!({ "name": "squall", "version": report.facts.squall });
    Some(json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "scope": scope, "spans": all }] }] }))
}

struct Spans<'a> {
    report: &'a Report,
    trace: String,
    /// Nanoseconds since 1970.
    started: i128,
}

/// One span, before it is written.
struct Span {
    /// Within the trace: 0 is the root.
    number: u64,
    name: String,
    from: u64,
    to: u64,
    attributes: Vec<Json>,
    events: Vec<Json>,
    status: Json,
}

impl Spans<'_> {
    fn id(&self, number: u64) -> String {
        // An id of zeros is none (W3C Trace Context, 3.2.2.4).
        format!("{:016x}", keyed_hash(3, number, 0, self.report.facts.run.as_str().as_bytes()).max(1))
    }

    /// A time of the run as OTLP has it: nanoseconds since 1970, as a text.
    fn at(&self, micros: u64) -> String {
        (self.started + i128::from(micros) * 1000).to_string()
    }

    fn write(&self, span: Span) -> Json {
        let mut written = json!({
            "traceId": self.trace,
            "spanId": self.id(span.number),
            "name": span.name,
            "kind": INTERNAL,
            "startTimeUnixNano": self.at(span.from),
            "endTimeUnixNano": self.at(span.to.max(span.from)),
            "attributes": span.attributes,
            "events": span.events,
            "status": span.status,
        });
        if span.number != 0 {
            written["parentSpanId"] = json!(self.id(0));
        }
        written
    }

    fn root(&self) -> Json {
        let report = self.report;
        let mut attributes = vec![
            text("squall.run", report.facts.run.as_str()),
            text("squall.experiment", &report.experiment),
            text("squall.verdict", report.outcome()),
            text("squall.user", &report.facts.user),
            text("squall.seed", &report.facts.seed.to_string()),
        ];
        attributes.extend(report.labels.iter().map(|(name, value)| text(&format!("squall.label.{name}"), value)));
        let events = report.events.iter().map(|event| {
            let attributes = [text("squall.mark", event.mark.name())];
            json!({ "timeUnixNano": self.at(event.at), "name": event.text, "attributes": attributes })
        });
        let status = match report.verdict {
            Some(Verdict::Held) => json!({ "code": OK }),
            _ => json!({ "code": ERROR, "message": report.reason }),
        };
        let events = events.collect();
        self.write(Span { number: 0, name: report.experiment.clone(), from: 0, to: report.facts.duration, attributes, events, status })
    }

    fn phases(&self) -> impl Iterator<Item = Json> {
        (1..).zip(&self.report.phases).map(|(number, phase)| {
            let (name, attributes) = (phase.phase.clone(), vec![text("squall.phase", &phase.phase)]);
            self.write(Span { number, name, from: phase.from, to: phase.to, attributes, events: Vec::new(), status: json!({}) })
        })
    }

    fn injections(&self) -> impl Iterator<Item = Json> {
        let first = 1 + self.report.phases.len() as u64;
        (first..).zip(&self.report.injections).map(|(number, injection)| self.injection(number, injection))
    }

    fn injection(&self, number: u64, injection: &InjectionReport) -> Json {
        let (from, to) = injection.window(self.report.facts.duration);
        let mut attributes = vec![
            text("squall.fault", &injection.fault),
            text("squall.target", &injection.target),
            text("squall.step", &injection.step),
            text("squall.arguments", &injection.arguments),
        ];
        let seen = [("squall.evidence", &injection.evidence), ("squall.reverted", &injection.how)];
        attributes.extend(seen.into_iter().filter_map(|(name, value)| value.as_deref().map(|value| text(name, value))));
        let status = match (&injection.error, injection.verified) {
            (None, Some(true)) => json!({ "code": OK }),
            (error, _) => json!({ "code": ERROR, "message": error.as_deref().unwrap_or("it was not seen in force") }),
        };
        self.write(Span {
            number,
            name: format!("{} on {}", injection.fault, injection.target),
            from,
            to,
            attributes,
            events: Vec::new(),
            status,
        })
    }
}

fn text(name: &str, value: &str) -> Json {
    json!({ "key": name, "value": { "stringValue": value } })
}
