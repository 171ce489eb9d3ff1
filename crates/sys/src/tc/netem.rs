//! `netem`: delay, loss, duplication, corruption, reordering and rate (`tc-netem(8)`, `net/sched/sch_netem.c`).

use std::time::Duration;

use crate::netlink::Message;

use super::qdisc::OPTIONS;
use super::rate::{large, ticks};

/// `TCA_NETEM_*`.
const CORRELATIONS: u16 = 1;
const DISTRIBUTION: u16 = 2;
const REORDER: u16 = 3;
const CORRUPT: u16 = 4;
const LOSS: u16 = 5;
const RATE: u16 = 6;
const RATE64: u16 = 8;
const LATENCY64: u16 = 10;
const JITTER64: u16 = 11;
const SEED: u16 = 14;
/// `NETEM_LOSS_GI`, `NETEM_LOSS_GE`.
const STATES: u16 = 1;
const GILBERT_ELLIOTT: u16 = 2;
/// `NETEM_DIST_MAX`: the longest table.
const LONGEST_TABLE: usize = 16 * 1024;

/// All that netem does. What is left at its default is not done.
///
/// It differs from what `tc` sends in two places: a time that ticks of 64 ns cannot say exactly is sent in nanoseconds too
/// (`TCA_NETEM_LATENCY64`, Linux 4.16), where `tc` cuts it off; and the correlations are sent where one of them is not 0, where
/// `tc` forgets a correlation of duplication and sends zeros for one of reordering or corruption, which has its place elsewhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Netem {
    /// Packets that may be held at once.
    pub limit: u32,
    /// Held back.
    pub delay: Delay,
    /// Thrown away.
    pub loss: Option<NetemLoss>,
    /// Sent twice.
    pub duplicate: Option<NetemShare>,
    /// One bit flipped.
    pub corrupt: Option<NetemShare>,
    /// Sent at once.
    pub reorder: Option<NetemReorder>,
    /// So much at the most.
    pub rate: Option<NetemRate>,
    /// Draws all that is random. Kernels before 6.6 pass over it and draw as they like.
    pub seed: Option<u64>,
}

/// How long packets are held.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delay {
    /// Of every packet.
    pub latency: Duration,
    /// Around it.
    pub jitter: Duration,
    /// With the delay before, 0 to 1.
    pub correlation: f64,
    /// The inverse cumulative distribution at equal steps, in units of the jitter times 8192; up to 16384 numbers. Empty:
    /// uniform.
    pub distribution: Vec<i16>,
}

/// A share of packets, and how much the draw is like the one before; both 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "said above")]
pub struct NetemShare {
    pub probability: f64,
    pub correlation: f64,
}

/// Which packets are lost. All numbers are 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NetemLoss {
    /// Each alike.
    Random(NetemShare),
    /// `loss state`: a Markov chain of four states, by its transitions.
    #[expect(missing_docs, reason = "the names are netem's own")]
    States { p13: f64, p31: f64, p32: f64, p23: f64, p14: f64 },
    /// `loss gemodel`.
    GilbertElliott {
        /// From good to bad.
        p: f64,
        /// From bad to good.
        r: f64,
        /// Lost in the bad state (`1-h`).
        bad: f64,
        /// Lost in the good state (`1-k`).
        good: f64,
    },
}

/// Which packets overtake.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NetemReorder {
    /// Those sent at once.
    pub share: NetemShare,
    /// Each so manyth is a candidate, at least 1.
    pub gap: u32,
}

/// A rate, with what each packet costs on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetemRate {
    /// Bytes a second.
    pub bytes_per_second: u64,
    /// Bytes that each packet is longer, or shorter.
    pub packet_overhead: i32,
    /// Bytes of a cell; 0 is no cells.
    pub cell_size: u32,
    /// Bytes that each cell is longer, or shorter.
    pub cell_overhead: i32,
}

/// A probability as a share of 2^32 - 1 (`set_percent` of iproute2 rounds as `rint(3)`).
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 1")]
fn chance(probability: f64) -> u32 {
    (probability.clamp(0.0, 1.0) * f64::from(u32::MAX)).round_ties_even() as u32
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

impl NetemShare {
    fn words(self) -> Vec<u8> {
        words(&[chance(self.probability), chance(self.correlation)])
    }
}

impl NetemLoss {
    fn put(self, message: &mut Message) {
        let (kind, bytes) = match self {
            // Part of the fixed header.
            Self::Random(_) => return,
            Self::States { p13, p31, p32, p23, p14 } => {
                // In the order of struct tc_netem_gimodel.
                (STATES, words(&[p13, p31, p32, p14, p23].map(chance)))
            }
            // The kernel wants the probabilities of not being lost in the bad state, and of being lost in the good one.
            Self::GilbertElliott { p, r, bad, good } => {
                (GILBERT_ELLIOTT, words(&[chance(p), chance(r), u32::MAX - chance(bad), chance(good)]))
            }
        };
        message.put_nested(LOSS, |m| {
            m.put(kind, &bytes);
        });
    }
}

impl NetemRate {
    fn put(self, message: &mut Message) {
        if let Some(whole) = large(self.bytes_per_second) {
            message.put(RATE64, &whole);
        }
        let mut bytes = words(&[u32::try_from(self.bytes_per_second).unwrap_or(u32::MAX)]);
        bytes.extend_from_slice(&self.packet_overhead.to_ne_bytes());
        bytes.extend_from_slice(&self.cell_size.to_ne_bytes());
        bytes.extend_from_slice(&self.cell_overhead.to_ne_bytes());
        message.put(RATE, &bytes);
    }
}

impl Netem {
    /// `struct tc_netem_qopt`.
    fn fixed(&self) -> Vec<u8> {
        let loss = match self.loss {
            Some(NetemLoss::Random(share)) => chance(share.probability),
            _ => 0,
        };
        let gap = self.reorder.map_or(0, |reorder| reorder.gap.max(1));
        let duplicate = self.duplicate.map_or(0, |share| chance(share.probability));
        words(&[ticks(self.delay.latency).0, self.limit, loss, gap, duplicate, ticks(self.delay.jitter).0])
    }

    /// `struct tc_netem_corr`: of delay, loss and duplication.
    fn correlations(&self) -> [u32; 3] {
        let loss = match self.loss {
            Some(NetemLoss::Random(share)) => chance(share.correlation),
            _ => 0,
        };
        [chance(self.delay.correlation), loss, self.duplicate.map_or(0, |share| chance(share.correlation))]
    }

    pub(super) fn put(&self, message: &mut Message) {
        message.put_holding(OPTIONS, |m| {
            m.put_raw(&self.fixed());
            let correlations = self.correlations();
            if correlations != [0; 3] {
                m.put(CORRELATIONS, &words(&correlations));
            }
            if let Some(reorder) = self.reorder {
                m.put(REORDER, &reorder.share.words());
            }
            if let Some(corrupt) = self.corrupt {
                m.put(CORRUPT, &corrupt.words());
            }
            if let Some(loss) = self.loss {
                loss.put(m);
            }
            if let Some(rate) = self.rate {
                rate.put(m);
            }
            for (kind, time) in [(LATENCY64, self.delay.latency), (JITTER64, self.delay.jitter)] {
                if !ticks(time).1 {
                    m.put(kind, &i64::try_from(time.as_nanos()).unwrap_or(i64::MAX).to_ne_bytes());
                }
            }
            if let Some(seed) = self.seed {
                m.put(SEED, &seed.to_ne_bytes());
            }
            // Last, as it is long.
            if !self.delay.distribution.is_empty() {
                let table = self.delay.distribution.iter().take(LONGEST_TABLE);
                m.put(DISTRIBUTION, &table.flat_map(|number| number.to_ne_bytes()).collect::<Vec<u8>>());
            }
        });
    }
}
