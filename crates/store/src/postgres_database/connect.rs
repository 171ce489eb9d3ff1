//! The way to a PostgreSQL server: address, TLS, and the pool of connections.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::fault::words;
use crate::StoreError;

/// Connections that one server uses at most, beside the one that listens.
const CONNECTIONS: usize = 8;

/// How long to wait for a connection: to be made, or to be free.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the database is.
#[derive(Clone)]
pub(super) struct Address {
    pub config: Config,
    pub tls: MakeRustlsConnect,
    /// For people: without a password.
    pub place: String,
}

impl Address {
    /// As libpq has it (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>), with `sslrootcert` for a
    /// CA of one's own. Unlike libpq, a server that is spoken to by TLS must always prove its name.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let bad = |reason: String| StoreError::Unreachable { place: "of that address".into(), reason };
        let (url, ca) = take_root(url);
        let mut config: Config = url.parse().map_err(|e| bad(words(&e)))?;
        let place = place(&config);
        // On a socket of this machine there is nobody in between.
        if config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_))) {
            config.ssl_mode(SslMode::Disable);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(PATIENCE);
        }
        if config.get_application_name().is_none() {
            config.application_name("squall");
        }
        // A line that is cut without a word is noticed within half a minute, also by the connection that only listens.
        config.keepalives(true).keepalives_idle(Duration::from_secs(10)).keepalives_interval(Duration::from_secs(5)).keepalives_retries(3);
        config.tcp_user_timeout(Duration::from_secs(25));
        let roots = match (config.get_ssl_mode(), &ca) {
            (SslMode::Disable, _) => RootCertStore::empty(),
            (_, Some(path)) => read_roots(Path::new(path)).map_err(|reason| StoreError::Unreachable { place: place.clone(), reason })?,
            (_, None) => system_roots(),
        };
        let tls = client(roots).map_err(|reason| StoreError::Unreachable { place: place.clone(), reason })?;
        Ok(Self { config, tls: MakeRustlsConnect::new(tls), place })
    }

    pub fn pool(&self) -> Result<Pool, StoreError> {
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(self.config.clone(), self.tls.clone(), manager);
        let pool = Pool::builder(manager).max_size(CONNECTIONS).runtime(Runtime::Tokio1);
        let pool = pool.wait_timeout(Some(PATIENCE)).create_timeout(Some(PATIENCE)).build();
        pool.map_err(|e| StoreError::Unreachable { place: self.place.clone(), reason: e.to_string() })
    }
}

/// What the driver does not know is taken out: the file of a CA.
fn take_root(url: &str) -> (String, Option<String>) {
    const KEY: &str = "sslrootcert=";
    let Some(start) = url.find(KEY) else { return (url.to_owned(), None) };
    let rest = &url[start + KEY.len()..];
    let end = rest.find(['&', ' ']).unwrap_or(rest.len());
    let (path, tail) = rest.split_at(end);
    // With what separated it from the next one, or else from the one before.
    let (head, tail) = match tail.get(1..) {
        Some(tail) => (&url[..start], tail),
        None => (url[..start].trim_end_matches(['&', '?', ' ']), tail),
    };
    (format!("{head}{tail}"), Some(path.replace("%2F", "/").replace("%2f", "/")))
}

fn place(config: &Config) -> String {
    let hosts = config.get_hosts().iter().enumerate().map(|(i, host)| match host {
        Host::Tcp(name) => {
            let port = config.get_ports().get(i).or(config.get_ports().first()).copied().unwrap_or(5432);
            format!("{name}:{port}")
        }
        Host::Unix(path) => path.display().to_string(),
    });
    format!("{} on {}", config.get_dbname().or(config.get_user()).unwrap_or_default(), hosts.collect::<Vec<_>>().join(","))
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Those that cannot be read are missing; a server that needs one of them says so.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn read_roots(path: &Path) -> Result<RootCertStore, String> {
    let failed = |reason: String| format!("sslrootcert {}: {reason}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))? {
        let certificate = certificate.map_err(|e| failed(e.to_string()))?;
        roots.add(certificate).map_err(|e| failed(e.to_string()))?;
    }
    if roots.is_empty() { Err(failed("it has no certificate".into())) } else { Ok(roots) }
}

fn client(roots: RootCertStore) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_ca_is_taken_out_of_an_address() {
        let cases = [
            ("postgres://h/db", "postgres://h/db", None),
            ("postgres://h/db?sslrootcert=/ca.pem", "postgres://h/db", Some("/ca.pem")),
            ("postgres://h/db?sslrootcert=%2Fca.pem&sslmode=require", "postgres://h/db?sslmode=require", Some("/ca.pem")),
            ("postgres://h/db?sslmode=require&sslrootcert=/ca.pem", "postgres://h/db?sslmode=require", Some("/ca.pem")),
            ("host=h sslrootcert=/ca.pem dbname=db", "host=h dbname=db", Some("/ca.pem")),
        ];
        for (url, rest, path) in cases {
            assert_eq!(take_root(url), (rest.to_owned(), path.map(str::to_owned)), "{url}");
        }
    }

    #[test]
    fn a_place_is_told_without_its_password() {
        let address = Address::parse("postgres://ada:secret@db.example:6432/squall?sslmode=disable").expect("parsed");
        assert_eq!(address.place, "squall on db.example:6432");
        let error = Address::parse("postgres://ada:secret@h/db?nonsense=1").err().expect("refused").to_string();
        assert!(!error.contains("secret") && error.contains("nonsense"), "{error}");
    }
}
