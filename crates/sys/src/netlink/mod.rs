//! Netlink (`netlink(7)`): messages with nested attributes, and a socket that waits for the kernel's answers.
//!
//! Only what `nft`, `tc`, `link`, `queue` and `sockets` share. Each of those modules knows its own headers and attributes.

mod attribute;
mod message;
mod socket;

pub use attribute::{Attribute, Attributes};
pub use message::{Message, flags};
pub use socket::{Bus, Reply, Socket};
