//! What can go wrong between a request and its answer.

use std::io;

/// Why there is no answer. Each case is one error class of the load generator.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum WireError {
    /// The name did not resolve.
    #[error("`{host}` does not resolve: {reason}")]
    Dns {
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// No connection.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Where to.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// This host is out of descriptors or local ports, so nothing can be said of the other side.
    #[error("this host cannot open another connection: {0}")]
    Exhausted(String),
    /// No TLS session.
    #[error("TLS with {host}: {reason}")]
    Tls {
        /// With whom.
        host: String,
        /// What went wrong in the handshake, or with the certificates.
        reason: String,
    },
    /// The other side reset the connection.
    #[error("the connection was reset")]
    Reset,
    /// The other side closed the connection before the answer was complete.
    #[error("the connection was closed before the answer was complete")]
    Closed,
    /// What came is not HTTP.
    #[error("the answer is not valid HTTP: {0}")]
    Protocol(String),
    /// The answer is larger than what is read of it.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

impl WireError {
    /// From hyper's error: the system's error decides where there is one below.
    pub(crate) fn from_hyper(error: &hyper::Error) -> Self {
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                return match io.kind() {
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => Self::Reset,
                    io::ErrorKind::UnexpectedEof => Self::Closed,
                    _ => Self::Protocol(io.to_string()),
                };
            }
            source = cause.source();
        }
        if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            Self::Closed
        } else {
            Self::Protocol(error.to_string())
        }
    }

    /// From the system's answer to `connect`.
    pub(crate) fn from_connect(address: &str, error: &io::Error) -> Self {
        match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE | rustix::io::Errno::ADDRNOTAVAIL) => {
                Self::Exhausted(error.to_string())
            }
            _ => Self::Connect { address: address.to_owned(), reason: plain_reason(error) },
        }
    }

    /// Whether the other side is known to have broken the exchange, so that "it does not work" has been measured.
    pub(crate) const fn is_measured_failure(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Reset | Self::Closed | Self::Protocol(_))
    }
}

/// `connection refused`, without the number that the standard library adds.
fn plain_reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
