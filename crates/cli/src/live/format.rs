//! Values and times in few characters.

use std::time::Duration;

use squall_model::{Bytes, Dimension, Value};

/// A value as short as it can be read.
pub fn value(value: &Value, dimension: Dimension) -> String {
    match value {
        Value::Text(text) => clip(&clean(text), 24),
        Value::Number(number) => match dimension {
            Dimension::Time => seconds(*number),
            Dimension::Ratio => format!("{}%", trim(number * 100.0)),
            Dimension::Rate => format!("{}/s", trim(*number)),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for display; saturation at the ends is right")]
            Dimension::Bytes => {
                let bytes = *number as u64;
                // Three digits are enough to read: 12345678 bytes are 11.8 MiB.
                let step = [1 << 30, 1 << 20, 1 << 10].into_iter().find(|unit| bytes >= *unit).map_or(1, |unit| unit / 8);
                Bytes(bytes / step * step).to_string()
            }
            Dimension::Number | Dimension::Text => trim(*number),
        },
    }
}

/// Up to three digits that count.
fn trim(number: f64) -> String {
    let text = match number.abs() {
        n if n >= 100.0 || n.fract() == 0.0 => format!("{number:.0}"),
        n if n >= 10.0 => format!("{number:.1}"),
        n if n >= 0.1 => format!("{number:.2}"),
        _ => format!("{number:.4}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A time in seconds with the unit that fits.
pub fn seconds(seconds: f64) -> String {
    if seconds < 1e-3 {
        format!("{}us", trim(seconds * 1e6))
    } else if seconds < 1.0 {
        format!("{}ms", trim(seconds * 1e3))
    } else if seconds < 120.0 {
        format!("{}s", trim(seconds))
    } else {
        format!("{}min", trim(seconds / 60.0))
    }
}

/// A time span for people: `3.2s`, `1m05s`.
pub fn span(time: Duration) -> String {
    let tenths = time.as_millis() / 100;
    match time.as_secs() {
        0..60 => format!("{}.{}s", tenths / 10, tenths % 10),
        60..3600 => format!("{}m{:02}s", time.as_secs() / 60, time.as_secs() % 60),
        seconds => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// On one line, and without control characters, which could do anything to a terminal: what is shown may come from the
/// tested system.
pub fn clean(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

/// At most so many characters, the last of them `…` where something is missing.
pub fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(std::iter::once('…')).take(width).collect()
}

/// Breaks a text into lines of at most `width` characters, at spaces where it can; all but the first are indented.
pub fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let indent = if width >= indent * 3 { indent } else { 0 };
    let mut lines: Vec<String> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() || lines.is_empty() {
        let start = if lines.is_empty() { 0 } else { indent };
        let room = width.saturating_sub(start).max(1);
        let end = rest.char_indices().nth(room).map_or(rest.len(), |(at, _)| at);
        let cut = if end == rest.len() { end } else { rest[..end].rfind(' ').filter(|at| *at > room / 2).unwrap_or(end) };
        lines.push(format!("{}{}", " ".repeat(start), rest[..cut].trim_end()));
        rest = rest[cut..].trim_start();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_are_indented() {
        assert_eq!(wrap("  1.0s  payments hangs: in force", 20, 4), ["  1.0s  payments", "    hangs: in force"]);
        assert_eq!(wrap("abcdefgh", 3, 4), ["abc", "def", "gh"]);
        assert_eq!(wrap("", 3, 4), [""]);
    }

    #[test]
    fn values_are_short_and_carry_their_unit() {
        let number = |n, dimension| value(&Value::Number(n), dimension);
        assert_eq!(number(0.412_34, Dimension::Time), "412ms");
        assert_eq!(number(1.204, Dimension::Time), "1.2s");
        assert_eq!(number(0.0123, Dimension::Ratio), "1.23%");
        assert_eq!(number(99.8, Dimension::Rate), "99.8/s");
        assert_eq!(number(12_345_678.0, Dimension::Bytes), "11.75MiB");
        assert_eq!(number(200.0, Dimension::Number), "200");
        assert_eq!(number(0.0, Dimension::Ratio), "0%");
    }

    #[test]
    fn what_the_tested_system_says_cannot_command_the_terminal() {
        assert_eq!(value(&Value::Text("ok\x1b[2J".into()), Dimension::Text), "ok·[2J");
        assert_eq!(clean(" one\n  two\t"), "one two");
        assert_eq!(clip("abcdef", 4), "abc…");
    }

    #[test]
    fn spans_are_read_at_a_glance() {
        assert_eq!(span(Duration::from_millis(3290)), "3.2s");
        assert_eq!(span(Duration::from_secs(65)), "1m05s");
        assert_eq!(span(Duration::from_mins(122)), "2h02m");
    }
}
