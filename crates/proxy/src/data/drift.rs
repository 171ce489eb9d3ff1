//! `data.drift`

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Percent;

use super::json::{Edit, Kind, Node};
use super::whole::{Change, Fields, check_fields, on_json};
use crate::body::BodyFault;
use crate::stream::kind::Settings;
use crate::stream::{Body, OnBody};

/// Shifts, scales and blurs numbers: a sensor, a price, a feature of a model that drifts. A whole number stays whole, others keep
/// their number of decimals. Finds monitoring that checks shapes and never values.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drift {
    /// JSON Pointers to numbers; `*` stands for any element or member, as `/items/*/price`. Anything else there stays.
    pub fields: Vec<String>,
    /// Each value is multiplied by this first; 1 by default.
    #[serde(default = "one")]
    pub scale: f64,
    /// Then this is added; 0 by default.
    #[serde(default)]
    pub shift: f64,
    /// Then a random number from minus to plus this part of the value is added, uniformly; 0 by default, and 0.1 for ±10%.
    #[serde(default)]
    pub noise: f64,
    /// Which share of the values, decided value by value; all where it is left out.
    #[serde(default)]
    pub share: Option<Percent>,
}

fn one() -> f64 {
    1.0
}

impl Settings for Drift {
    fn check(&self) -> Result<(), String> {
        if [self.scale - one(), self.shift, self.noise].iter().all(|by| by.abs() < f64::EPSILON) {
            return Err("expected `scale`, `shift` or `noise`: without, nothing changes".into());
        }
        check_fields(&self.fields)
    }
}

impl OnBody for Drift {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_json(body, Drifting { fields: Fields::new(&self.fields, self.share, body, "data.drift"), settings: self.clone() })
    }
}

struct Drifting {
    fields: Fields,
    settings: Drift,
}

impl Change for Drifting {
    fn edits(&mut self, text: &[u8], json: &Node, edits: &mut Vec<Edit>) {
        for (found, bits) in self.fields.hit(json) {
            let was = String::from_utf8_lossy(&text[found.value.range.clone()]);
            if found.value.kind == Kind::Number
                && let Some(new) = self.settings.drifted(&was, bits)
            {
                edits.push((found.value.range.clone(), new));
            }
        }
    }
}

impl Drift {
    fn drifted(&self, was: &str, bits: u64) -> Option<String> {
        let value: f64 = was.parse().ok()?;
        let uniform = 2.0 * ((bits >> 11) as f64 / (1_u64 << 53) as f64) - 1.0;
        let moved = value.mul_add(self.scale, self.shift);
        let new = moved + moved * self.noise * uniform;
        if !new.is_finite() {
            return None;
        }
        let decimals = was.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        Some(if was.contains(['e', 'E']) { format!("{new:e}") } else { format!("{new:.decimals$}") })
    }
}
