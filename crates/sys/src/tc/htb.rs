//! `htb`: a tree of classes with rates (`tc-htb(8)`, `net/sched/sch_htb.c`).

use crate::netlink::Message;

use super::qdisc::OPTIONS;
use super::rate::{RateTable, burst, large};

/// `TCA_HTB_*`.
const PARAMETERS: u16 = 1;
const INIT: u16 = 2;
const CEIL_TABLE: u16 = 3;
const RATE_TABLE: u16 = 4;
const RATE64: u16 = 6;
const CEIL64: u16 = 7;
/// `HTB_VER >> 16`.
const VERSION: u32 = 3;
/// What `tc` takes where no quantum is given: a tenth of the rate.
const RATE_TO_QUANTUM: u32 = 10;
/// What `tc` takes as the MTU of a class.
const MTU: u32 = 1600;

/// The discipline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Htb {
    /// Minor number of the class for what no filter puts elsewhere; 0: unshaped.
    pub default_class: u32,
}

impl Htb {
    pub(super) fn put(self, message: &mut Message) {
        // struct tc_htb_glob: version, rate to quantum, default class, debug, direct packets.
        let glob: Vec<u8> = [VERSION, RATE_TO_QUANTUM, self.default_class, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
        message.put_holding(OPTIONS, |m| {
            m.put(INIT, &glob);
        });
    }
}

/// A class: what it is sure to get, and what it may borrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HtbClass {
    /// Bytes a second.
    pub rate: u64,
    /// Bytes a second, with what others leave.
    pub ceil: u64,
    /// Bytes at the rate.
    pub burst: u32,
    /// Bytes at the ceil.
    pub ceil_burst: u32,
    /// Lower goes first.
    pub priority: u32,
    /// Bytes a turn; 0: from the rate.
    pub quantum: u32,
}

impl HtbClass {
    pub(super) fn put(&self, message: &mut Message) {
        let (rate, ceil) = (RateTable::new(self.rate, MTU), RateTable::new(self.ceil, MTU));
        // struct tc_htb_opt: rate, ceil, bursts in ticks, quantum, level, priority.
        let mut parameters = [rate.spec(), ceil.spec()].concat();
        for word in [burst(self.rate, self.burst), burst(self.ceil, self.ceil_burst), self.quantum, 0, self.priority] {
            parameters.extend_from_slice(&word.to_ne_bytes());
        }
        message.put_holding(OPTIONS, |m| {
            for (kind, whole) in [(RATE64, large(self.rate)), (CEIL64, large(self.ceil))] {
                if let Some(whole) = whole {
                    m.put(kind, &whole);
                }
            }
            m.put(PARAMETERS, &parameters).put(RATE_TABLE, &rate.table()).put(CEIL_TABLE, &ceil.table());
        });
    }
}
