//! `latency`: everything arrives later.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ending, Out, Stage, Toxic, stage::Delayed};
use crate::relay::Pipe;

/// Delays each chunk, and the end of the stream, by `latency` ± `jitter`, counted from when it was read. Order is kept, and
/// a delay is not a limit of bandwidth: many chunks are on their way at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Latency {
    /// Milliseconds; less than none is none.
    pub latency: i64,
    /// Milliseconds: the delay is uniform in [latency − jitter, latency + jitter), and never below 0.
    pub jitter: i64,
}

impl Latency {
    pub(super) fn stage(&self, seed: u64) -> Box<dyn Stage> {
        let random = StdRng::seed_from_u64(seed);
        Box::new(Delaying {
            toxic: self.clone(),
            random,
            line: VecDeque::new(),
            held: Delayed::default(),
            last: Duration::ZERO,
            retired: false,
        })
    }
}

struct Delaying {
    toxic: Latency,
    random: StdRng,
    /// When each entered, when it leaves, and what.
    line: VecDeque<(Duration, Duration, What)>,
    held: Delayed,
    /// When the last one leaves.
    last: Duration,
    retired: bool,
}

/// What is on its way.
enum What {
    Bytes(Bytes),
    Pipe(Pipe),
    End,
}

impl Delaying {
    fn delay(&mut self) -> Duration {
        let jitter = self.toxic.jitter.unsigned_abs() as f64;
        let offset = if jitter > 0.0 { self.random.random_range(-jitter..jitter) } else { 0.0 };
        let millis = (self.toxic.latency as f64 + offset).max(0.0);
        // A century is as good as for ever, and can be added to a time.
        Duration::from_secs_f64((millis / 1e3).min(3.2e9))
    }

    fn enter(&mut self, entered: Duration, what: What) {
        let leaves = if self.retired { entered } else { entered + self.delay() };
        self.last = self.last.max(leaves);
        self.held.add(match &what {
            What::Bytes(bytes) => bytes.len(),
            What::Pipe(pipe) => pipe.held(),
            What::End => 0,
        });
        self.line.push_back((entered, self.last, what));
    }
}

impl Stage for Delaying {
    fn room(&self) -> usize {
        self.held.room()
    }

    fn push(&mut self, bytes: Bytes, now: Duration) {
        self.enter(now, What::Bytes(bytes));
    }

    fn takes_pipes(&self) -> bool {
        !self.retired
    }

    fn push_pipe(&mut self, pipe: Pipe, now: Duration) -> Result<(), Pipe> {
        self.enter(now, What::Pipe(pipe));
        Ok(())
    }

    fn take_pipe(&mut self) -> Option<Pipe> {
        let (_, _, What::Pipe(pipe)) = self.line.pop_front_if(|(_, _, what)| matches!(what, What::Pipe(_)))? else { return None };
        self.held.remove(pipe.held());
        Some(pipe)
    }

    fn end(&mut self, now: Duration) {
        self.enter(now, What::End);
    }

    fn pull(&mut self, now: Duration) -> Out {
        match self.line.front() {
            None => Out::Idle,
            Some((_, leaves, _)) if *leaves > now && !self.retired => Out::At(*leaves),
            Some((_, _, What::Pipe(_))) => Out::Pipe,
            Some(_) => match self.line.pop_front() {
                Some((_, _, What::Bytes(bytes))) => {
                    self.held.remove(bytes.len());
                    Out::Bytes(bytes)
                }
                _ => Out::End,
            },
        }
    }

    /// What is on its way is delayed anew, from when it entered.
    fn update(&mut self, toxic: &Toxic, _now: Duration) -> bool {
        let Toxic::Latency(latency) = toxic else { return false };
        if *latency != self.toxic {
            self.toxic = latency.clone();
            self.last = Duration::ZERO;
            for i in 0..self.line.len() {
                self.last = self.last.max(self.line[i].0 + self.delay());
                self.line[i].1 = self.last;
            }
        }
        true
    }

    fn retire(&mut self, _now: Duration) -> Ending {
        self.retired = true;
        Ending::GoOn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_chunk_leaves_after_the_latency_counted_from_when_it_was_read() {
        let mut stage = Latency { latency: 100, jitter: 0 }.stage(1);
        stage.push(Bytes::from_static(b"a"), ms(10));
        stage.push(Bytes::from_static(b"b"), ms(60));
        stage.end(ms(70));
        assert_eq!(stage.pull(ms(109)), Out::At(ms(110)));
        assert_eq!(stage.pull(ms(110)), Out::Bytes(Bytes::from_static(b"a")));
        assert_eq!(stage.pull(ms(110)), Out::At(ms(160)));
        assert_eq!(stage.pull(ms(165)), Out::Bytes(Bytes::from_static(b"b")));
        assert_eq!(stage.pull(ms(170)), Out::End);
    }

    #[test]
    fn removed_or_changed_it_lets_go_of_what_is_on_its_way_in_order() {
        let mut stage = Latency { latency: 1000, jitter: 0 }.stage(1);
        stage.push(Bytes::from_static(b"a"), ms(0));
        stage.push(Bytes::from_static(b"b"), ms(50));
        assert!(stage.update(&Toxic::Latency(Latency { latency: 20, jitter: 0 }), ms(55)));
        assert_eq!(stage.pull(ms(55)), Out::Bytes(Bytes::from_static(b"a")));
        assert_eq!(stage.pull(ms(55)), Out::At(ms(70)));
        assert_eq!(stage.retire(ms(56)), Ending::GoOn);
        assert_eq!(stage.pull(ms(56)), Out::Bytes(Bytes::from_static(b"b")));
        assert_eq!(stage.pull(ms(56)), Out::Idle);
    }

    #[test]
    fn jitter_is_uniform_by_kolmogorov_smirnov_at_one_percent() {
        let n = 10_000;
        let mut stage = Latency { latency: 100, jitter: 50 }.stage(7);
        let mut delays: Vec<f64> = (0..n)
            .map(|i| {
                // A second apart, so that order holds nothing back.
                let entered = Duration::from_secs(i);
                stage.push(Bytes::from_static(b"x"), entered);
                let Out::At(leaves) = stage.pull(entered) else { panic!("it is delayed") };
                assert!(matches!(stage.pull(leaves), Out::Bytes(_)));
                (leaves - entered).as_secs_f64() * 1e3
            })
            .collect();
        delays.sort_by(f64::total_cmp);
        let cdf = |x: f64| ((x - 50.0) / 100.0).clamp(0.0, 1.0);
        let n = n as f64;
        let distance = delays
            .iter()
            .enumerate()
            .map(|(i, x)| (cdf(*x) - i as f64 / n).abs().max((cdf(*x) - (i + 1) as f64 / n).abs()))
            .fold(0.0, f64::max);
        assert!(distance < 1.628 / n.sqrt(), "D = {distance}");
    }
}
