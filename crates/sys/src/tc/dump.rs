//! What is there: disciplines, classes and filters as the kernel tells them.

use crate::netlink::{Attribute, Attributes, Reply};

use super::classifier::{ACTION_COOKIE, ACTION_OPTIONS, ACTIONS, MIRRED_PARAMETERS};
use super::qdisc::{Handle, KIND, OPTIONS};

/// `TCA_STATS`, `TCA_XSTATS`, `TCA_STATS2`.
const OLD_STATS: u16 = 3;
const OWN_STATS: u16 = 4;
const STATS: u16 = 7;
/// Within `TCA_STATS2`: `TCA_STATS_BASIC`, `TCA_STATS_QUEUE`, `TCA_STATS_PKT64`.
const BASIC: u16 = 1;
const QUEUE: u16 = 3;
const PACKETS: u16 = 8;
/// `TCA_ACT_STATS`.
const ACTION_STATS: u16 = 4;
/// Length of `struct tcmsg`.
const HEAD: usize = 20;

/// A discipline, a class, or a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Of the interface.
    pub interface: u32,
    /// Its own handle; of a filter 0 for the row that stands for all of one preference.
    pub handle: Handle,
    /// What it hangs from.
    pub parent: Handle,
    /// `tcm_info`: of a filter, preference and protocol.
    pub info: u32,
    /// `netem`, `bpf`…
    pub kind: String,
    /// The message's body: `struct tcmsg` and all attributes.
    pub raw: Vec<u8>,
}

/// What went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes sent on.
    pub bytes: u64,
    /// Packets sent on.
    pub packets: u64,
    /// Packets that wait.
    pub waiting: u32,
    /// Bytes that wait.
    pub backlog: u32,
    /// Packets dropped.
    pub dropped: u32,
    /// Times that a packet had to wait for the rate.
    pub overlimits: u32,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
}

impl Row {
    /// From a message, if it is whole.
    pub(super) fn read(reply: Reply) -> Option<Self> {
        let attributes = Attributes(reply.body.get(HEAD..)?);
        let kind = attributes.find(KIND).map(|kind| kind.text()).unwrap_or_default();
        let head = |at| word(&reply.body, at);
        Some(Self { interface: head(4), handle: Handle(head(8)), parent: Handle(head(12)), info: head(16), kind, raw: reply.body })
    }

    fn attributes(&self) -> Attributes<'_> {
        Attributes(self.raw.get(HEAD..).unwrap_or_default())
    }

    /// Of a filter: its turn.
    pub fn preference(&self) -> u16 {
        (self.info >> 16) as u16
    }

    /// What went through. Of a filter: through its first action.
    pub fn stats(&self) -> Stats {
        if let Some(stats) = self.attributes().find(STATS) {
            return Stats::read(stats.nested());
        }
        self.action().and_then(|action| action.nested().find(ACTION_STATS)).map(|stats| Stats::read(stats.nested())).unwrap_or_default()
    }

    fn action(&self) -> Option<Attribute<'_>> {
        let options = self.attributes().find(OPTIONS)?;
        options.nested().find(ACTIONS)?.nested().find(1)
    }

    /// Of a filter of kind `bpf`: the cookie of its first action.
    pub fn cookie(&self) -> Option<[u8; 16]> {
        self.action()?.nested().find(ACTION_COOKIE)?.bytes.try_into().ok()
    }

    /// Of a filter of kind `bpf`: index of the interface that its first action redirects to.
    pub fn redirects_to(&self) -> Option<u32> {
        let parameters = self.action()?.nested().find(ACTION_OPTIONS)?.nested().find(MIRRED_PARAMETERS)?;
        (parameters.bytes.len() >= 28).then(|| word(parameters.bytes, 24))
    }

    /// Of a filter of kind `bpf`: whether its program decides by itself (`direct-action`).
    pub fn decides_itself(&self) -> bool {
        const FLAGS: u16 = 8;
        self.kind == "bpf"
            && self.attributes().find(OPTIONS).and_then(|o| o.nested().find(FLAGS)?.number()).is_some_and(|flags| flags & 1 == 1)
    }

    /// Its bytes without what traffic changes: statistics, and when actions were used. Two dumps of the same thing are equal.
    pub fn unchanging(&self) -> Vec<u8> {
        let mut bytes = self.raw.get(..HEAD).unwrap_or_default().to_vec();
        for attribute in self.attributes() {
            match attribute.kind {
                OLD_STATS | OWN_STATS | STATS => {}
                OPTIONS => self.options(attribute, &mut bytes),
                _ => append(attribute, &mut bytes),
            }
        }
        bytes
    }

    fn options(&self, options: Attribute<'_>, into: &mut Vec<u8>) {
        // Where actions are in the options, and what else counts there.
        let (actions, counters): (u16, &[u16]) = match self.kind.as_str() {
            "bpf" => (ACTIONS, &[]),
            // TCA_U32_ACT, TCA_U32_PCNT
            "u32" => (7, &[9]),
            // TCA_HTB_INIT ends with the number of packets that no class took.
            "htb" => (u16::MAX, &[]),
            _ => return append(options, into),
        };
        for attribute in options.nested() {
            if attribute.kind == actions {
                for action in attribute.nested() {
                    action.nested().into_iter().filter(|a| a.kind != ACTION_STATS).for_each(|a| action_part(a, into));
                }
            } else if self.kind == "htb" && attribute.kind == 2 {
                into.extend_from_slice(attribute.bytes.get(..16).unwrap_or_default());
            } else if !counters.contains(&attribute.kind) {
                append(attribute, into);
            }
        }
    }
}

/// An action without the times of its use (`TCA_*_TM` is 1 for every kind of action).
fn action_part(part: Attribute<'_>, into: &mut Vec<u8>) {
    if part.kind != ACTION_OPTIONS {
        return append(part, into);
    }
    part.nested().into_iter().filter(|a| a.kind != 1).for_each(|a| append(a, into));
}

fn append(attribute: Attribute<'_>, into: &mut Vec<u8>) {
    into.extend_from_slice(&attribute.kind.to_ne_bytes());
    into.extend_from_slice(attribute.bytes);
}

impl Stats {
    fn read(attributes: Attributes<'_>) -> Self {
        let mut stats = Self::default();
        if let Some(basic) = attributes.find(BASIC) {
            stats.bytes = basic.bytes.get(..8).and_then(|b| Some(u64::from_ne_bytes(b.try_into().ok()?))).unwrap_or_default();
            stats.packets = word(basic.bytes, 8).into();
        }
        // More than 2^32 packets.
        if let Some(packets) = attributes.find(PACKETS).and_then(|p| p.number()) {
            stats.packets = packets;
        }
        if let Some(queue) = attributes.find(QUEUE) {
            stats.waiting = word(queue.bytes, 0);
            stats.backlog = word(queue.bytes, 4);
            stats.dropped = word(queue.bytes, 8);
            stats.overlimits = word(queue.bytes, 16);
        }
        stats
    }
}
