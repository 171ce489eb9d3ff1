//! Kinds of target on this host.

mod app;
mod cgroup;
mod container;
mod host;
mod namespace;
mod process;
mod user;

use std::sync::Arc;

use squall_engine::AnyTargetKind;

pub use app::{App, AppFacts, AppSelector};
pub use cgroup::{Cgroup, CgroupFacts, CgroupSelector};
pub use container::{Container, ContainerFacts, ContainerSelector};
pub use host::Host;
pub use namespace::{Namespace, NamespaceFacts, NamespaceSelector};
pub use process::{Process, ProcessSelector, is_protected};
pub use user::{User, UserFacts, UserSelector};

/// Every kind of target here.
pub fn all() -> Vec<Arc<dyn AnyTargetKind>> {
    vec![Arc::new(Process), Arc::new(Host), Arc::new(Namespace), Arc::new(Container), Arc::new(Cgroup), Arc::new(User), Arc::new(App)]
}
