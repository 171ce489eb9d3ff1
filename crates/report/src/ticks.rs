//! Axes with round numbers, after Heckbert ("Nice numbers for graph labels", Graphics Gems, 1990): a step is 1, 2 or 5 times
//! a power of ten of the unit that is shown; times of day and amounts of data have their own steps.

use squall_model::Dimension;

/// An axis from `min` to `max` in base units.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Its lower end.
    pub min: f64,
    /// Its upper end.
    pub max: f64,
    /// Where the ticks are, and what stands beside them.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Where a value stands: 0 at the lower end, 1 at the upper.
    pub fn share(&self, value: f64) -> f64 {
        ((value - self.min) / (self.max - self.min)).clamp(0.0, 1.0)
    }
}

/// An axis for values from `low` to `high`, with about `count` ticks. It starts from zero, so that heights compare, unless the
/// values are plain numbers far from zero that differ by little.
pub fn values(low: f64, high: f64, dimension: Dimension, count: usize) -> Axis {
    let (low, high) = if low.is_finite() && high.is_finite() && low <= high { (low, high) } else { (0.0, 1.0) };
    let far = dimension == Dimension::Number && low > 0.0 && high - low < 0.05 * high && high > low;
    let low = if far || low < 0.0 { low } else { 0.0 };
    let high = if high > low { high } else { low + if low == 0.0 { 1.0 } else { low.abs() } };
    let (factor, unit) = unit(high.abs().max(low.abs()), dimension);
    let step = if dimension == Dimension::Bytes && factor > 1.0 {
        binary_step((high - low) / factor, count)
    } else {
        step((high - low) / factor, count)
    };
    let (first, last) = ((low / factor / step).floor(), (high / factor / step).ceil());
    let decimals = if step >= 1.0 { 0 } else { decimals(step) };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count of ticks")]
    let steps = (last - first).clamp(1.0, 100.0) as usize;
    let ticks = (0..=steps)
        .map(|i| {
            let shown = (first + i as f64) * step;
            // Rounded away from -0.
            (shown * factor, format!("{:.decimals$}{unit}", shown + 0.0))
        })
        .collect();
    Axis { min: first * step * factor, max: (first + steps as f64) * step * factor, ticks }
}

/// An axis of elapsed time from 0 to `end` microseconds, in microseconds.
pub fn elapsed(end: u64, count: usize) -> Axis {
    const STEPS: [f64; 15] = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0];
    let seconds = (end as f64 / 1e6).max(1e-3);
    let wanted = seconds / count as f64;
    let step = if wanted < 1.0 {
        step(seconds, count)
    } else {
        STEPS.into_iter().find(|s| *s >= wanted).unwrap_or_else(|| (wanted / 86_400.0).ceil() * 86_400.0)
    };
    let mut ticks = Vec::new();
    let mut i = 0_u32;
    while f64::from(i) * step <= seconds * 1.000_001 && i < 200 {
        let at = f64::from(i) * step;
        ticks.push((at * 1e6, moment(at, step, seconds)));
        i += 1;
    }
    Axis { min: 0.0, max: seconds * 1e6, ticks }
}

fn moment(at: f64, step: f64, end: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a run")]
    let whole = at.round() as u64;
    if step < 1.0 {
        format!("{at:.*}s", decimals(step))
    } else if end < 120.0 {
        format!("{whole}s")
    } else if end < 7200.0 {
        format!("{}:{:02}", whole / 60, whole % 60)
    } else {
        format!("{}h{:02}", whole / 3600, whole % 3600 / 60)
    }
}

fn unit(most: f64, dimension: Dimension) -> (f64, &'static str) {
    match dimension {
        Dimension::Time => match most {
            m if m <= 1e-3 => (1e-6, "µs"),
            m if m <= 1.0 => (1e-3, "ms"),
            m if m <= 120.0 => (1.0, "s"),
            m if m <= 7200.0 => (60.0, "min"),
            _ => (3600.0, "h"),
        },
        Dimension::Ratio => (0.01, "%"),
        Dimension::Rate => (1.0, "/s"),
        Dimension::Bytes => match most {
            m if m < 1024.0 => (1.0, "B"),
            m if m < 1_048_576.0 => (1024.0, "KiB"),
            m if m < 1_073_741_824.0 => (1_048_576.0, "MiB"),
            m if m < 1_099_511_627_776.0 => (1_073_741_824.0, "GiB"),
            _ => (1_099_511_627_776.0, "TiB"),
        },
        Dimension::Number | Dimension::Text => match most {
            m if m >= 1e9 => (1e9, "G"),
            m if m >= 1e6 => (1e6, "M"),
            m if m >= 1e4 => (1e3, "k"),
            _ => (1.0, ""),
        },
    }
}

/// The smallest of 1, 2, 5 times a power of ten that gives at most `count` steps.
fn step(range: f64, count: usize) -> f64 {
    let rough = (range / count as f64).max(1e-12);
    let power = 10_f64.powf(rough.log10().floor());
    let nice = [1.0, 2.0, 5.0, 10.0].into_iter().find(|n| n * power >= rough * 0.999_999).unwrap_or(10.0);
    nice * power
}

/// The same with powers of two, as memory goes.
fn binary_step(range: f64, count: usize) -> f64 {
    2_f64.powf((range / count as f64).max(1e-9).log2().ceil())
}

#[expect(clippy::cast_sign_loss, reason = "a handful of decimals")]
fn decimals(step: f64) -> usize {
    (0..9)
        .find(|d| {
            let scaled = step * 10_f64.powi(*d);
            (scaled - scaled.round()).abs() < 1e-6
        })
        .unwrap_or(9) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_in_the_unit_that_is_shown() {
        assert_eq!(labels(&values(0.1, 0.47, Dimension::Time, 5)), ["0ms", "100ms", "200ms", "300ms", "400ms", "500ms"]);
        assert_eq!(labels(&values(0.0, 0.013, Dimension::Ratio, 4)), ["0.0%", "0.5%", "1.0%", "1.5%"]);
        assert_eq!(labels(&values(0.0, 300.0 * 1_048_576.0, Dimension::Bytes, 4)), ["0MiB", "128MiB", "256MiB", "384MiB"]);
        assert_eq!(labels(&values(0.0, 1.0, Dimension::Number, 4)), ["0.0", "0.5", "1.0"]);
    }

    #[test]
    fn every_value_is_within_its_axis() {
        for (low, high) in [(0.0, 0.0), (5.0, 5.0), (-3.0, 7.0), (1e-9, 2e-9), (1e15, 1.01e15), (f64::NAN, 1.0), (999.0, 1001.0)] {
            for dimension in [Dimension::Number, Dimension::Time, Dimension::Bytes, Dimension::Ratio, Dimension::Rate] {
                let axis = values(low, high, dimension, 4);
                assert!(axis.max > axis.min && axis.ticks.len() >= 2 && axis.ticks.len() < 20, "{low} {high} {axis:?}");
                if low.is_finite() {
                    assert!(axis.min <= low && axis.max >= high, "{low} {high} {axis:?}");
                }
            }
        }
    }

    #[test]
    fn elapsed_time_is_told_in_the_way_of_clocks() {
        assert_eq!(labels(&elapsed(45_000_000, 6)), ["0s", "10s", "20s", "30s", "40s"]);
        assert_eq!(labels(&elapsed(200_000_000, 5)), ["0:00", "1:00", "2:00", "3:00"]);
        assert_eq!(labels(&elapsed(400_000, 4)), ["0.0s", "0.1s", "0.2s", "0.3s", "0.4s"]);
    }
}
