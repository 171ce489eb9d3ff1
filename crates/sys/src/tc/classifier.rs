//! Filters: a classic BPF program that looks at a packet's mark (`tc-bpf(8)`), and a redirection (`tc-mirred(8)`).

use crate::netlink::{Message, flags};

use super::qdisc::{Handle, KIND, OPTIONS, Way, header};

/// `RTM_NEWTFILTER`, `RTM_DELTFILTER`.
const NEW: u16 = 44;
const DELETE: u16 = 45;
/// `TCA_BPF_ACT`, `TCA_BPF_OPS_LEN`, `TCA_BPF_OPS`.
pub(super) const ACTIONS: u16 = 1;
const LENGTH: u16 = 4;
const PROGRAM: u16 = 5;
/// `TCA_ACT_KIND`, `TCA_ACT_OPTIONS`, `TCA_ACT_COOKIE`.
pub(super) const ACTION_KIND: u16 = 1;
pub(super) const ACTION_OPTIONS: u16 = 2;
pub(super) const ACTION_COOKIE: u16 = 6;
/// `TCA_MIRRED_PARMS`, `TCA_EGRESS_REDIR`, `TC_ACT_STOLEN`.
pub(super) const MIRRED_PARAMETERS: u16 = 2;
const EGRESS_REDIRECT: u32 = 1;
const STOLEN: u32 = 4;
/// `NLA_F_NESTED`, which `tc` sets here and nowhere above.
const NESTED: u16 = 1 << 15;

/// Which packets a filter sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// All (`ETH_P_ALL`).
    All,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Protocol {
    fn number(self) -> u16 {
        match self {
            Self::All => 0x0003,
            Self::Ipv4 => 0x0800,
            Self::Ipv6 => 0x86dd,
        }
    }
}

/// By what a filter is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterId {
    /// Of the interface.
    pub interface: u32,
    /// [`Handle::EGRESS`], [`Handle::INGRESS`], or a discipline with classes.
    pub parent: Handle,
    /// Its turn among the others, lowest first. Filters of one turn are of one kind and protocol.
    pub preference: u16,
    /// Which packets.
    pub protocol: Protocol,
    /// Unique within its turn, not 0.
    pub handle: u32,
}

impl FilterId {
    fn header(&self) -> [u8; 20] {
        // tcm_info has the preference in its upper half and the protocol, in network byte order, in its lower one.
        let info = u32::from(self.preference) << 16 | u32::from(self.protocol.number().to_be());
        header(self.interface, Handle(self.handle), self.parent, info)
    }

    /// The message that takes it away.
    pub fn removal(&self) -> Message {
        let mut message = Message::new(DELETE, flags::REQUEST | flags::ACK, &self.header());
        message.put_text(KIND, "bpf");
        message
    }
}

/// A filter that hands the packets its program matches to another interface, as if they were sent there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Where it is.
    pub id: FilterId,
    /// Instructions (`struct sock_filter`: code, jump if true, jump if false, constant); what they return is not 0 for a match.
    pub program: Vec<(u16, u8, u8, u32)>,
    /// Index of the other interface.
    pub redirect: u32,
    /// Says whose it is; the kernel keeps it and gives it back.
    pub cookie: Option<[u8; 16]>,
}

/// The program that matches packets with that mark: `skb->mark` is at `SKF_AD_OFF + SKF_AD_MARK` (`bpf(4)` of
/// `linux/filter.h`).
pub fn by_mark(mark: u32) -> Vec<(u16, u8, u8, u32)> {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const MARK: u32 = 0xffff_f000 + 20;
    vec![(LOAD_WORD, 0, 0, MARK), (JUMP_IF_EQUAL, 0, 1, mark), (RETURN, 0, 0, u32::MAX), (RETURN, 0, 0, 0)]
}

impl Filter {
    /// The message that makes it.
    pub fn message(&self) -> Message {
        let mut message = Message::new(NEW, Way::Add.flags(), &self.id.header());
        // struct tc_mirred: index, capabilities, action, reference counts, then what is done and where.
        let mirred: Vec<u8> =
            [0, 0, STOLEN, 0, 0, EGRESS_REDIRECT, self.redirect].iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
        let program: Vec<u8> = self
            .program
            .iter()
            .flat_map(|(code, yes, no, constant)| {
                let mut bytes = code.to_ne_bytes().to_vec();
                bytes.extend_from_slice(&[*yes, *no]);
                bytes.extend_from_slice(&constant.to_ne_bytes());
                bytes
            })
            .collect();
        message.put_text(KIND, "bpf").put_holding(OPTIONS, |m| {
            m.put_holding(ACTIONS, |m| {
                m.put_holding(1, |m| {
                    m.put_text(ACTION_KIND, "mirred");
                    m.put_holding(ACTION_OPTIONS | NESTED, |m| {
                        m.put(MIRRED_PARAMETERS, &mirred);
                    });
                    if let Some(cookie) = self.cookie {
                        m.put(ACTION_COOKIE, &cookie);
                    }
                });
            });
            m.put(LENGTH, &u16::try_from(self.program.len()).unwrap_or(u16::MAX).to_ne_bytes()).put(PROGRAM, &program);
        });
        message
    }
}
