//! Tables of `nf_tables` in the `inet` family, over netlink: made in one transaction, and owned by the socket that made them,
//! so that the kernel takes them away when the process ends (`NFT_TABLE_F_OWNER`, Linux 5.12).

mod table;

pub use table::{Base, Chain, ChainKind, Element, Expression, Family, Hook, Reject, Rule, Set, SetKind, Side, Table};
