//! Network interfaces (`rtnetlink(7)`): what there is, making an `ifb`, up and down, MTU, and what goes lost when one is down.

mod control;
mod facts;
mod kept;
mod restore;

pub(crate) use control::ifb_message;
pub use control::{Links, interfaces};
pub use facts::Interface;
pub use kept::Kept;
pub use restore::Restored;
