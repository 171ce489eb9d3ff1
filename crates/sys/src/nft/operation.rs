//! What the kernel's small machine does for a rule: loads into a register, comparisons, verdicts (`NFTA_EXPR_*`).

use super::wire::attribute::{counter, data, expression};
use super::{wire, wire::attribute};
use crate::netlink::Message;

/// `NFT_META_*`.
pub(super) mod meta {
    pub const MARK: u32 = 3;
    pub const CAME_BY: u32 = 6;
    pub const LEAVES_BY: u32 = 7;
    pub const SOCKET_USER: u32 = 10;
    pub const FAMILY: u32 = 15;
    pub const PROTOCOL: u32 = 16;
    pub const NET_CLASS: u32 = 23;
}

/// Which header a load counts from (`NFT_PAYLOAD_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    Network = 1,
    Transport = 2,
}

/// How a register is compared (`NFT_CMP_*`). Bytes are compared from the first on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Equal = 0,
    Unequal = 1,
    Less = 2,
    AtMost = 3,
    AtLeast = 5,
}

/// Where the packet goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
}

/// What a register is looked up in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Within {
    /// A set of the table.
    Set(String),
    /// One of these bytes: a set without a name.
    Bytes(Vec<u8>),
}

/// One expression of the kernel. All use register 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    Meta(u32),
    SetMeta(u32),
    Payload {
        header: Header,
        offset: u32,
        length: u32,
    },
    Compare(Compare, Vec<u8>),
    And(Vec<u8>),
    Lookup {
        within: Within,
        not: bool,
    },
    Immediate(Vec<u8>),
    SocketMark,
    SocketCgroup {
        level: u32,
    },
    Random {
        below: u32,
    },
    /// Four bytes, from the machine's byte order to the network's.
    ToNetworkOrder,
    Counter,
    Verdict(Verdict),
    Reject {
        kind: u32,
        code: u8,
    },
    Redirect,
    Queue {
        number: u16,
        bypass: bool,
    },
    QueueTarget {
        number: u16,
        bypass: bool,
    },
}

/// `NFT_REG_1`.
const REGISTER: u32 = 1;

impl Operation {
    /// Adds it to a list of expressions. `anonymous` is the number of its set without a name, if it looks into one.
    pub(super) fn put(&self, list: &mut Message, anonymous: Option<u32>) {
        list.put_nested(attribute::ELEMENT, |element| {
            element.put_text(expression::NAME, self.name());
            element.put_nested(expression::DATA, |data| self.put_data(data, anonymous));
        });
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Meta(_) | Self::SetMeta(_) => "meta",
            Self::Payload { .. } => "payload",
            Self::Compare(..) => "cmp",
            Self::And(_) => "bitwise",
            Self::Lookup { .. } => "lookup",
            Self::Immediate(_) | Self::Verdict(_) => "immediate",
            Self::SocketMark | Self::SocketCgroup { .. } => "socket",
            Self::Random { .. } => "numgen",
            Self::ToNetworkOrder => "byteorder",
            Self::Counter => "counter",
            Self::Reject { .. } => "reject",
            Self::Redirect => "redir",
            Self::Queue { .. } => "queue",
            Self::QueueTarget { .. } => "target",
        }
    }

    /// The attributes in the order of their numbers, as in `nf_tables.h`.
    fn put_data(&self, m: &mut Message, anonymous: Option<u32>) {
        match self {
            Self::Meta(key) => m.put_be32(1, REGISTER).put_be32(2, *key),
            Self::SetMeta(key) => m.put_be32(2, *key).put_be32(3, REGISTER),
            Self::Payload { header, offset, length } => {
                m.put_be32(1, REGISTER).put_be32(2, *header as u32).put_be32(3, *offset).put_be32(4, *length)
            }
            Self::Compare(how, bytes) => m.put_be32(1, REGISTER).put_be32(2, *how as u32).put_nested(3, value(bytes)),
            Self::And(mask) => {
                let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
                m.put_be32(1, REGISTER).put_be32(2, REGISTER).put_be32(3, length);
                m.put_nested(4, value(mask)).put_nested(5, value(&vec![0; mask.len()]))
            }
            Self::Lookup { within, not } => put_lookup(m, within, *not, anonymous),
            Self::Immediate(bytes) => m.put_be32(1, REGISTER).put_nested(2, value(bytes)),
            // `NFT_SOCKET_MARK` and `NFT_SOCKET_CGROUPV2`.
            Self::SocketMark => m.put_be32(1, 1).put_be32(2, REGISTER),
            Self::SocketCgroup { level } => m.put_be32(1, 3).put_be32(2, REGISTER).put_be32(3, *level),
            // `NFT_NG_RANDOM`, counted from 0.
            Self::Random { below } => m.put_be32(1, REGISTER).put_be32(2, *below).put_be32(3, 1).put_be32(4, 0),
            // `NFT_BYTEORDER_HTON`, four bytes, four at a time.
            Self::ToNetworkOrder => m.put_be32(1, REGISTER).put_be32(2, REGISTER).put_be32(3, 1).put_be32(4, 4).put_be32(5, 4),
            Self::Counter => m.put(counter::BYTES, &[0; 8]).put(counter::PACKETS, &[0; 8]),
            Self::Verdict(verdict) => put_verdict(m, verdict),
            Self::Reject { kind, code } => m.put_be32(1, *kind).put(2, &[*code]),
            // `NF_NAT_RANGE_PROTO_SPECIFIED`.
            Self::Redirect => m.put_be32(1, REGISTER).put_be32(3, 2),
            Self::Queue { number, bypass } => {
                m.put(1, &number.to_be_bytes()).put(2, &1_u16.to_be_bytes()).put(3, &u16::from(*bypass).to_be_bytes())
            }
            Self::QueueTarget { number, bypass } => {
                // `struct xt_NFQ_info_v3`: first queue, how many, flags (`NFQ_FLAG_BYPASS` is 1); padded to eight.
                let fields = [*number, 1, u16::from(*bypass), 0];
                let info: Vec<u8> = fields.iter().flat_map(|n| n.to_ne_bytes()).collect();
                m.put_text(1, "NFQUEUE").put_be32(2, 3).put(3, &info)
            }
        };
    }
}

fn value(bytes: &[u8]) -> impl FnOnce(&mut Message) {
    move |m| {
        m.put(data::VALUE, bytes);
    }
}

/// The name of a set without a name, before the kernel numbers it.
pub(super) const ANONYMOUS: &str = "__set%d";

fn put_lookup<'m>(m: &'m mut Message, within: &Within, not: bool, anonymous: Option<u32>) -> &'m mut Message {
    match within {
        Within::Set(name) => m.put_text(1, name),
        Within::Bytes(_) => m.put_text(1, ANONYMOUS),
    };
    m.put_be32(2, REGISTER);
    if let Some(id) = anonymous {
        m.put_be32(4, id);
    }
    // `NFT_LOOKUP_F_INV`; not sent where it is 0, as older kernels do not know flags.
    if not { m.put_be32(5, 1) } else { m }
}

fn put_verdict<'m>(m: &'m mut Message, verdict: &Verdict) -> &'m mut Message {
    // `NF_DROP`, `NF_ACCEPT`, `NFT_JUMP`, `NFT_GOTO`, `NFT_RETURN`.
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (wire::ACCEPT.cast_signed(), None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5_i32, None),
    };
    // `NFT_REG_VERDICT` is register 0.
    m.put_be32(1, 0).put_nested(2, |d| {
        d.put_nested(data::VERDICT, |v| {
            v.put_be32(data::VERDICT_CODE, code.cast_unsigned());
            if let Some(chain) = chain {
                v.put_text(data::VERDICT_CHAIN, chain);
            }
        });
    })
}
