//! `tbf`: a token bucket (`tc-tbf(8)`, `net/sched/sch_tbf.c`).

use crate::netlink::Message;

use super::qdisc::OPTIONS;
use super::rate::{RateTable, large};

/// `TCA_TBF_*`.
const PARAMETERS: u16 = 1;
const RATE_TABLE: u16 = 2;
const RATE64: u16 = 4;
const BURST: u16 = 6;
/// What `tc` takes where no MTU is given.
const MTU: u32 = 2047;

/// A rate and a burst. A packet that is longer than the burst is dropped; one made by segmentation offload is cut up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tbf {
    /// Bytes a second.
    pub bytes_per_second: u64,
    /// Bytes.
    pub burst: u32,
    /// Bytes that may wait.
    pub limit: u32,
}

impl Tbf {
    pub(super) fn put(&self, message: &mut Message) {
        let rate = RateTable::new(self.bytes_per_second, MTU);
        // struct tc_tbf_qopt: the rate, no peak rate, limit, burst in ticks, and the MTU of the peak rate.
        let mut parameters = rate.spec().to_vec();
        parameters.extend_from_slice(&[0; 12]);
        for word in [self.limit, rate.burst(self.burst), 0] {
            parameters.extend_from_slice(&word.to_ne_bytes());
        }
        message.put_holding(OPTIONS, |m| {
            m.put(PARAMETERS, &parameters).put_u32(BURST, self.burst);
            if let Some(whole) = large(self.bytes_per_second) {
                m.put(RATE64, &whole);
            }
            m.put(RATE_TABLE, &rate.table());
        });
    }
}
