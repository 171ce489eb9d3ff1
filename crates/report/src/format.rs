//! Values and times in few characters, the same in every format.

use squall_model::{Dimension, Value};

/// A value as short as it can be read, with its unit: `412ms`, `1.23%`, `64MiB`.
pub fn value(value: &Value, dimension: Dimension) -> String {
    match value {
        Value::Text(text) => clip(text.trim(), 48),
        Value::Number(number) => self::number(*number, dimension),
    }
}

/// A number in its dimension's base unit, with its unit.
pub fn number(number: f64, dimension: Dimension) -> String {
    match dimension {
        Dimension::Time => seconds(number),
        Dimension::Ratio => format!("{}%", trim(number * 100.0)),
        Dimension::Rate => format!("{}/s", trim(number)),
        Dimension::Bytes => bytes(number),
        Dimension::Number | Dimension::Text => trim(number),
    }
}

/// Three digits that count, and no more.
fn trim(number: f64) -> String {
    let text = match number.abs() {
        n if n >= 100.0 || n.fract() == 0.0 => format!("{number:.0}"),
        n if n >= 10.0 => format!("{number:.1}"),
        n if n >= 0.1 => format!("{number:.2}"),
        n if n >= 1e-4 => format!("{number:.4}"),
        _ => format!("{number:.2e}"),
    };
    if text.contains('.') && !text.contains('e') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn seconds(seconds: f64) -> String {
    match seconds.abs() {
        0.0 => "0s".into(),
        s if s < 1e-3 => format!("{}µs", trim(seconds * 1e6)),
        s if s < 0.9995 => format!("{}ms", trim(seconds * 1e3)),
        s if s < 120.0 => format!("{}s", trim(seconds)),
        s if s < 7200.0 => format!("{}min", trim(seconds / 60.0)),
        _ => format!("{}h", trim(seconds / 3600.0)),
    }
}

fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = bytes;
    for (i, unit) in UNITS.iter().enumerate() {
        if scaled.abs() < 1024.0 || i == UNITS.len() - 1 {
            return format!("{}{unit}", trim(scaled));
        }
        scaled /= 1024.0;
    }
    trim(bytes)
}

/// A length of time in microseconds for people: `240ms`, `3.2s`, `1m05s`, `2h02m`.
pub fn span(micros: u64) -> String {
    match micros {
        0 => "0ms".into(),
        1..1000 => format!("{micros}µs"),
        1000..999_500 => format!("{}ms", (micros + 500) / 1000),
        999_500..59_950_000 => moment(micros),
        _ => {
            let seconds = (micros + 500_000) / 1_000_000;
            if seconds < 3600 {
                format!("{}m{:02}s", seconds / 60, seconds % 60)
            } else {
                format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60)
            }
        }
    }
}

/// A moment of a run, in microseconds since its start: `0.2s`, `83.1s`, `1h02m03s`.
pub fn moment(micros: u64) -> String {
    let tenths = (micros + 50_000) / 100_000;
    let seconds = tenths / 10;
    if seconds < 3600 {
        format!("{seconds}.{}s", tenths % 10)
    } else {
        format!("{}h{:02}m{:02}s", seconds / 3600, seconds % 3600 / 60, seconds % 60)
    }
}

/// At most so many characters, the last of them `…` where something is missing.
pub fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

/// On one line and without control characters, which could do anything to a terminal: what is shown may come from the
/// tested system.
pub fn clean(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

/// `1 sample`, `3 samples`.
pub fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// Some of a list as a sentence has it: `a, b and c`, or `a, b and 5 more`.
pub fn list(words: &[String], most: usize) -> String {
    let shown = if words.len() > most { &words[..most.saturating_sub(1).max(1)] } else { words };
    let rest = words.len() - shown.len();
    match (shown, rest) {
        ([], _) => String::new(),
        (_, 1..) => format!("{} and {rest} more", shown.join(", ")),
        ([one], 0) => one.clone(),
        ([first @ .., last], 0) => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_carry_their_unit() {
        let cases = [
            (0.412_34, Dimension::Time, "412ms"),
            (1.204, Dimension::Time, "1.2s"),
            (0.0, Dimension::Time, "0s"),
            (0.999_9, Dimension::Time, "1s"),
            (300.0, Dimension::Time, "5min"),
            (0.0123, Dimension::Ratio, "1.23%"),
            (1e-9, Dimension::Number, "1.00e-9"),
            (12_345_678.0, Dimension::Bytes, "11.8MiB"),
            (99.84, Dimension::Rate, "99.8/s"),
        ];
        for (n, dimension, shown) in cases {
            assert_eq!(number(n, dimension), shown);
        }
    }

    #[test]
    fn what_the_tested_system_says_cannot_command_a_terminal() {
        assert_eq!(clean("ok\x1b[2J\n"), "ok·[2J");
    }

    #[test]
    fn lists_are_sentences() {
        let words = |n: usize| (1..=n).map(|i| format!("p{i}")).collect::<Vec<_>>();
        assert_eq!(list(&words(1), 3), "p1");
        assert_eq!(list(&words(3), 3), "p1, p2 and p3");
        assert_eq!(list(&words(9), 3), "p1, p2 and 7 more");
    }

    #[test]
    fn spans_are_read_at_a_glance() {
        for (micros, shown) in [
            (0, "0ms"),
            (900, "900µs"),
            (240_000, "240ms"),
            (3_290_000, "3.3s"),
            (5_982_000, "6.0s"),
            (59_990_000, "1m00s"),
            (65_000_000, "1m05s"),
            (7_320_000_000, "2h02m"),
        ] {
            assert_eq!(span(micros), shown);
        }
    }
}
