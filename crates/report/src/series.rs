//! Thousands of samples in as many columns as a chart has pixels. Each column keeps its smallest and largest value and
//! whether a sample of it was violated, so nothing that matters is lost; a column is never made up where nothing was measured.

use squall_model::Value;

use crate::model::Point;

/// The samples of one column, or one sample where there are few.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) x: f64,
    pub(crate) at: u64,
    pub(crate) first: f64,
    pub(crate) last: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Smallest and largest value that violated the expectation.
    pub(crate) violated: Option<(f64, f64)>,
    pub(crate) samples: usize,
}

/// A time in which the probe could not be measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gap {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) at: u64,
    pub(crate) why: String,
    pub(crate) samples: usize,
}

/// What is drawn: pieces of line between gaps.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Series {
    pub(crate) pieces: Vec<Vec<Column>>,
    pub(crate) gaps: Vec<Gap>,
}

/// Samples in order of time; `x` gives the place of a time in pixels.
pub(crate) fn reduce(samples: &[Point], x: impl Fn(u64) -> f64) -> Series {
    let mut series = Series::default();
    let usual = usual_pause(samples);
    let mut before: Option<&Point> = None;
    for sample in samples {
        match (&sample.value, &sample.error) {
            (Some(Value::Number(n)), _) => {
                // A silence much longer than the cadence is not bridged either: nobody looked.
                let silent = before.is_some_and(|b| b.value.is_none() || sample.at.saturating_sub(b.at) > usual.saturating_mul(4));
                close_gap(&mut series, before, x(sample.at));
                push(&mut series, silent || before.is_none(), x(sample.at), sample, *n);
            }
            (Some(Value::Text(_)), _) => {}
            (None, why) => match series.gaps.last_mut() {
                Some(gap) if before.is_some_and(|b| b.value.is_none()) => {
                    gap.to = x(sample.at);
                    gap.samples += 1;
                }
                _ => series.gaps.push(Gap {
                    from: x(sample.at),
                    to: x(sample.at),
                    at: sample.at,
                    why: why.clone().unwrap_or_default(),
                    samples: 1,
                }),
            },
        }
        before = Some(sample);
    }
    series
}

fn close_gap(series: &mut Series, before: Option<&Point>, x: f64) {
    if before.is_some_and(|b| b.value.is_none())
        && let Some(gap) = series.gaps.last_mut()
    {
        gap.to = x;
    }
}

/// The middle of the times between two samples.
fn usual_pause(samples: &[Point]) -> u64 {
    let mut pauses: Vec<u64> = samples.windows(2).map(|w| w[1].at.saturating_sub(w[0].at)).collect();
    pauses.sort_unstable();
    pauses.get(pauses.len() / 2).copied().unwrap_or(u64::MAX)
}

fn push(series: &mut Series, fresh: bool, x: f64, sample: &Point, n: f64) {
    if fresh || series.pieces.is_empty() {
        series.pieces.push(Vec::new());
    }
    let Some(piece) = series.pieces.last_mut() else { return };
    let bad = sample.violated.then_some((n, n));
    // Samples of one pixel are one column.
    if let Some(column) = piece.last_mut().filter(|column| column.x.floor() >= x.floor()) {
        column.last = n;
        column.min = column.min.min(n);
        column.max = column.max.max(n);
        column.samples += 1;
        column.violated = match (column.violated, bad) {
            (Some((low, high)), Some(_)) => Some((low.min(n), high.max(n))),
            (known, new) => known.or(new),
        };
        return;
    }
    piece.push(Column { x, at: sample.at, first: n, last: n, min: n, max: n, violated: bad, samples: 1 });
}

/// A time in which a probe that answers with a text said the same.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Strip {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) at: u64,
    /// None where it could not be measured.
    pub(crate) text: Option<String>,
    pub(crate) violated: bool,
    pub(crate) samples: usize,
}

/// Runs of the same answer, each up to the next sample; `end` is where the last one ends. Runs narrower than a pixel join
/// their neighbour, which is violated if one of them was.
pub(crate) fn strips(samples: &[Point], end: f64, x: impl Fn(u64) -> f64) -> Vec<Strip> {
    let mut out: Vec<Strip> = Vec::new();
    for sample in samples {
        let at = x(sample.at);
        let text = match &sample.value {
            Some(Value::Text(text)) => Some(text.clone()),
            Some(Value::Number(n)) => Some(n.to_string()),
            None => None,
        };
        if let Some(last) = out.last_mut() {
            last.to = at;
            let same = last.text == text && last.violated == sample.violated;
            if same || (at - last.from < 1.0) {
                last.samples += 1;
                last.violated |= sample.violated;
                if !same {
                    last.text = Some("several answers".into());
                }
                continue;
            }
        }
        out.push(Strip { from: at, to: at, at: sample.at, text, violated: sample.violated, samples: 1 });
    }
    if let Some(last) = out.last_mut() {
        last.to = end.max(last.from + 1.0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: u64, value: Option<f64>, violated: bool) -> Point {
        Point { at, value: value.map(Value::Number), error: value.is_none().then(|| "timeout".into()), violated }
    }

    #[test]
    fn one_violation_among_a_hundred_thousand_samples_is_kept() {
        let samples: Vec<Point> = (0..100_000).map(|i| point(i * 1000, Some(if i == 54_321 { 9.0 } else { 1.0 }), i == 54_321)).collect();
        let series = reduce(&samples, |at| at as f64 / 1e8 * 800.0);
        assert_eq!(series.pieces.len(), 1);
        assert!(series.pieces[0].len() <= 801);
        let bad: Vec<&Column> = series.pieces[0].iter().filter(|c| c.violated.is_some()).collect();
        assert_eq!(bad.len(), 1);
        assert_eq!((bad[0].violated, bad[0].min, bad[0].max), (Some((9.0, 9.0)), 1.0, 9.0));
        assert_eq!(series.pieces[0].iter().map(|c| c.samples).sum::<usize>(), 100_000);
    }

    #[test]
    fn no_line_is_drawn_where_nothing_was_measured() {
        let samples: Vec<Point> = (0..10).map(|i| point(i, (i != 4 && i != 5).then_some(1.0), false)).collect();
        let series = reduce(&samples, |at| at as f64 * 10.0);
        assert_eq!(series.pieces.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
        assert_eq!(series.gaps.len(), 1);
        assert_eq!((series.gaps[0].from, series.gaps[0].to, series.gaps[0].samples), (40.0, 60.0, 2));
        // Nobody asked for a long time: no line either, and no gap that says somebody did.
        let samples = [point(0, Some(1.0), false), point(1, Some(1.0), false), point(2, Some(1.0), false), point(50, Some(1.0), false)];
        let series = reduce(&samples, |at| at as f64 * 10.0);
        assert_eq!((series.pieces.len(), series.gaps.len()), (2, 0));
    }

    #[test]
    fn texts_become_strips_and_a_short_violation_stays_visible() {
        let text = |at, text: &str, violated| Point { at, value: Some(Value::Text(text.into())), error: None, violated };
        let samples = [text(0, "up", false), text(10, "up", false), text(20, "down", true), text(30, "up", false)];
        let strips = strips(&samples, 40.0, |at| at as f64);
        assert_eq!(
            strips.iter().map(|s| (s.from, s.to, s.violated)).collect::<Vec<_>>(),
            [(0.0, 20.0, false), (20.0, 30.0, true), (30.0, 40.0, false)]
        );
        let narrow = super::strips(&samples, 40.0, |at| at as f64 / 100.0);
        assert!(narrow.iter().any(|s| s.violated));
    }
}
