//! Faults on data: bodies of JSON, and lines of JSON. One file each; the list below is what there is.
//!
//! A value is changed where it stands: every other byte, white space and the order of members included, stays as it was. A body
//! that is not JSON, by its `content-type` or in fact, and one above 16 MiB stay untouched.

mod adversarial;
mod drift;
mod invalid;
pub(crate) mod json;
mod missing;
mod stale;
mod whole;

#[cfg(test)]
mod tests;

pub use adversarial::{Adversarial, List};
pub use drift::Drift;
pub use invalid::{Invalid, To};
pub use missing::{Absent, Missing};
pub use stale::Stale;

use crate::stream::Kind;
use crate::stream::kind::body_kind;

/// The faults on data.
pub const KINDS: &[Kind] = &[
    body_kind!("data.drift", Drift),
    body_kind!("data.missing", Missing),
    body_kind!("data.adversarial", Adversarial),
    body_kind!("data.invalid", Invalid),
    body_kind!("data.stale", Stale),
];
