//! The timeline of a run: its phases, each target's faults, the probes' violations, the guards and the stop, under each other.

use std::fmt::Write;

use crate::format::moment;
use crate::model::{Point, Report};
use crate::svg::{LEFT, Times, WIDTH, esc, fitted, open, windows};

const ROW: f64 = 24.0;
/// Size of the names of rows (`style.css`).
const FONT: f64 = 12.0;
const BAR: f64 = 14.0;
const TOP: f64 = 8.0;
const PHASES: f64 = 26.0;
const BOTTOM: f64 = 24.0;
/// Targets and probes beyond this many are counted, not drawn.
const MOST: usize = 24;

/// Violations or missing measurements closer than this many pixels are one mark.
const NEAR: f64 = 2.0;

struct Line {
    label: String,
    bars: Vec<Bar>,
}

struct Bar {
    class: &'static str,
    from: f64,
    to: f64,
    title: String,
}

/// The chart as SVG.
pub(crate) fn chart(report: &Report) -> String {
    let times = Times::of(report);
    let mut lines = targets(report, &times);
    lines.extend(probes(report, &times));
    lines.extend(guards(report, &times));
    let bottom = TOP + PHASES + lines.len() as f64 * ROW + 6.0;
    let mut out = String::new();
    open(&mut out, bottom + BOTTOM, "Timeline of the run", &[]);
    windows(&mut out, report, &times, TOP + PHASES, bottom - TOP - PHASES);
    times.draw(&mut out, TOP + PHASES, bottom);
    phases(&mut out, report, &times);
    for (i, line) in lines.iter().enumerate() {
        draw(&mut out, line, TOP + PHASES + 4.0 + i as f64 * ROW);
    }
    if let Some(stop) = &report.stop {
        let x = times.x(stop.at);
        let _ = write!(
            out,
            r#"<path class="stop" d="M{x:.1} {TOP}V{bottom:.1}"><title>{}</title></path><path class="stop-sign" d="M{:.1} {TOP}h8v8h-8z"/>"#,
            esc(&stop.why),
            x - 4.0
        );
    }
    out.push_str("</svg>");
    out
}

fn draw(out: &mut String, line: &Line, y: f64) {
    let _ = write!(
        out,
        r#"<text class="row" x="{:.1}" y="{:.1}" text-anchor="end">{}<title>{}</title></text>"#,
        LEFT - 8.0,
        y + 12.0,
        esc(&fitted(&line.label, FONT, LEFT - 8.0)),
        esc(&line.label)
    );
    let _ = write!(out, r#"<path class="base" d="M{LEFT} {0:.1}H{1:.1}"/>"#, y + 8.0, Times::end());
    for bar in &line.bars {
        let width = (bar.to - bar.from).max(2.5);
        let _ = write!(
            out,
            r#"<rect class="{}" x="{:.1}" y="{:.1}" width="{width:.1}" height="{BAR}" rx="2"><title>{}</title></rect>"#,
            bar.class,
            bar.from,
            y + 1.0,
            esc(&bar.title)
        );
    }
}

fn phases(out: &mut String, report: &Report, times: &Times) {
    for phase in &report.phases {
        let (x, width) = (times.x(phase.from), (times.x(phase.to) - times.x(phase.from)).max(0.5));
        let _ = write!(
            out,
            r#"<rect class="phase {}" x="{x:.1}" y="{TOP}" width="{width:.1}" height="20"><title>{} {} to {}</title></rect>"#,
            phase.phase,
            phase.phase,
            moment(phase.from),
            moment(phase.to)
        );
        if width > phase.phase.len() as f64 * 6.5 + 8.0 {
            let _ = write!(
                out,
                r#"<text class="phase-text" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                x + width / 2.0,
                TOP + 14.0,
                phase.phase
            );
        }
    }
    let _ = write!(out, r#"<text class="row" x="{:.1}" y="{:.1}" text-anchor="end">phases</text>"#, LEFT - 8.0, TOP + 14.0);
}

fn targets(report: &Report, times: &Times) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut more = 0;
    for injection in &report.injections {
        let (from, to) = injection.window(report.facts.duration);
        let class = if injection.in_force.is_none() { "bar failed" } else { "bar fault" };
        let to = if injection.in_force.is_none() { from } else { to };
        let title = format!("{} ({}) on {}, {} to {}", injection.step, injection.fault, injection.target, moment(from), moment(to));
        let bar = Bar { class, from: times.x(from), to: times.x(to), title };
        if let Some(index) = lines.iter().position(|line| line.label == injection.target) {
            lines[index].bars.push(bar);
        } else if lines.len() < MOST {
            lines.push(Line { label: injection.target.clone(), bars: vec![bar] });
        } else {
            more += 1;
        }
    }
    if more > 0 {
        lines.push(Line { label: format!("and {more} more"), bars: Vec::new() });
    }
    lines
}

fn probes(report: &Report, times: &Times) -> Vec<Line> {
    let judged: Vec<_> = report.probes.iter().filter(|p| !p.expectation.is_empty()).collect();
    // Those with something to see come first where not all can be shown.
    let eventful = |p: &&&crate::ProbeReport| p.samples.iter().any(|s| s.violated || s.value.is_none());
    let (busy, quiet): (Vec<_>, Vec<_>) = judged.iter().partition(eventful);
    let shown: Vec<_> = if judged.len() <= MOST { judged.clone() } else { busy.into_iter().chain(quiet).take(MOST).copied().collect() };
    let mut lines: Vec<Line> = shown
        .iter()
        .map(|probe| {
            let mut bars = runs(&probe.samples, times, "bar bad", "violated", |s| s.violated);
            bars.extend(runs(&probe.samples, times, "bar gap", "could not be measured", |s| s.value.is_none()));
            Line { label: probe.name.clone(), bars }
        })
        .collect();
    if judged.len() > shown.len() {
        lines.push(Line { label: format!("and {} more", judged.len() - shown.len()), bars: Vec::new() });
    }
    lines
}

/// Samples in a row that are so, as bars that end with the next sample that is not.
fn runs(samples: &[Point], times: &Times, class: &'static str, word: &str, is: impl Fn(&Point) -> bool) -> Vec<Bar> {
    let mut bars: Vec<Bar> = Vec::new();
    let mut open = false;
    for sample in samples {
        let x = times.x(sample.at);
        let now = is(sample);
        if let (true, Some(bar)) = (open, bars.last_mut()) {
            bar.to = x;
        }
        if now && !open && bars.last().is_none_or(|bar| x - bar.to > NEAR) {
            bars.push(Bar { class, from: x, to: x, title: format!("{word} from {}", moment(sample.at)) });
        }
        open = now;
    }
    bars
}

fn guards(report: &Report, times: &Times) -> Vec<Line> {
    let line = |guard: &crate::GuardReport| {
        let bars = guard.at.map(|at| {
            let x = times.x(at);
            Bar { class: "bar stop-bar", from: (x - 3.0).min(WIDTH - 8.0), to: x + 3.0, title: guard.why.clone().unwrap_or_default() }
        });
        Line { label: format!("⚑ {}", guard.probe), bars: bars.into_iter().collect() }
    };
    report.guards.iter().map(line).collect()
}
