//! `network.bandwidth`: so much and no more passes.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, Meta, Undone};

use squall_model::Bytes;

use super::carried::{NetworkUndo, Wish};
use super::holding::limit;
use super::job::{Action, Mechanism};
use super::rate::NetworkRate;
use super::scope::{Direction, Scope};
use super::shape::{Rate, Shape};
use crate::carried::{Carried, Wanted};

/// Narrows the line.
pub type Bandwidth = Carried<BandwidthArgs>;

/// How much.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BandwidthArgs {
    /// What passes, network headers (IP and above) included: `1Mbit/s`, `500kbit/s`, `10MB/s`.
    pub rate: NetworkRate,
    /// What may pass at once after a pause. By default what the rate gives in 10 ms, and two full packets at the least.
    #[serde(default)]
    pub burst: Option<Bytes>,
    /// How many packets may wait. More are dropped, as a full router does: TCP finds its rate by that. By default a second of
    /// the rate.
    #[serde(default)]
    pub limit: Option<u32>,
    /// Which of the target's traffic.
    #[serde(default)]
    pub scope: Scope,
    /// By what it is carried.
    #[serde(default)]
    pub mechanism: Mechanism,
}

/// Bytes of a full packet on Ethernet.
const LARGEST: u64 = 1514;

impl Wanted for BandwidthArgs {
    type Undo = NetworkUndo;
    type Wish<'a> = Wish<'a>;

    const META: Meta = Meta {
        name: "network.bandwidth",
        family: "network",
        summary: "Narrows the line to a rate",
        example: "\
fault: network.bandwidth
target: { process: { name: payments } }
with: { rate: 1Mbit/s, scope: { peers: [10.0.0.0/8] } }
for: 30s
",
        targets: &super::TARGETS,
        needs: &["nf-tables", "nfqueue"],
        undone: Undone::Depends,
        lasting: true,
    };

    fn check(&self) -> Vec<ArgError> {
        let mut errors = self.scope.check();
        let error = |name: &str, message: &str, hint: &str| ArgError::field(name, message, Some(hint.to_owned()));
        if self.rate.0 < 100 {
            errors.push(error(
                "rate",
                "less than 800 bit/s passes nothing",
                "write a rate such as `1Mbit/s`; `network.partition` cuts the line",
            ));
        }
        if self.burst.is_some_and(|burst| burst.0 < LARGEST) {
            errors.push(error("burst", "no full packet would ever pass", "write 1514B or more"));
        }
        if self.limit == Some(0) {
            errors.push(error("limit", "no packet could wait", "leave it out, or write a number of packets"));
        }
        errors
    }

    fn wish(&self, seed: u64) -> Wish<'_> {
        let bytes_per_second = self.rate.0;
        let burst = self.burst.map_or_else(|| (bytes_per_second / 100).max(2 * LARGEST), |b| b.0);
        let rate = Rate { bytes_per_second, burst };
        let limit = self.limit.unwrap_or_else(|| limit(std::time::Duration::ZERO, Some(rate)));
        let shape = Shape { rate: Some(rate), limit, seed, ..Shape::default() };
        let action = Action::Shape { shape: Box::new(shape) };
        Wish { scope: &self.scope, usually: Direction::Out, action, mechanism: self.mechanism }
    }
}
