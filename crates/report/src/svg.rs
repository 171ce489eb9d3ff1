//! Charts of probes as inline SVG. Colours come from the page's style sheet, so that light, dark and print are its affair;
//! what is violated or could not be measured has a shape of its own besides.

use std::fmt::Write;

use squall_model::Dimension;

use crate::format::{clip, moment, number, value};
use crate::model::{ComparisonReport, InjectionReport, ProbeReport, Report, Turn, TurnArm};
use crate::series::{Column, Gap, reduce, strips};
use crate::ticks::{Axis, elapsed, values};

/// Width of every chart, in its own units (pixels where there is room).
pub(crate) const WIDTH: f64 = 960.0;
/// Left of the plot: names and values. The same in every chart, so that moments stand under each other.
pub(crate) const LEFT: f64 = 136.0;
const RIGHT: f64 = 26.0;
const TOP: f64 = 12.0;
const PLOT: f64 = 150.0;
const STRIP: f64 = 34.0;
const BOTTOM: f64 = 24.0;
/// Size of the text in charts (`style.css`).
const FONT: f64 = 11.5;

/// The horizontal axis of a run.
pub(crate) struct Times {
    axis: Axis,
}

impl Times {
    pub(crate) fn of(report: &Report) -> Self {
        Self { axis: elapsed(report.facts.duration.max(1000), 9) }
    }

    /// The place of a moment.
    pub(crate) fn x(&self, at: u64) -> f64 {
        LEFT + self.axis.share(at as f64) * (WIDTH - LEFT - RIGHT)
    }

    /// The right end.
    pub(crate) fn end() -> f64 {
        WIDTH - RIGHT
    }

    /// Ticks with their labels below `y`, and thin lines up to `top`.
    pub(crate) fn draw(&self, out: &mut String, top: f64, y: f64) {
        for (at, label) in &self.axis.ticks {
            let x = LEFT + self.axis.share(*at) * (WIDTH - LEFT - RIGHT);
            let _ = write!(
                out,
                r#"<path class="grid" d="M{x:.1} {top:.1}V{y:.1}"/><text class="tick" x="{x:.1}" y="{:.1}" text-anchor="middle">{label}</text>"#,
                y + 16.0
            );
        }
    }
}

/// Text for between tags and in attributes.
pub(crate) fn esc(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Upper bounds of how wide characters are, in ems: those of `DejaVu` Sans, which is wider than most that a page is shown in.
fn ems(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | 'I' | 't' | 'f' | 'r' | ' ' | '.' | ',' | ':' | ';' | '!' | '|' | '/' | '\\' | '\'' | '-' | '(' | ')' | '['
        | ']' => 0.42,
        'm' => 0.98,
        'w' => 0.82,
        'a'..='z' | '0'..='9' | '_' => 0.64,
        'A'..='L' | 'N'..='V' | 'X'..='Z' => 0.79,
        _ => 1.0,
    }
}

/// As much of a text as is shown on this many pixels whatever font the page has, with `…` where something is missing.
pub(crate) fn fitted(text: &str, font: f64, room: f64) -> String {
    let wide = |text: &str| text.chars().map(ems).sum::<f64>() * font;
    let all = text.chars().count();
    let clipped = (0..=all).rev().map(|most| clip(text, most));
    clipped.into_iter().find(|text| wide(text) <= room).unwrap_or_default()
}

/// Opens a chart. `points` are what the pointer finds: place and words.
pub(crate) fn open(out: &mut String, height: f64, label: &str, points: &[(f64, String)]) {
    let _ = write!(out, r#"<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{}""#, esc(label));
    if !points.is_empty() {
        let points: Vec<(f64, &str)> = points.iter().map(|(x, text)| ((x * 10.0).round() / 10.0, text.as_str())).collect();
        let json = serde_json::to_string(&points).unwrap_or_default();
        let _ = write!(out, r#" data-points="{}""#, esc(&json));
    }
    let _ = write!(out, "><title>{}</title>", esc(label));
}

/// Shades the times in which a fault was in force.
pub(crate) fn windows(out: &mut String, report: &Report, times: &Times, top: f64, height: f64) {
    for (from, to) in merged(&report.injections, report.facts.duration) {
        let (x, width) = (times.x(from), (times.x(to) - times.x(from)).max(1.5));
        let _ = write!(out, r#"<rect class="window" x="{x:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}"/>"#);
    }
}

/// Times in which at least one fault was in force.
fn merged(injections: &[InjectionReport], end: u64) -> Vec<(u64, u64)> {
    let mut spans: Vec<(u64, u64)> = injections.iter().filter(|i| i.in_force.is_some()).map(|i| i.window(end)).collect();
    spans.sort_unstable();
    let mut out: Vec<(u64, u64)> = Vec::new();
    for (from, to) in spans {
        match out.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => out.push((from, to)),
        }
    }
    out
}

/// The chart of one probe: a line with its thresholds, or a strip of states for texts.
pub(crate) fn probe(report: &Report, probe: &ProbeReport) -> String {
    let times = Times::of(report);
    if probe.dimension == Dimension::Text { strip(report, probe, &times) } else { line(report, probe, &times) }
}

fn line(report: &Report, probe: &ProbeReport, times: &Times) -> String {
    let series = reduce(&probe.samples, |at| times.x(at));
    let columns = || series.pieces.iter().flatten();
    let limits = || probe.thresholds.iter().copied();
    let low = columns().map(|c| c.min).chain(limits()).fold(f64::INFINITY, f64::min);
    let high = columns().map(|c| c.max).chain(limits()).fold(f64::NEG_INFINITY, f64::max);
    // Some air above the threshold, so that its line is not the frame.
    let high = if limits().any(|t| t >= high) { high * 1.08 } else { high };
    let axis = values(low, high, probe.dimension, 4);
    let y = |v: f64| TOP + PLOT - axis.share(v) * PLOT;
    let mut out = String::new();
    open(&mut out, TOP + PLOT + BOTTOM, &format!("{} over time", probe.name), &points(&series.pieces, &series.gaps, probe));
    windows(&mut out, report, times, TOP, PLOT);
    levels(&mut out, &axis, y);
    times.draw(&mut out, TOP, TOP + PLOT);
    gaps(&mut out, &series.gaps);
    for piece in &series.pieces {
        let _ = write!(out, r#"<path class="line" d="{}"/>"#, path(piece, y));
    }
    for threshold in limits() {
        let (at, text) = (y(threshold), number(threshold, probe.dimension));
        let _ = write!(
            out,
            r#"<path class="limit" d="M{LEFT} {at:.1}H{end:.1}"/><text class="limit-text" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            Times::end() - 4.0,
            (at - 4.0).max(10.0),
            esc(&text),
            end = Times::end()
        );
    }
    violations(&mut out, columns(), y);
    out.push_str("</svg>");
    out
}

/// Ticks of the vertical axis, with thin lines.
fn levels(out: &mut String, axis: &Axis, y: impl Fn(f64) -> f64) {
    for (value, label) in &axis.ticks {
        let y = y(*value);
        let _ = write!(
            out,
            r#"<path class="grid" d="M{LEFT} {y:.1}H{:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            Times::end(),
            LEFT - 8.0,
            y + 4.0,
            esc(label)
        );
    }
}

/// The chart of a comparison: the share of bad answers of both sides over time.
pub(crate) fn comparison(report: &Report, comparison: &ComparisonReport) -> String {
    let times = Times::of(report);
    let axis = values(0.0, 1.0, Dimension::Ratio, 4);
    let y = |share: f64| TOP + PLOT - axis.share(share) * PLOT;
    let told = |name: &str, arm: &TurnArm| format!("{name}: {} of {} bad", arm.bad, arm.answers);
    let points = comparison.turns.iter().map(|turn| {
        let sides = [("under the fault", &turn.experiment), ("control group", &turn.control)];
        let sides: Vec<String> = sides.into_iter().filter(|(_, arm)| arm.answers > 0).map(|(name, arm)| told(name, arm)).collect();
        (times.x(turn.at), format!("{} · {}", moment(turn.at), sides.join(" · ")))
    });
    let mut out = String::new();
    open(&mut out, TOP + PLOT + BOTTOM, &format!("Bad answers of {} over time", comparison.name), &points.collect::<Vec<_>>());
    windows(&mut out, report, &times, TOP, PLOT);
    levels(&mut out, &axis, y);
    times.draw(&mut out, TOP, TOP + PLOT);
    // The control group below: it is seldom the one to look at.
    for (class, side) in [("control", (|turn| &turn.control) as fn(&Turn) -> &TurnArm), ("experiment", |turn| &turn.experiment)] {
        let mut d = String::new();
        for (at, share) in comparison.turns.iter().filter_map(|turn| side(turn).share().map(|share| (turn.at, share))) {
            let _ = write!(d, "{}{:.1} {:.1}", if d.is_empty() { 'M' } else { 'L' }, times.x(at), y(share));
        }
        if !d.is_empty() {
            // A single turn is a dot: a round cap needs a line of some length.
            let _ = write!(out, r#"<path class="line {class}" d="{d}h.01"/>"#);
        }
    }
    if let Some(at) = comparison.worse {
        let x = times.x(at);
        let _ =
            write!(out, r#"<path class="stop" d="M{x:.1} {TOP}V{:.1}"><title>worse, shown at {}</title></path>"#, TOP + PLOT, moment(at));
    }
    out.push_str("</svg>");
    out
}

/// A line through a piece: a column of several samples goes from its first value over both extremes to its last.
fn path(piece: &[Column], y: impl Fn(f64) -> f64) -> String {
    let mut d = String::new();
    for (i, c) in piece.iter().enumerate() {
        let _ = write!(d, "{}{:.1} {:.1}", if i == 0 { 'M' } else { 'L' }, c.x, y(c.first));
        if c.samples > 1 {
            let _ = write!(d, "V{:.1}V{:.1}V{:.1}", y(c.min), y(c.max), y(c.last));
        }
    }
    if piece.len() == 1 {
        // A single sample is a dot: a round cap needs a line of some length.
        d.push_str("h.01");
    }
    d
}

fn gaps(out: &mut String, gaps: &[Gap]) {
    for gap in gaps {
        let width = (gap.to - gap.from).max(3.0);
        let _ = write!(
            out,
            r#"<rect class="gap" x="{:.1}" y="{TOP}" width="{width:.1}" height="{PLOT}"><title>could not be measured: {}</title></rect><text class="gap-sign" x="{:.1}" y="{:.1}" text-anchor="middle">?</text>"#,
            gap.from,
            esc(&gap.why),
            gap.from + width / 2.0,
            TOP + 12.0
        );
    }
}

/// Diamonds, at the extremes that violated.
fn violations<'a>(out: &mut String, columns: impl Iterator<Item = &'a Column>, y: impl Fn(f64) -> f64) {
    let mut d = String::new();
    for column in columns {
        let Some((low, high)) = column.violated else { continue };
        for v in if (high - low).abs() < f64::EPSILON { vec![high] } else { vec![low, high] } {
            let _ = write!(d, "M{:.1} {:.1}l3.5 3.5l-3.5 3.5l-3.5 -3.5z", column.x, y(v) - 3.5);
        }
    }
    if !d.is_empty() {
        let _ = write!(out, r#"<path class="bad" d="{d}"/>"#);
    }
}

fn points(pieces: &[Vec<Column>], gaps: &[Gap], probe: &ProbeReport) -> Vec<(f64, String)> {
    let mut out: Vec<(f64, String)> = pieces.iter().flatten().map(|c| (c.x, told(c, probe))).collect();
    out.extend(gaps.iter().map(|g| (g.from.midpoint(g.to), format!("{} · ? could not be measured: {}", moment(g.at), clip(&g.why, 80)))));
    out.sort_by(|a, b| a.0.total_cmp(&b.0));
    out
}

fn told(column: &Column, probe: &ProbeReport) -> String {
    let shown = |v| number(v, probe.dimension);
    let values = if column.samples == 1 {
        shown(column.first)
    } else {
        format!("{} to {} ({} samples)", shown(column.min), shown(column.max), column.samples)
    };
    let bad = if column.violated.is_some() { format!(" · ✗ expected {}", probe.expectation) } else { String::new() };
    format!("{} · {values}{bad}", moment(column.at))
}

fn strip(report: &Report, probe: &ProbeReport, times: &Times) -> String {
    let strips = strips(&probe.samples, times.x(report.facts.duration), |at| times.x(at));
    let words = |s: &crate::series::Strip| {
        s.text
            .as_ref()
            .map_or_else(|| "could not be measured".to_owned(), |t| value(&squall_model::Value::Text(t.clone()), Dimension::Text))
    };
    let points: Vec<(f64, String)> = strips
        .iter()
        .map(|s| (s.from.midpoint(s.to), format!("{} · {}{}", moment(s.at), words(s), if s.violated { " · ✗" } else { "" })))
        .collect();
    let mut out = String::new();
    open(&mut out, TOP + STRIP + BOTTOM, &format!("{} over time", probe.name), &points);
    windows(&mut out, report, times, TOP - 6.0, STRIP + 12.0);
    times.draw(&mut out, TOP - 6.0, TOP + STRIP + 6.0);
    for s in &strips {
        let class = match (&s.text, s.violated) {
            (None, _) => "gap",
            (_, true) => "state bad",
            _ => "state",
        };
        let width = (s.to - s.from).max(1.0);
        let _ = write!(
            out,
            r#"<rect class="{class}" x="{:.1}" y="{TOP}" width="{width:.1}" height="{STRIP}"><title>{}</title></rect>"#,
            s.from,
            esc(&words(s))
        );
        let sign = if s.violated { "✗ " } else { "" };
        let shown = fitted(&format!("{sign}{}", words(s)), FONT, width - 8.0);
        if shown.chars().count() >= 3 {
            let _ = write!(
                out,
                r#"<text class="state-text" x="{:.1}" y="{:.1}">{}</text>"#,
                s.from + 5.0,
                TOP + STRIP / 2.0 + 4.0,
                esc(&shown)
            );
        }
    }
    out.push_str("</svg>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How wide a text is in `DejaVu` Sans at 12 pixels, by its table of advances (2048 units an em).
    fn in_dejavu(text: &str) -> f64 {
        let units = |c| match c {
            'a' => 1255,
            'i' => 569,
            'm' => 1995,
            'o' => 1253,
            'w' => 1675,
            '-' => 739,
            'W' => 2025,
            '0' => 1303,
            '…' => 2048,
            c => panic!("{c}"),
        };
        text.chars().map(|c| f64::from(units(c)) / 2048.0 * 12.0).sum()
    }

    #[test]
    fn a_label_is_cut_by_its_width_and_not_by_its_letters() {
        for long in [
            "wwwwwwwwwwwwwwwwwwwwwwww",
            "mama-mia-mama-mia-mama-mia",
            "WWW-0000-0000-0000-0000",
            "iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii",
        ] {
            let shown = fitted(long, 12.0, 128.0);
            assert!(shown.ends_with('…') && in_dejavu(&shown) <= 128.0, "{shown} is {} wide", in_dejavu(&shown));
            assert!(in_dejavu(&shown) > 80.0, "{shown} wastes what there is");
        }
        assert_eq!(fitted("iiiiiiiiiiiiiiiiiiiii", 12.0, 128.0), "iiiiiiiiiiiiiiiiiiiii");
        assert_eq!(fitted("mmm", 12.0, 3.0), "");
    }
}
