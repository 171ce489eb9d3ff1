//! When to burn CPU time so that every second has the share asked for: pure arithmetic on what was measured.

/// The most CPU time, in seconds, that may be made up for later. What a busy machine withheld beyond this is lost: no second
/// may get much more than its share because an earlier one got less. 12 ms is 1.2 points of a second.
const DEBT: f64 = 0.012;

/// Bounds of a period, in seconds. Long against the cost of waking (some microseconds), short against a second, and drawn
/// anew each time, so that tools that sample on a clock tick (4 or 10 ms) see the true share and not a beat.
const PERIOD: (f64, f64) = (0.007, 0.013);

/// One core's pace: a closed loop on measured CPU time.
#[derive(Debug)]
pub(super) struct Pace {
    share: f64,
    debt: f64,
    last: Option<(f64, f64)>,
    random: u64,
}

/// What to do until the end of one period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Period {
    /// CPU time to use, in seconds. Zero or less: none.
    pub burn: f64,
    /// When the next period begins, on the clock that was given.
    pub end: f64,
}

impl Pace {
    /// For a share of a core from 0 to 1. The seed draws the lengths of periods.
    pub(super) fn new(share: f64, seed: u64) -> Self {
        Self { share, debt: 0.0, last: None, random: seed }
    }

    /// The next period, given the time and the CPU time that counts as done so far (the thread's own, or the core's in all),
    /// both in seconds. At the end of a period in which `burn` was used, exactly the share of the time has been used.
    pub(super) fn next(&mut self, now: f64, used: f64) -> Period {
        if let Some((then, before)) = self.last {
            self.debt += self.share * (now - then) - (used - before);
            // A surplus is bounded too: after others have used more than the share, the load is back within 12 ms / share.
            self.debt = self.debt.clamp(-DEBT, DEBT);
        }
        self.last = Some((now, used));
        let length = PERIOD.0 + (PERIOD.1 - PERIOD.0) * self.draw();
        Period { burn: self.debt + self.share * length, end: now + length }
    }

    /// A number in `0..1` (splitmix64, Steele, Lea and Flood 2014).
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a pace against a core on which, from each moment, `available` of the time can be had; gives the use of each second.
    fn simulate(share: f64, seconds: usize, available: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut pace = Pace::new(share, 42);
        let (mut now, mut used) = (0.0, 0.0);
        let mut marks = vec![0.0];
        while marks.len() <= seconds {
            let period = pace.next(now, used);
            let mut burned = 0.0;
            // In steps of 100 µs, as the burning loop looks at its clock.
            while now < period.end && (marks.len() <= seconds) {
                if burned < period.burn {
                    let step = 0.0001 * available(now);
                    burned += step;
                    used += step;
                }
                now += 0.0001;
                if now >= marks.len() as f64 {
                    marks.push(used);
                }
            }
        }
        marks.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn every_second_has_its_share_when_the_core_is_free() {
        for share in [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0] {
            for (second, use_of) in simulate(share, 20, |_| 1.0).into_iter().enumerate() {
                assert!((use_of - share).abs() < 0.01, "{share}: second {second} had {use_of}");
            }
        }
    }

    #[test]
    fn what_was_withheld_is_not_made_up_for_beyond_two_points() {
        // Half a second in every three, the core is not to be had at all.
        for share in [0.25, 0.5, 0.9] {
            for use_of in simulate(share, 20, |now| f64::from(u8::from(now % 3.0 > 0.5))) {
                assert!(use_of < share + 0.02, "{share}: a second had {use_of}");
            }
        }
    }

    #[test]
    fn a_share_that_a_busy_core_can_still_give_is_met() {
        // A competitor takes every other 4 ms.
        let available = |now: f64| f64::from(u8::from(now % 0.008 < 0.004));
        for share in [0.1, 0.25, 0.48] {
            for use_of in simulate(share, 20, available) {
                assert!((use_of - share).abs() < 0.02, "{share}: a second had {use_of}");
            }
        }
    }
}
