//! Hosts in network namespaces, and what is measured between them without the product.
//!
//! ```no_run
//! use squall_testkit::net::{Family, Lab, probe::Train};
//!
//! let lab = Lab::new();
//! let (a, b) = (lab.host("a"), lab.host("b"));
//! let journey = Train::new(1000, 1000.0).run(&a, &b, Family::V6);
//! assert!(journey.lost().is_empty());
//! // Everything is gone when the lab is dropped, with all processes that are left in it.
//! ```
//!
//! Hosts need root, and the Debian packages iproute2 and util-linux.

pub mod accuracy;
mod host;
mod in_force;
mod lab;
pub mod probe;
pub mod statistics;

pub use host::{Family, Host};
pub use in_force::{InForce, mechanism};
pub use lab::{Lab, Segment};
