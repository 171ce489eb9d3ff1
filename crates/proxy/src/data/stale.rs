//! `data.stale`

use jiff::SignedDuration;
use jiff::civil::DateTime;
use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::{Percent, Time};

use super::json::{Edit, Kind, Node, quoted};
use super::whole::{Change, Fields, check_fields, on_json};
use crate::body::BodyFault;
use crate::stream::kind::Settings;
use crate::stream::{Body, OnBody};

/// Moves timestamps into the past, so that data is older than it was. Finds code that never looks how old its data is.
///
/// Strings of RFC 3339 (`2026-11-21T08:15:00.250Z`, also with a space, or a date alone) keep their form: fraction and offset stay.
/// Numbers count as seconds since 1970, or as milliseconds where they are 100,000,000,000 or more.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stale {
    /// By how much: `5m`, `2h`.
    pub by: Time,
    /// JSON Pointers to timestamps; `*` stands for any element or member. All strings of RFC 3339 with a time where it is left out.
    #[serde(default)]
    pub fields: Vec<String>,
    /// Which share of the timestamps, decided one by one; all where it is left out.
    #[serde(default)]
    pub share: Option<Percent>,
}

impl Settings for Stale {
    fn check(&self) -> Result<(), String> {
        if self.fields.is_empty() { Ok(()) } else { check_fields(&self.fields) }
    }
}

impl OnBody for Stale {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        let fields = Fields::new(&self.fields, self.share, body, "data.stale");
        on_json(body, Aging { fields, everywhere: self.fields.is_empty(), by: SignedDuration::try_from(self.by.std()).ok()? })
    }
}

struct Aging {
    fields: Fields,
    everywhere: bool,
    by: SignedDuration,
}

impl Change for Aging {
    fn edits(&mut self, text: &[u8], json: &Node, edits: &mut Vec<Edit>) {
        if self.everywhere {
            json.walk(None, &mut |_, node| {
                let old = node.text(text).filter(|time| time.len() >= SECONDS).and_then(|time| earlier(&time, self.by));
                if let Some(old) = old
                    && self.fields.decide().is_some()
                {
                    edits.push((node.range.clone(), quoted(&old)));
                }
            });
            return;
        }
        for (found, _) in self.fields.hit(json) {
            let new = match found.value.kind {
                Kind::String => found.value.text(text).and_then(|time| earlier(&time, self.by)).map(|old| quoted(&old)),
                Kind::Number => earlier_number(&String::from_utf8_lossy(&text[found.value.range.clone()]), self.by),
                _ => None,
            };
            edits.extend(new.map(|new| (found.value.range.clone(), new)));
        }
    }
}

/// The length of `2026-11-21T08:15:00`, and of the date in it.
const SECONDS: usize = 19;
const DATE: usize = 10;

/// This time, so much earlier, in the same form. Its offset stays, so that the local time can be moved alone.
fn earlier(time: &str, by: SignedDuration) -> Option<String> {
    if time.len() == DATE {
        let date: jiff::civil::Date = time.parse().ok()?;
        return Some(date.at(0, 0, 0, 0).checked_sub(by).ok()?.date().to_string());
    }
    let (seconds, rest) = (time.get(..SECONDS)?, time.get(SECONDS..)?);
    let separator = *seconds.as_bytes().get(DATE)?;
    let plain = rest.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'Z' | b'z' | b'+' | b'-' | b':'));
    if !matches!(separator, b'T' | b't' | b' ') || !plain {
        return None;
    }
    let moved = seconds.parse::<DateTime>().ok()?.checked_sub(by).ok()?;
    let moved = moved.strftime("%Y-%m-%d %H:%M:%S").to_string().replace(' ', &char::from(separator).to_string());
    Some(moved + rest)
}

fn earlier_number(number: &str, by: SignedDuration) -> Option<String> {
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, fraction)| (whole, Some(fraction)));
    let value: i64 = whole.parse().ok()?;
    let unit = if value.unsigned_abs() >= 100_000_000_000 { by.as_millis() } else { i128::from(by.as_secs()) };
    let moved = value.checked_sub(i64::try_from(unit).ok()?)?;
    Some(fraction.map_or_else(|| moved.to_string(), |fraction| format!("{moved}.{fraction}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_keeps_its_form() {
        let day = SignedDuration::from_hours(24);
        for (time, old) in [
            ("2026-03-01T00:00:00Z", "2026-02-28T00:00:00Z"),
            ("2024-03-01 12:00:01.250+02:00", "2024-02-29 12:00:01.250+02:00"),
            ("2026-01-01", "2025-12-31"),
            ("2026-01-01t00:00:00.000001", "2025-12-31t00:00:00.000001"),
        ] {
            assert_eq!(earlier(time, day).as_deref(), Some(old));
        }
        for text in ["", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00 or so", "not a time at all, but long", "päätösten päivä on tä"]
        {
            assert_eq!(earlier(text, day), None, "{text}");
        }
        assert_eq!(earlier_number("1763712900", day).as_deref(), Some("1763626500"));
        assert_eq!(earlier_number("1763712900123", day).as_deref(), Some("1763626500123"));
        assert_eq!(earlier_number("1763712900.5", day).as_deref(), Some("1763626500.5"));
    }
}
