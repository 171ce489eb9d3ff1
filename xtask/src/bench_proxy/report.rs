//! What was measured, beside what it is to be.

use serde_json::{Value, json};

use crate::shell;

/// All rows so far.
pub struct Report {
    rows: Vec<Value>,
    missed: usize,
    judged: bool,
    json: bool,
}

/// Every round of one contestant, sorted.
#[derive(Debug, Clone)]
pub struct Rounds {
    pub name: String,
    sorted: Vec<f64>,
}

impl Rounds {
    pub fn new(name: &str, mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { name: name.to_owned(), sorted: values }
    }

    pub fn sum(&self) -> f64 {
        self.sorted.iter().sum()
    }

    pub fn rounds(&self) -> usize {
        self.sorted.len()
    }

    pub fn median(&self) -> f64 {
        shell::quantile(&self.sorted, 0.5)
    }
}

/// What a measurement is to be.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

impl Report {
    /// Timings of one short round say nothing about a bar; as JSON, nothing is shown before the end.
    pub fn new(judged: bool, json: bool) -> Self {
        Self { rows: Vec::new(), missed: 0, judged, json }
    }

    /// Shows the medians of each, with least and most.
    pub fn row(&mut self, name: &str, unit: &str, all: &[Rounds]) {
        let shown: Vec<String> = all
            .iter()
            .map(|rounds| {
                let (least, most) = (rounds.sorted.first().copied().unwrap_or(f64::NAN), rounds.sorted.last().copied().unwrap_or(f64::NAN));
                if rounds.sorted.len() > 1 {
                    format!("{} {} [{}..{}]", rounds.name, number(rounds.median()), number(least), number(most))
                } else {
                    format!("{} {}", rounds.name, number(rounds.median()))
                }
            })
            .collect();
        self.say(&format!("{name}, {unit}: {}", shown.join("  ")));
        let values: serde_json::Map<String, Value> = all.iter().map(|r| (r.name.clone(), json!(r.sorted))).collect();
        self.rows.push(json!({ "row": name, "unit": unit, "rounds": values }));
    }

    /// Judges one number.
    pub fn check(&mut self, what: &str, measured: f64, bar: Bar) {
        let (met, sign, wanted) = match bar {
            Bar::AtLeast(wanted) => (measured >= wanted, '≥', wanted),
            Bar::AtMost(wanted) => (measured <= wanted, '≤', wanted),
        };
        self.verdict(what, &number(measured), &format!("{sign} {}", number(wanted)), met);
    }

    /// Judges something that is more than a number.
    pub fn verdict(&mut self, what: &str, measured: &str, bar: &str, met: bool) {
        self.missed += usize::from(!met);
        let word = match (met, self.judged) {
            (true, _) => "ok    ",
            (false, true) => "MISSED",
            (false, false) => "missed (not judged)",
        };
        self.say(&format!("  {word} {what}: {measured}, bar {bar}"));
        self.rows.push(json!({ "check": what, "measured": measured, "bar": bar, "met": met }));
    }

    /// Something that whoever reads the numbers must know.
    pub fn note(&mut self, text: &str) {
        self.say(&format!("  note: {text}"));
        self.rows.push(json!({ "note": text }));
    }

    fn say(&self, line: &str) {
        if !self.json {
            shell::say(line);
        }
    }

    /// How many bars were missed.
    pub fn end(&self) -> usize {
        if self.json {
            shell::say(&json!({ "judged": self.judged, "missed": self.missed, "rows": self.rows }).to_string());
        }
        self.missed
    }
}

/// Three digits that mean something.
pub fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
