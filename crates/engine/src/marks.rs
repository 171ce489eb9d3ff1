//! Marks of packets and sockets (`SO_MARK`, `meta mark`) by which Squall's parts know each other's. The upper byte says what it
//! is; the others may hold a number of the injection.

/// On the sockets of a process tree that no rule can tell from others, with a number that follows from the target. A socket keeps
/// it until the last fault on its owner has ended.
pub const OWNER_MARK: u32 = 0x5a00_0000;
/// On the connections that a fault proxy makes to original destinations: rules that redirect others let them pass.
pub const PROXY_MARK: u32 = 0x5d00_0001;
/// On packets that carriers of faults send on, with a bit for each that they have passed.
pub const PASS_MARK: u32 = 0x5b00_0000;
/// On queries that a resolver of a DNS fault passes on, with a number of its owner and its place among other resolvers.
pub const RESOLVER_MARK: u32 = 0x5e00_0000;
/// On packets that a device of the kernel is to shape.
pub const DEVICE_MARK: u32 = 0x5c00_0000;
