//! `squall proxy ca`

use std::path::PathBuf;
use std::process::ExitCode;

use squall_proxy::tls::{Authority, AuthorityError};

use crate::context::{CliError, Context};

/// Show the authority that signs the proxy's certificates, and export it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall proxy ca                                 where it is, and how clients are told to believe it
  squall proxy ca --pem > squall-ca.pem           its certificate, without the key
  squall proxy ca --crl crl.pem --revoked localhost
                                                  the list that names what `tls.revoked` shows for localhost")]
pub struct Args {
    /// Print its certificate in PEM, and nothing else
    #[arg(long, conflicts_with_all = ["der", "crl"])]
    pem: bool,
    /// Write its certificate in DER to a file
    #[arg(long, value_name = "FILE")]
    der: Option<PathBuf>,
    /// Write its list of revoked certificates in PEM to a file
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// A server name whose revoked certificate is on the list; may be given many times
    #[arg(long, value_name = "NAME", requires = "crl")]
    revoked: Vec<String>,
    /// Make a new one in its place; clients have to be told anew, and proxies that run keep the old one
    #[arg(long)]
    renew: bool,
}

/// Shows or exports it.
pub fn run(args: &Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let state = cx.state_dir()?;
    let authority = if args.renew { Authority::renew(state.path()) } else { Authority::open(state.path()) };
    let authority = authority.map_err(failed)?;
    if args.pem {
        cx.result(authority.pem().trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let write = |path: &PathBuf, content: &[u8]| -> anyhow::Result<()> {
        std::fs::write(path, content).map_err(|e| CliError::failed(format!("cannot write {}: {e}", path.display()), None))?;
        cx.say(format!("wrote {}", path.display()))
    };
    if let Some(path) = &args.der {
        write(path, authority.certificate())?;
    }
    if let Some(path) = &args.crl {
        write(path, authority.revocation_list_pem(&args.revoked).map_err(failed)?.as_bytes())?;
    }
    if args.der.is_none() && args.crl.is_none() {
        show(&authority, cx)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn failed(error: AuthorityError) -> CliError {
    CliError::failed(error.to_string(), None)
}

fn show(authority: &Authority, cx: &Context) -> anyhow::Result<()> {
    let file = authority.path().map(|path| path.display().to_string()).unwrap_or_default();
    let expires = jiff::Timestamp::from_second(authority.expires())?.strftime("%F").to_string();
    cx.result(format!("name         {}", authority.name()))?;
    cx.result(format!("file         {file} (with its private key; keep it to yourself)"))?;
    cx.result(format!("fingerprint  SHA-256 {}", authority.fingerprint()))?;
    cx.result(format!("expires      {expires}"))?;
    cx.say(TRUST)
}

const TRUST: &str = "
Nothing believes it unless told to. `squall proxy ca --pem > squall-ca.pem` exports its certificate; then for one program:

  curl     curl --cacert squall-ca.pem …
  Python   SSL_CERT_FILE=squall-ca.pem python …        (requests: REQUESTS_CA_BUNDLE)
  Node     NODE_EXTRA_CA_CERTS=squall-ca.pem node …
  Go       SSL_CERT_FILE=squall-ca.pem …
  Rust     SSL_CERT_FILE=squall-ca.pem …               (rustls with the system's authorities)
  Java     keytool -importcert -noprompt -alias squall -file squall-ca.pem -keystore squall.p12 -storepass squall-ca
           java -Djavax.net.ssl.trustStore=squall.p12 -Djavax.net.ssl.trustStorePassword=squall-ca …

SSL_CERT_FILE and trustStore replace the system's authorities for that program. For the whole host, if you must:

  Debian   cp squall-ca.pem /usr/local/share/ca-certificates/squall.crt && update-ca-certificates
  Fedora   cp squall-ca.pem /etc/pki/ca-trust/source/anchors/ && update-ca-trust
  macOS    security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain squall-ca.pem";
