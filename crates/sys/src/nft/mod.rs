//! Tables of `nf_tables` in the `inet` family, over netlink: made in one transaction, and owned by the socket that made them,
//! so that the kernel takes them away when the process ends (`NFT_TABLE_F_OWNER`, Linux 5.12).
//!
//! A [`Table`] is data. [`Owned::create`] compiles its rules to what the kernel's small machine does (`compile`, `operation`),
//! adds the numbers of `nf_tables.h` (`wire`), and sends all of it at once (`transaction`). `nft list ruleset` shows it as if
//! nft had made it, with comments. Whoever may administer the network reads the [`counters`] by them.

mod compile;
mod error;
mod interval;
mod linger;
mod operation;
mod owned;
mod read;
mod support;
mod table;
mod transaction;
mod wire;

pub use error::NftError;
pub use linger::settle;
pub use owned::{Owned, delete};
pub use read::{RuleCount, TableFacts, counters, tables, wait_until_gone};
pub use support::{Queueing, Support, assume, supports};
pub use table::{Base, Chain, ChainKind, Element, Expression, Family, Hook, Reject, Rule, Set, SetKind, Side, Table};
