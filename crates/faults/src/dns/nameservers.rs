//! The name servers that a target uses: `resolv.conf(5)`, as the target sees it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use squall_engine::Target;
use squall_sys::netns::Namespace;

use crate::target::ContainerFacts;

/// Port of DNS.
const PORT: u16 = 53;

/// In the order in which the target asks them. Where none is written, that is this very host (as `resolv.conf(5)` says).
pub(super) fn of(target: &Target, namespace: &Namespace) -> Vec<SocketAddr> {
    let found = std::fs::read_to_string(file(target, namespace)).map(|text| parse(&text)).unwrap_or_default();
    let found = if found.is_empty() { vec![Ipv4Addr::LOCALHOST.into()] } else { found };
    found.into_iter().map(|address| SocketAddr::new(address, PORT)).collect()
}

/// A process may have a file system of its own; `ip netns exec` gives a namespace its own file (`ip-netns(8)`).
fn file(target: &Target, namespace: &Namespace) -> PathBuf {
    let of_process = |pid: &str| PathBuf::from(format!("/proc/{pid}/root/etc/resolv.conf"));
    if let Some(pid) = target.id.strip_prefix("process:").and_then(|rest| rest.split(':').next()) {
        return of_process(pid);
    }
    if let Ok(container) = serde_json::from_value::<ContainerFacts>(target.facts.clone()) {
        return of_process(&container.init.pid.to_string());
    }
    if let (Ok(name), false) = (namespace.path.strip_prefix("/run/netns"), namespace.is_own()) {
        let own = Path::new("/etc/netns").join(name).join("resolv.conf");
        if own.exists() {
            return own;
        }
    }
    "/etc/resolv.conf".into()
}

fn parse(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok())?
    });
    servers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_in_order_and_what_is_no_address_is_passed_over() {
        let text = "# nameserver 1.1.1.1\nsearch a.b\nnameserver 10.0.0.1 # first\n nameserver fd00::1\nnameserver fe80::1%eth0\noptions ndots:5\n";
        assert_eq!(parse(text), ["10.0.0.1".parse::<IpAddr>().expect("v4"), "fd00::1".parse().expect("v6")]);
    }
}
