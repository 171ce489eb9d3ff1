//! Time and rates as the packet scheduler has them: `tc_core.c` of iproute2.

use std::time::Duration;

/// One tick of the packet scheduler: 64 ns (`PSCHED_SHIFT` is 6, as `/proc/net/psched` says: 1000 ns are 15.625 ticks). Part of
/// the kernel's interface since 2.6.31.
const TICK: u128 = 64;
/// Ticks in a microsecond.
const TICKS_PER_MICROSECOND: f64 = 15.625;
/// `TC_LINKLAYER_ETHERNET`.
const ETHERNET: u8 = 1;

/// A time in ticks, and whether that is it to the nanosecond.
pub(super) fn ticks(time: Duration) -> (u32, bool) {
    let nanos = time.as_nanos();
    u32::try_from(nanos / TICK).map_or((u32::MAX, false), |ticks| (ticks, nanos.is_multiple_of(TICK)))
}

/// Ticks that so many bytes take, rounded down to microseconds and then to ticks as `tc_calc_xmittime` does.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as tc does: positive, and clipped at 71 minutes")]
fn transmission(rate: u64, size: u32) -> u32 {
    let micros = (1_000_000.0 * (f64::from(size) / rate as f64)) as u32;
    (f64::from(micros) * TICKS_PER_MICROSECOND) as u32
}

/// `struct tc_ratespec` with the table that goes with it. Since Linux 3.8 the kernel reads of the table only that it is there.
#[derive(Debug, Clone)]
pub(super) struct RateTable {
    /// Clipped at 2^32 - 1, where a 64-bit attribute says the rest.
    rate: u32,
    cell_log: u8,
}

impl RateTable {
    /// For packets of up to `mtu` bytes.
    pub(super) fn new(rate: u64, mtu: u32) -> Self {
        let cell_log = (0..32).find(|log| mtu >> log <= 255).unwrap_or(0);
        Self { rate: u32::try_from(rate).unwrap_or(u32::MAX), cell_log }
    }

    /// `struct tc_ratespec`.
    pub(super) fn spec(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[0] = self.cell_log;
        bytes[1] = ETHERNET;
        // cell_align is -1.
        bytes[4..6].copy_from_slice(&(-1_i16).to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.rate.to_ne_bytes());
        bytes
    }

    /// The table: how long packets of so many cells take.
    pub(super) fn table(&self) -> Vec<u8> {
        (1..=256_u32).flat_map(|cells| transmission(self.rate.into(), cells << self.cell_log).to_ne_bytes()).collect()
    }

    /// A burst in ticks, at the clipped rate.
    pub(super) fn burst(&self, bytes: u32) -> u32 {
        transmission(self.rate.into(), bytes)
    }
}

/// A burst in ticks.
pub(super) fn burst(rate: u64, bytes: u32) -> u32 {
    transmission(rate, bytes)
}

/// The rate where it does not fit the 32 bits of `struct tc_ratespec`.
pub(super) fn large(rate: u64) -> Option<[u8; 8]> {
    (rate > u64::from(u32::MAX)).then(|| rate.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_say_when_they_are_not_exact() {
        assert_eq!(ticks(Duration::from_millis(100)), (1_562_500, true));
        assert_eq!(ticks(Duration::from_micros(1)), (15, false));
        assert_eq!(ticks(Duration::from_mins(10)), (u32::MAX, false));
    }
}
