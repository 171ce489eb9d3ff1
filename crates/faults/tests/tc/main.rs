//! Faults by traffic control and on interfaces, on hosts in namespaces. Needs root and the Debian packages iproute2, nftables and
//! util-linux.

mod network;
