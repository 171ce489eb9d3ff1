//! Ports of the services, kept for them while they are dead.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, socket_with, sockopt};

use crate::Service;

/// Which ports the services get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// Any that are free.
    Free,
    /// The gateway gets this one, and the others the four that follow: orders, payments, ledger, cache.
    From(u16),
}

impl Ports {
    fn wanted(self, service: Service) -> Option<u16> {
        match self {
            Self::Free => Some(0),
            Self::From(first) => Service::ALL.iter().position(|s| *s == service).and_then(|i| first.checked_add(u16::try_from(i).ok()?)),
        }
    }

    /// Keeps a port for a service.
    pub fn reserve(self, service: Service) -> io::Result<Reserved> {
        let port = self.wanted(service).ok_or_else(|| io::Error::other("the port would be past 65535"))?;
        Reserved::new(port)
    }
}

/// A loopback port that is bound but not listened on. With `SO_REUSEADDR` on both sides a service may bind and listen on
/// it (see socket(7)), but the kernel gives it to nobody who asks for any free port, and nobody can take it while the
/// service is dead and about to be started again.
#[derive(Debug)]
pub struct Reserved {
    address: SocketAddr,
    _socket: OwnedFd,
}

impl Reserved {
    fn new(port: u16) -> io::Result<Self> {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        let address: SocketAddr = getsockname(&socket)?.try_into()?;
        Ok(Self { address, _socket: socket })
    }

    /// Where the service is to listen.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_takes_one_listener_again_and_again() {
        let reserved = Ports::Free.reserve(Service::Gateway).expect("a free port");
        for _ in 0..3 {
            let listener = std::net::TcpListener::bind(reserved.address()).expect("the reservation is no obstacle");
            let client = std::net::TcpStream::connect(reserved.address()).expect("connect");
            drop((listener.accept().expect("accept"), client));
        }
    }

    #[test]
    fn ports_follow_one_another() {
        assert_eq!(Ports::From(8080).wanted(Service::Cache), Some(8084));
        assert_eq!(Ports::From(65535).wanted(Service::Orders), None);
    }
}
