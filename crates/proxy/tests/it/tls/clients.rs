//! The clients, each of which asks once and tells in its own words what came of it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::{ClientConfig, RootCertStore};

use super::field::Field;

/// What clients are told besides whom to trust.
#[derive(Default, Clone)]
pub(crate) struct Wishes {
    /// Further arguments of curl.
    pub(crate) curl: Vec<String>,
    /// The list of revoked certificates, in PEM, which Python, Node and Rust are to look at.
    pub(crate) crl: Option<PathBuf>,
    /// How Node sets its ciphers.
    pub(crate) ciphers: Option<&'static str>,
    /// After how many seconds they give up.
    pub(crate) timeout: Option<u64>,
}

fn run(program: &str, args: &[String]) -> String {
    #[expect(clippy::disallowed_methods, reason = "the clients are programs")]
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{} exit {} {}", out.trim(), output.status.code().unwrap_or(-1), err.trim())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn driver(name: &str) -> String {
    format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn curl(field: &Field, wishes: &Wishes) -> String {
    let port = field.port;
    let mut args: Vec<String> =
        ["-sS", "--cacert", &text(&field.ca()), "--resolve", &format!("localhost:{port}:127.0.0.1")].map(str::to_owned).into();
    args.extend(["--max-time".into(), wishes.timeout.unwrap_or(20).to_string()]);
    args.extend(wishes.curl.iter().cloned());
    args.push(format!("https://localhost:{port}/"));
    run("curl", &args)
}

fn options(wishes: &Wishes) -> String {
    let mut options = serde_json::Map::new();
    if let Some(crl) = &wishes.crl {
        options.insert("crl".into(), text(crl).into());
    }
    if let Some(ciphers) = wishes.ciphers {
        options.insert("ciphers".into(), ciphers.into());
    }
    if let Some(timeout) = wishes.timeout {
        options.insert("timeout".into(), timeout.into());
    }
    serde_json::Value::Object(options).to_string()
}

pub(crate) fn python(field: &Field, wishes: &Wishes) -> String {
    run("python3", &[driver("client.py"), field.port.to_string(), text(&field.ca()), options(wishes)])
}

pub(crate) fn node(field: &Field, wishes: &Wishes) -> String {
    run("node", &[driver("client.js"), field.port.to_string(), text(&field.ca()), options(wishes)])
}

/// What rustls is to trust and to look at.
pub(crate) fn rustls_config(field: &Field, wishes: &Wishes) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(field.authority.certificate().clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    if let Some(path) = &wishes.crl {
        use rustls::pki_types::pem::PemObject;
        verifier = verifier.with_crls([CertificateRevocationListDer::from_pem_file(path).unwrap()]);
    }
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_webpki_verifier(verifier.build().unwrap())
        .with_no_client_auth()
}

/// reqwest on rustls: the rustls error where there is one, else all causes.
pub(crate) fn rust(field: &Field, wishes: &Wishes) -> String {
    let config = rustls_config(field, wishes);
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .resolve("localhost", ([127, 0, 0, 1], field.port).into())
        .timeout(Duration::from_secs(wishes.timeout.unwrap_or(20)))
        .no_proxy()
        .build()
        .unwrap();
    let url = format!("https://localhost:{}/", field.port);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async { client.get(url).send().await?.text().await });
    match result {
        Ok(body) => format!("ok {body}"),
        Err(error) => causes(&error),
    }
}

fn causes(error: &(dyn Error + 'static)) -> String {
    let mut told = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        // An I/O error may hold another one, and that what went wrong.
        let mut inner: &(dyn Error + 'static) = error;
        while let Some(next) = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            inner = next;
        }
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return format!("rustls {tls:?}");
        }
        told.push(error.to_string());
        next = error.source();
    }
    told.join(": ")
}
