//! What happens to packets, as numbers: the same whichever mechanism carries it. The models are netem's (`tc-netem(8)`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything that is done to the packets of one injection. What is `None` is not done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shape {
    /// Held back.
    pub delay: Option<Delay>,
    /// Thrown away.
    pub loss: Option<Loss>,
    /// Sent twice.
    pub duplicate: Option<Share>,
    /// One bit of the packet flipped, at a random place after the network header.
    pub corrupt: Option<Share>,
    /// Sent at once, past those that are held back.
    pub reorder: Option<Reorder>,
    /// So much at the most.
    pub rate: Option<Rate>,
    /// How many packets may be held at once. More are dropped, and counted.
    pub limit: u32,
    /// Draws all that is random.
    pub seed: u64,
}

/// How long packets are held back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delay {
    /// Of every packet.
    pub base: Duration,
    /// Around it: the half-width of a uniform distribution, the standard deviation of the others.
    pub jitter: Duration,
    /// How much a delay is like that of the packet before, 0 to 1.
    pub correlation: f64,
    /// Of the jitter.
    pub distribution: Distribution,
}

/// A distribution of the jitter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Distribution {
    /// Anything between `base - jitter` and `base + jitter` alike.
    #[default]
    Uniform,
    /// Gauss.
    Normal,
    /// A long tail.
    Pareto,
    /// A quarter normal, three quarters Pareto.
    ParetoNormal,
    /// The user's own: its inverse cumulative distribution at equal steps, in units of the jitter times 8192 (the form of
    /// `tc`'s `*.dist` files).
    Table(Vec<i16>),
}

/// Which packets are lost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Loss {
    /// Each with the same probability.
    Random(Share),
    /// In bursts: a chain of two states, good and bad (Gilbert 1960, Elliott 1963; netem's `loss gemodel`).
    GilbertElliott {
        /// Probability to go from good to bad, at each packet.
        p: f64,
        /// Probability to go from bad to good, at each packet.
        r: f64,
        /// Probability to be lost in the bad state (netem's `1-h`).
        bad: f64,
        /// Probability to be lost in the good state (netem's `1-k`).
        good: f64,
    },
}

/// A share of packets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Share {
    /// 0 to 1.
    pub probability: f64,
    /// How much the draw is like the one before, 0 to 1.
    pub correlation: f64,
}

/// Which packets overtake others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reorder {
    /// Those that are sent at once.
    pub share: Share,
    /// Only every so manyth packet is a candidate; 1 is each.
    pub gap: u32,
}

/// A limit of the rate: a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rate {
    /// Bytes a second, network headers included.
    pub bytes_per_second: u64,
    /// Bytes that may pass at once after a pause.
    pub burst: u64,
}
