//! The numbers of `linux/netfilter/nf_tables.h` and `nfnetlink.h`, and messages with their fixed header.

use crate::netlink::{Message, flags};

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
/// `NFPROTO_INET`: IPv4 and IPv6 in one table.
pub(super) const INET: u8 = 1;
/// `NFT_TABLE_F_OWNER`, of Linux 5.12.
pub(super) const TABLE_OWNER: u32 = 2;
/// `NFT_SET_ANONYMOUS | NFT_SET_CONSTANT`.
pub(super) const SET_ANONYMOUS: u32 = 3;
/// `NFT_SET_INTERVAL`.
pub(super) const SET_INTERVAL: u32 = 4;
/// `NFT_SET_ELEM_INTERVAL_END`.
pub(super) const ELEMENT_END: u32 = 1;
/// `NF_ACCEPT`.
pub(super) const ACCEPT: u32 = 1;

/// `NFT_MSG_*`.
pub(super) mod message {
    pub const NEW_TABLE: u16 = 0;
    pub const GET_TABLE: u16 = 1;
    pub const DELETE_TABLE: u16 = 2;
    pub const NEW_CHAIN: u16 = 3;
    pub const NEW_RULE: u16 = 6;
    pub const GET_RULE: u16 = 7;
    pub const DELETE_RULE: u16 = 8;
    pub const NEW_SET: u16 = 9;
    pub const NEW_ELEMENTS: u16 = 12;
    pub const DELETE_ELEMENTS: u16 = 14;
    pub const GET_GENERATION: u16 = 16;
}

/// Attributes, by what they belong to: `NFTA_<module>_<name>`.
pub(super) mod attribute {
    /// `NFTA_LIST_ELEM`.
    pub const ELEMENT: u16 = 1;
    pub mod table {
        pub const NAME: u16 = 1;
        pub const FLAGS: u16 = 2;
    }
    pub mod chain {
        pub const TABLE: u16 = 1;
        pub const NAME: u16 = 3;
        pub const HOOK: u16 = 4;
        pub const POLICY: u16 = 5;
        pub const TYPE: u16 = 7;
        pub const HOOK_NUMBER: u16 = 1;
        pub const HOOK_PRIORITY: u16 = 2;
    }
    pub mod rule {
        pub const TABLE: u16 = 1;
        pub const CHAIN: u16 = 2;
        pub const EXPRESSIONS: u16 = 4;
        pub const USER_DATA: u16 = 7;
    }
    pub mod set {
        pub const TABLE: u16 = 1;
        pub const NAME: u16 = 2;
        pub const FLAGS: u16 = 3;
        pub const KEY_TYPE: u16 = 4;
        pub const KEY_LENGTH: u16 = 5;
        pub const DESCRIPTION: u16 = 9;
        pub const ID: u16 = 10;
        pub const DESCRIPTION_SIZE: u16 = 1;
    }
    pub mod elements {
        pub const TABLE: u16 = 1;
        pub const SET: u16 = 2;
        pub const ELEMENTS: u16 = 3;
        pub const SET_ID: u16 = 4;
        pub const KEY: u16 = 1;
        pub const FLAGS: u16 = 3;
        pub const USER_DATA: u16 = 6;
    }
    pub mod data {
        pub const VALUE: u16 = 1;
        pub const VERDICT: u16 = 2;
        pub const VERDICT_CODE: u16 = 1;
        pub const VERDICT_CHAIN: u16 = 2;
    }
    pub mod expression {
        pub const NAME: u16 = 1;
        pub const DATA: u16 = 2;
    }
    pub mod counter {
        pub const BYTES: u16 = 1;
        pub const PACKETS: u16 = 2;
    }
    /// `NFTA_GEN_ID`.
    pub const GENERATION: u16 = 1;
}

/// `struct nfgenmsg`: the family, version 0, and a number of the message's own.
fn head(family: u8, number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [family, 0, high, low]
}

/// A message about tables of the family `inet`.
pub(super) fn request(kind: u16, more_flags: u16) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, flags::REQUEST | more_flags, &head(INET, 0))
}

/// A message about tables of every family.
pub(super) fn request_any(kind: u16, more_flags: u16) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, flags::REQUEST | more_flags, &head(0, 0))
}

/// Asks `nft_compat` whether `iptables` has revision 3 of the target NFQUEUE here (`NFNL_MSG_COMPAT_GET`).
pub(super) fn has_queue_target() -> Message {
    /// `NFNL_SUBSYS_NFT_COMPAT`; its only message is 0.
    const COMPAT: u16 = 11;
    /// `AF_INET`: it knows families of `iptables` only. NFQUEUE is the same in all.
    const IPV4: u8 = 2;
    let mut ask = Message::new(COMPAT << 8, flags::REQUEST | flags::ACK, &head(IPV4, 0));
    // `NFTA_COMPAT_NAME`, `_REV`, `_TYPE`: 1 is a target.
    ask.put_text(1, "NFQUEUE").put_be32(2, 3).put_be32(3, 1);
    ask
}

/// `NFNL_MSG_BATCH_BEGIN`.
pub(super) fn batch_begin() -> Message {
    Message::new(0x10, flags::REQUEST, &head(0, SUBSYSTEM))
}

/// `NFNL_MSG_BATCH_END`. Without it, the kernel looks at all of the batch and then forgets it.
pub(super) fn batch_end() -> Message {
    Message::new(0x11, flags::REQUEST, &head(0, SUBSYSTEM))
}
