//! Draws the live view into whatever room there is.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use squall_engine::{Judgement, Phase};
use squall_model::Verdict;

use super::Mark;
use super::format::{clip, span};
use super::view::{FaultRow, GuardRow, Level, LiveView, ProbeRow};

/// Below this many columns only the phase that goes on is named.
const NARROW: usize = 60;

/// Draws, with or without colours.
pub fn draw(frame: &mut Frame<'_>, view: &LiveView, colour: bool) {
    let area = frame.area();
    let lines = Pen { colour, width: usize::from(area.width) }.lines(view, usize::from(area.height));
    for (row, line) in (area.y..area.bottom()).zip(lines) {
        frame.render_widget(Paragraph::new(line), Rect { y: row, height: 1, ..area });
    }
}

/// How many lines the view can use, given that many steps that are faults.
pub const fn wanted(probes: usize, guards: usize, faults: usize) -> usize {
    // Title, phases, keys; and at least one line for faults.
    3 + probes + guards + if faults == 0 { 1 } else { faults }
}

/// The style of a line of the story.
pub const fn mark(mark: Mark, colour: bool) -> Style {
    let style = Style::new();
    match mark {
        _ if !colour => style,
        Mark::Step => style.add_modifier(Modifier::DIM),
        Mark::Fault => style.fg(Color::Magenta),
        Mark::Good => style.fg(Color::Green),
        Mark::Bad => style.fg(Color::Red),
        Mark::Unsure => style.fg(Color::Yellow),
    }
}

struct Pen {
    colour: bool,
    width: usize,
}

impl Pen {
    fn paint(&self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    fn dim(&self) -> Style {
        if self.colour { Style::new().add_modifier(Modifier::DIM) } else { Style::new() }
    }

    fn judgement(&self, judgement: Option<Judgement>) -> (&'static str, Style) {
        match judgement {
            Some(Judgement::Ok) => ("✓", self.paint(Color::Green)),
            Some(Judgement::Violated) => ("✗", self.paint(Color::Red)),
            Some(Judgement::Unmeasured) => ("?", self.paint(Color::Yellow)),
            None => ("·", self.dim()),
        }
    }

    /// The lines, most important first where there is too little room: phase, faults, probes, guards, keys.
    fn lines(&self, view: &LiveView, height: usize) -> Vec<Line<'static>> {
        let mut room = height;
        let mut take = |wanted: usize, reserve: usize| {
            let given = wanted.min(room.saturating_sub(reserve));
            room -= given;
            given
        };
        let phase = take(1, 0);
        let faults = take(view.faults.len(), usize::from(!view.probes.is_empty()));
        let title = take(1, usize::from(!view.probes.is_empty()));
        let keys = take(1, view.probes.len().min(1));
        let probes = take(view.probes.len(), 0);
        let guards = take(view.guards.len(), 0);
        let columns = Columns::fit(self.width, &view.probes);
        let mut lines = Vec::with_capacity(height);
        lines.extend((title > 0).then(|| self.title(view)));
        lines.extend((phase > 0).then(|| self.phases(view)));
        lines.extend(view.probes.iter().take(probes).map(|row| self.probe(row, &columns)));
        lines.extend(view.faults.iter().take(faults).map(|row| self.fault(row)));
        lines.extend(view.guards.iter().take(guards).map(|row| self.guard(row)));
        lines.extend((keys > 0).then(|| self.keys(view)));
        lines
    }

    fn title(&self, view: &LiveView) -> Line<'static> {
        let run = if view.run.is_empty() { String::new() } else { format!("  run {}", view.run) };
        let name = clip(&view.experiment, self.width.saturating_sub(1));
        let bold = Style::new().add_modifier(Modifier::BOLD);
        Line::from(vec![Span::styled(name, bold), Span::styled(run, self.dim())])
    }

    fn phases(&self, view: &LiveView) -> Line<'static> {
        if let Some((verdict, _)) = &view.verdict {
            let style = match verdict {
                Verdict::Held => self.paint(Color::Green),
                Verdict::Deviated | Verdict::Failed => self.paint(Color::Red),
                Verdict::Unsteady | Verdict::Aborted | Verdict::Inconclusive => self.paint(Color::Yellow),
            };
            return Line::from(vec![Span::raw("verdict: "), Span::styled(verdict.name(), style.add_modifier(Modifier::BOLD))]);
        }
        let (spent, length) = view.progress;
        let time = length.map_or_else(|| span(spent), |length| format!("{} of {}", span(spent), span(length)));
        let now = Span::styled(format!("● {} {time}", view.phase.name()), self.paint(Color::Cyan).add_modifier(Modifier::BOLD));
        if self.width < NARROW {
            return Line::from(now);
        }
        let mut spans = Vec::new();
        for phase in Phase::ALL {
            if !spans.is_empty() {
                spans.push(Span::raw(if self.width < 90 { " " } else { "  " }));
            }
            spans.push(if phase == view.phase {
                now.clone()
            } else if view.passed.contains(&phase) {
                Span::styled(format!("✓ {}", phase.name()), self.paint(Color::Green))
            } else {
                Span::styled(format!("· {}", phase.name()), self.dim())
            });
        }
        Line::from(spans)
    }

    fn probe(&self, row: &ProbeRow, columns: &Columns) -> Line<'static> {
        let (sign, style) = if row.judged { self.judgement(row.judgement) } else { ("·", self.dim()) };
        let mut spans = vec![Span::styled(format!("{sign} "), style), Span::raw(pad(&row.name, columns.name)), Span::raw(" ")];
        let value_style = if row.judged && row.judgement != Some(Judgement::Ok) { style } else { Style::new() };
        spans.push(Span::styled(pad(&row.value, columns.value), value_style));
        if columns.expectation > 0 {
            spans.push(Span::styled(format!(" {}", pad(&row.expectation, columns.expectation)), self.dim()));
        }
        if columns.spark > 0 {
            spans.push(Span::raw(" "));
            spans.extend(self.spark(row, columns.spark));
        }
        Line::from(spans)
    }

    /// The last values as bars; the scale begins at zero and holds the thresholds.
    fn spark(&self, row: &ProbeRow, width: usize) -> Vec<Span<'static>> {
        const BARS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
        let recent = &row.recent[row.recent.len().saturating_sub(width)..];
        let numbers = recent.iter().filter_map(|(number, _)| *number);
        let top = numbers.chain(row.thresholds.iter().copied()).fold(0.0_f64, |top, n| top.max(n.abs()));
        let bars = recent.iter().map(|(number, judgement)| {
            let bar = match number {
                None if *judgement == Judgement::Unmeasured => "?",
                // A text: there is nothing to draw but whether it was right.
                None if *judgement == Judgement::Violated => "✗",
                None => "·",
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the number of bars")]
                Some(number) => BARS[((number.abs() / top.max(f64::MIN_POSITIVE) * 7.0).round().clamp(0.0, 7.0)) as usize],
            };
            let style = if row.judged { self.judgement(Some(*judgement)).1 } else { self.dim() };
            Span::styled(bar, style)
        });
        bars.collect()
    }

    fn fault(&self, row: &FaultRow) -> Line<'static> {
        let (sign, style) = match row.verified {
            Some(true) => ("⚡ ", self.paint(Color::Magenta)),
            Some(false) => ("✗  ", self.paint(Color::Red)),
            None => ("…  ", self.paint(Color::Magenta)),
        };
        let time = row.left.map_or_else(
            || row.condition.to_owned(),
            |(left, whole)| {
                let cells = if self.width < NARROW { 0 } else { 12 };
                format!("{}{} left", bar(left.as_secs_f64() / whole.as_secs_f64().max(1e-9), cells), span(left))
            },
        );
        let room = self.width.saturating_sub(time.chars().count() + 5);
        Line::from(vec![
            Span::styled(sign, style),
            Span::raw(clip(&format!("{} → {}", row.name, row.target), room)),
            Span::raw("  "),
            Span::styled(time, style),
        ])
    }

    fn guard(&self, row: &GuardRow) -> Line<'static> {
        let (sign, style) = match row.level {
            Level::Quiet => ("◇", self.dim()),
            Level::Near => ("◈", self.paint(Color::Yellow)),
            Level::Tripped => ("◆", self.paint(Color::Red)),
        };
        let words = if self.width < NARROW { "" } else { row.words };
        let room = self.width.saturating_sub(row.condition.chars().count() + words.len() + 4);
        let text = format!("{sign} {words}{}", clip(&row.text, room));
        Line::from(vec![Span::styled(text, style), Span::styled(format!("  {}", row.condition), style)])
    }

    fn keys(&self, view: &LiveView) -> Line<'static> {
        // The reason is the next line that is printed below the view.
        if view.verdict.is_some() {
            return Line::default();
        }
        if let Some(message) = &view.suspended
            && !view.stopping
        {
            let text = clip(&format!("? {message}"), self.width.saturating_sub(25));
            return Line::from(vec![
                Span::styled(text, self.paint(Color::Yellow).add_modifier(Modifier::BOLD)),
                Span::styled("  c continue   s stop", self.dim()),
            ]);
        }
        let text = if view.stopping {
            "stopping; Ctrl-C again leaves, and the watchdog finishes"
        } else {
            "s or Ctrl-C: stop and put everything back"
        };
        Line::styled(clip(text, self.width), self.dim())
    }
}

/// A bar of so many cells, and a space.
fn bar(share: f64, cells: usize) -> String {
    if cells == 0 {
        return String::new();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the number of cells")]
    let full = (share.clamp(0.0, 1.0) * cells as f64).round() as usize;
    format!("{}{} ", "█".repeat(full), "░".repeat(cells - full))
}

fn pad(text: &str, width: usize) -> String {
    let clipped = clip(text, width);
    let missing = width.saturating_sub(clipped.chars().count());
    clipped + &" ".repeat(missing)
}

/// Widths of the columns of the probes' table.
struct Columns {
    name: usize,
    value: usize,
    expectation: usize,
    spark: usize,
}

impl Columns {
    /// Name and value always; the sparkline next; what is expected where there is room for both.
    fn fit(width: usize, probes: &[ProbeRow]) -> Self {
        let longest = |text: fn(&ProbeRow) -> &str| probes.iter().map(|p| text(p).chars().count()).max().unwrap_or(0);
        let value = longest(|p| &p.value).clamp(6, if width < 90 { 12 } else { 24 }).min(width / 3);
        let name = longest(|p| &p.name).min((width / 3).max(8)).min(width.saturating_sub(value + 4));
        let rest = width.saturating_sub(2 + name + 1 + value);
        let expectation = longest(|p| &p.expectation).min(20);
        let expectation = if rest >= expectation + 1 + 12 { expectation } else { 0 };
        let spark = rest.saturating_sub(if expectation > 0 { expectation + 1 } else { 0 } + 1);
        Self { name, value, expectation, spark: if spark < 4 { 0 } else { spark.min(60) } }
    }
}

#[cfg(test)]
mod tests;
