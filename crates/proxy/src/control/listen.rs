//! Where a proxy is to listen: names are looked up before anything else is done, as that may take long.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use super::error::ControlError;
use crate::address::{Address, ListenError};

/// An address to listen on without a name in it.
#[derive(Debug)]
pub(super) struct Listen {
    /// As [`crate::Proxies::open`] takes it.
    pub(super) address: String,
}

impl Listen {
    /// Looks up the name in an address. Nothing at all is any port of all interfaces.
    pub(super) fn resolve(asked: &str) -> Result<Self, ControlError> {
        if asked.is_empty() {
            return Ok(Self::as_is(":0"));
        }
        let Address::Tcp(host, port) = Address::parse(asked)? else { return Ok(Self::as_is(asked)) };
        if host.is_empty() || host.parse::<IpAddr>().is_ok() {
            return Ok(Self::as_is(asked));
        }
        let found = (host.as_str(), port).to_socket_addrs().map_err(|source| ListenError::Lookup { host: host.clone(), source })?;
        // IPv4 first, as most programs that are told a name will look there.
        let first = found.min_by_key(SocketAddr::is_ipv6);
        Ok(Self { address: first.map_or_else(|| asked.to_owned(), |address| address.to_string()) })
    }

    /// As [`resolve`](Self::resolve), with the error of one who only asks what the address is.
    pub(super) fn resolve_to_compare(asked: &str) -> Result<Self, ControlError> {
        Self::resolve(asked).map_err(|error| {
            let text = error.to_string();
            ControlError::Resolve(text.strip_prefix("listen tcp: ").unwrap_or(&text).to_owned())
        })
    }

    /// Without a look.
    pub(super) fn as_is(address: &str) -> Self {
        Self { address: address.to_owned() }
    }

    /// Whether a proxy that shows this address listens there. Port 0 is a new port each time.
    pub(super) fn is_at(&self, shown: &str) -> bool {
        if self.address == shown {
            return !self.address.ends_with(":0");
        }
        // All interfaces have many names: `:80`, `0.0.0.0:80`, `[::]:80`.
        let all = |text: &str| match Address::parse(text) {
            Ok(Address::Tcp(host, port)) if host.is_empty() || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) => Some(port),
            _ => None,
        };
        matches!((all(&self.address), all(shown)), (Some(asked), Some(shown)) if asked == shown && asked != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_resolved_and_nothing_is_all_interfaces() {
        let resolved = |text: &str| Listen::resolve(text).unwrap().address;
        assert_eq!(resolved("localhost:80"), "127.0.0.1:80");
        assert_eq!(resolved(""), ":0");
        assert_eq!(resolved("[::1]:80"), "[::1]:80");
        assert_eq!(resolved("unix:/run/a"), "unix:/run/a");
        assert_eq!(Listen::resolve("local373").unwrap_err().to_string(), "listen tcp: address local373: missing port in address");
        assert_eq!(Listen::resolve_to_compare("local373").unwrap_err().to_string(), "address local373: missing port in address");
    }

    #[test]
    fn all_interfaces_are_the_same_by_any_name_and_port_0_never_is() {
        for (asked, shown, same) in [
            (":80", "[::]:80", true),
            ("0.0.0.0:80", "[::]:80", true),
            (":81", "[::]:80", false),
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "[::]:80", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            (":0", "[::]:0", false),
            ("unix:/a", "unix:/a", true),
        ] {
            assert_eq!(Listen::as_is(asked).is_at(shown), same, "{asked} {shown}");
        }
    }
}
