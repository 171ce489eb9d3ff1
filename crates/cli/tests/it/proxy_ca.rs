//! `squall proxy ca`, and what its certificate is good for.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::field::{Field, Victim, text};

fn ca(field: &Field, args: &[&str]) -> String {
    let output = field.squall().args(["proxy", "ca"]).args(args).output().expect("ran");
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).expect("text")
}

fn run(program: &str, args: &[&str]) -> String {
    #[expect(clippy::disallowed_methods, reason = "the clients are programs")]
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program} is needed for this test: {e}"));
    text(&output)
}

#[test]
fn the_authority_is_made_once_shown_and_exported_without_its_key() {
    let field = Field::new();
    let shown = ca(&field, &[]);
    for part in
        ["Squall local authority", "proxy-ca.pem", "SHA-256 ", "--cacert", "NODE_EXTRA_CA_CERTS", "keytool", "update-ca-certificates"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let pem = ca(&field, &["--pem"]);
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----") && !pem.contains("PRIVATE"), "{pem}");
    assert_eq!(ca(&field, &["--pem"]), pem);
    let (der, file) = (field.path("ca.der"), field.write("ca.pem", &pem));
    ca(&field, &["--der", &der.display().to_string()]);
    let fingerprint = run("openssl", &["x509", "-inform", "DER", "-in", &der.display().to_string(), "-noout", "-fingerprint", "-sha256"]);
    let fingerprint = fingerprint.trim().rsplit('=').next().expect("a fingerprint");
    assert!(shown.contains(fingerprint), "{fingerprint}: {shown}");
    let crl = field.path("crl.pem").display().to_string();
    ca(&field, &["--crl", &crl, "--revoked", "localhost"]);
    let list = run("openssl", &["crl", "-in", &crl, "-CAfile", &file.display().to_string(), "-noout", "-text"]);
    assert!(list.contains("verify OK") && list.contains("Serial Number"), "{list}");
    assert_ne!(ca(&field, &["--renew", "--pem"]), pem);
}

#[test]
fn a_client_that_trusts_the_exported_authority_is_told_what_a_rule_says() {
    let field = Field::new();
    let pem = field.write("ca.pem", &ca(&field, &["--pem"])).display().to_string();
    // Nobody gets as far as the upstream.
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").to_string();
    let mut squall = field.squall();
    squall.args(["proxy", "--upstream", &upstream, "--rule", "tls.expired:ago=2h"]).stderr(Stdio::piped());
    let mut squall = Victim(squall.spawn().expect("started"));
    let mut lines = BufReader::new(squall.0.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let port = lines.find_map(|line| line.split("127.0.0.1:").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u16>().ok());
    let port = port.expect("where it listens").to_string();
    let told = run("curl", &["-sS", "--cacert", &pem, "--max-time", "20", &format!("https://localhost:{port}/")]);
    assert!(told.contains("certificate has expired"), "{told}");
}
