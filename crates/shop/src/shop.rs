//! The shop as a whole: five services, started together and stopped together.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ports::{Ports, Reserved};
use crate::supervisor::{Recipe, Supervised};
use crate::{Service, UpstreamArg};

/// How long a service may take until it listens, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running shop. Dropping it kills every service.
#[derive(Debug)]
pub struct Shop {
    services: Vec<(Service, Supervised)>,
    // After the services: a port is given back only when its service is gone.
    ports: Vec<(Service, Reserved)>,
    directory: PathBuf,
}

/// A service that calls another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// The caller.
    pub from: Service,
    /// The called.
    pub to: Service,
    /// Where the called one listens.
    pub address: SocketAddr,
}

/// The shop cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ShopError {
    /// The directory for books and logs.
    #[error("{path} cannot be made: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A port.
    #[error("there is no port for {service}: {source}")]
    Port {
        /// For which service.
        service: Service,
        /// Why.
        source: io::Error,
    },
    /// What was to stand between a service and those that it calls.
    #[error("there is nothing between {service} and what it calls: {source}")]
    Between {
        /// The caller.
        service: Service,
        /// Why.
        source: io::Error,
    },
    /// A service.
    #[error("{service} did not start: {source}")]
    Start {
        /// Which.
        service: Service,
        /// Why.
        source: io::Error,
    },
}

impl Shop {
    /// As [`start_through`](Self::start_through), with nothing between the services.
    pub fn start(program: &Path, directory: &Path, ports: Ports) -> Result<Self, ShopError> {
        Self::start_through(program, directory, ports, |edge| Ok(edge.address))
    }

    /// Starts the five services of `program` (which runs one when called with `shop SERVICE …`), and returns when all of
    /// them listen. Books and logs go into `directory`, which is made if need be and is the caller's to remove.
    ///
    /// `through` may put something between two services: it is told where the called one will listen, and returns where the
    /// caller is to connect to.
    pub fn start_through(
        program: &Path,
        directory: &Path,
        ports: Ports,
        mut through: impl FnMut(Edge) -> io::Result<SocketAddr>,
    ) -> Result<Self, ShopError> {
        std::fs::create_dir_all(directory).map_err(|source| ShopError::Directory { path: directory.into(), source })?;
        let mut shop = Self { services: Vec::new(), ports: Vec::new(), directory: directory.into() };
        for service in Service::ALL {
            let reserved = ports.reserve(service).map_err(|source| ShopError::Port { service, source })?;
            shop.ports.push((service, reserved));
        }
        let mut answers = Vec::new();
        for service in Service::ALL {
            let recipe = shop.recipe(program, service, &mut through).map_err(|source| ShopError::Between { service, source })?;
            let (supervised, answer) = Supervised::start(service.name(), recipe).map_err(|source| ShopError::Start { service, source })?;
            shop.services.push((service, supervised));
            answers.push((service, answer));
        }
        for (service, answer) in answers {
            let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "it does not listen after 20 s"));
            answer.recv_timeout(PATIENCE).unwrap_or_else(late).map_err(|source| ShopError::Start { service, source })?;
        }
        Ok(shop)
    }

    fn recipe(&self, program: &Path, service: Service, through: &mut impl FnMut(Edge) -> io::Result<SocketAddr>) -> io::Result<Recipe> {
        let mut args = vec!["shop".into(), service.name().into(), "--listen".into(), self.address(service).to_string()];
        for &upstream in service.upstreams() {
            args.push("--upstream".into());
            let address = through(Edge { from: service, to: upstream, address: self.address(upstream) })?;
            args.push(UpstreamArg { name: upstream.name().into(), address }.to_string());
        }
        let data = match service {
            Service::Ledger => Some(self.books()),
            Service::Gateway => Some(self.maintenance_flag()),
            Service::Orders | Service::Payments | Service::Cache => None,
        };
        if let Some(data) = data {
            args.extend(["--data".into(), data.display().to_string()]);
        }
        args.extend(["--parent".into(), std::process::id().to_string()]);
        Ok(Recipe { program: program.into(), args, log: self.directory.join(format!("{service}.log")) })
    }

    /// Where a service listens.
    pub fn address(&self, service: Service) -> SocketAddr {
        let found = self.ports.iter().find(|(s, _)| *s == service).map(|(_, reserved)| reserved.address());
        // Every service has its port before anything is started.
        found.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// The port that a service listens on.
    pub fn port(&self, service: Service) -> u16 {
        self.address(service).port()
    }

    /// `http://127.0.0.1:PORT` of a service.
    pub fn url(&self, service: Service) -> String {
        format!("http://{}", self.address(service))
    }

    /// The process that a service runs as; none while it is being started again.
    pub fn pid(&self, service: Service) -> Option<u32> {
        self.supervised(service).and_then(Supervised::pid)
    }

    /// How often a service was started again.
    pub fn restarts(&self, service: Service) -> u32 {
        self.supervised(service).map_or(0, Supervised::restarts)
    }

    /// The directory with books and logs.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The ledger's file: one JSON object a line.
    pub fn books(&self) -> PathBuf {
        self.directory.join("ledger.jsonl")
    }

    /// The file that closes the shop for maintenance while it is there.
    pub fn maintenance_flag(&self) -> PathBuf {
        self.directory.join("maintenance")
    }

    fn supervised(&self, service: Service) -> Option<&Supervised> {
        self.services.iter().find(|(s, _)| *s == service).map(|(_, supervised)| supervised)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // All at once, and only then one after the other to wait for.
        for (_, supervised) in &self.services {
            supervised.stop();
        }
    }
}
