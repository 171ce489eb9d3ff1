//! Where deliveries may go: no channel may be a way into what only the server can reach (server-side request forgery).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// Which addresses deliveries may go to. Everything but the server itself, its link and the clouds' metadata services, unless
/// allowed here. Private networks are allowed: that is where a team's own receivers are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Networks that are allowed although they would be refused, such as `127.0.0.0/8` for a receiver beside the server.
    pub allow: Vec<IpNet>,
}

/// Why a delivery may not go there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {what}, where no channel may send to; allow it in the server's configuration if it is meant")]
pub struct ReachError {
    /// The address.
    pub address: IpAddr,
    /// What it is.
    pub what: &'static str,
}

/// Services of clouds for the machines in them, outside the link-local networks: Azure's, Alibaba's, and those of AWS and Google on IPv6.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

impl Reach {
    /// Whether a delivery may go to this address.
    pub fn check(&self, address: IpAddr) -> Result<(), ReachError> {
        if self.allow.iter().any(|network| network.contains(&address)) {
            return Ok(());
        }
        let hidden = embedded(address);
        if hidden.is_some_and(|inner| self.allow.iter().any(|network| network.contains(&IpAddr::V4(inner)))) {
            return Ok(());
        }
        match refused(address).or_else(|| hidden.and_then(|inner| refused(IpAddr::V4(inner)))) {
            Some(what) => Err(ReachError { address, what }),
            None => Ok(()),
        }
    }

    /// The addresses of a name that deliveries may go to. A name that has only others is refused with the first of them.
    pub(crate) async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        let found: Vec<_> = tokio::net::lookup_host((host, port)).await.map_err(ResolveError::Unknown)?.collect();
        let (allowed, refused): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| self.check(address.ip()).is_ok());
        if allowed.is_empty()
            && let Some(first) = refused.first()
        {
            self.check(first.ip()).map_err(ResolveError::Refused)?;
        }
        Ok(allowed)
    }
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// It has no address, or nobody could be asked.
    #[error("the name cannot be resolved: {0}")]
    Unknown(std::io::Error),
    /// Only addresses that no channel may send to.
    #[error(transparent)]
    Refused(ReachError),
}

fn refused(address: IpAddr) -> Option<&'static str> {
    if METADATA.contains(&address) {
        return Some("a cloud's metadata service");
    }
    match address {
        // 0.0.0.0/8 is "this host on this network" (RFC 1122, 3.2.1.3); Linux connects to itself.
        IpAddr::V4(v4) if v4.is_loopback() || v4.octets()[0] == 0 => Some("the server itself"),
        IpAddr::V4(v4) if v4.is_link_local() => Some("link-local (metadata services are there)"),
        IpAddr::V4(v4) if v4.is_multicast() || v4.is_broadcast() => Some("not one receiver"),
        IpAddr::V6(v6) if v6.is_loopback() || v6.is_unspecified() => Some("the server itself"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("link-local (metadata services are there)"),
        IpAddr::V6(v6) if v6.is_multicast() => Some("not one receiver"),
        _ => None,
    }
}

/// The IPv4 address that an IPv6 address leads to: mapped and compatible (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056).
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = address else { return None };
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_only_the_server_can_reach_is_reached() {
        let reach = Reach::default();
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::1",
        ] {
            assert!(reach.check(address.parse().expect("an address")).is_err(), "{address}");
        }
        for address in ["10.1.2.3", "192.168.0.9", "8.8.8.8", "2001:db8::1", "fd12::1", "::ffff:10.0.0.1"] {
            assert_eq!(reach.check(address.parse().expect("an address")), Ok(()), "{address}");
        }
    }

    #[test]
    fn what_the_configuration_allows_is_reached() {
        let reach = Reach { allow: vec!["127.0.0.0/8".parse().expect("a network")] };
        assert_eq!(reach.check("127.0.0.1".parse().expect("an address")), Ok(()));
        assert_eq!(reach.check("::ffff:127.0.0.1".parse().expect("an address")), Ok(()));
        assert!(reach.check("::1".parse().expect("an address")).is_err());
    }

    #[tokio::test]
    async fn a_name_is_judged_by_its_addresses() {
        let refused = Reach::default().resolve("localhost", 80).await;
        assert!(matches!(refused, Err(ResolveError::Refused(_))), "{refused:?}");
    }
}
