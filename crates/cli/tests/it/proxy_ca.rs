//! `squall proxy ca`, and what its certificate is good for.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
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

/// One edge, and the port that it listens on.
fn proxy(field: &Field, args: &[&str]) -> (Victim, u16) {
    let (squall, [port]) = announced(field, args, ["listen=127.0.0.1:"]);
    (squall, port)
}

/// One edge, and the ports that it tells of behind these words, in this order.
fn announced<const N: usize>(field: &Field, args: &[&str], words: [&str; N]) -> (Victim, [u16; N]) {
    let mut squall = field.squall();
    squall.arg("proxy").args(args).stderr(Stdio::piped());
    let mut squall = Victim(squall.spawn().expect("started"));
    let mut lines = BufReader::new(squall.0.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let ports = words.map(|word| {
        let port = |line: String| line.split(word).nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
        lines.find_map(port).unwrap_or_else(|| panic!("nothing says `{word}`"))
    });
    (squall, ports)
}

/// A server that says `hello` to every request, as long as the test's process lives.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = BufReader::new(&stream).lines().map_while(Result::ok);
            while head.next().is_some_and(|line| !line.is_empty()) {}
            // A client that left misses nothing.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
        }
    });
    address
}

#[test]
fn one_edge_terminates_tls_so_that_rules_see_what_is_inside() {
    let field = Field::new();
    let pem = field.write("ca.pem", &ca(&field, &["--pem"])).display().to_string();
    let get = |port: u16, path: &str| {
        let url = format!("https://localhost:{port}{path}");
        run("curl", &["-sS", "--cacert", &pem, "--max-time", "20", "-w", "%{http_code}", &url])
    };
    let plain = server().to_string();
    let (_inner, inner) = proxy(&field, &["--upstream", &plain, "--tls", "upstream=plain", "--rule", "http.abort:status=503;path=/no"]);
    assert_eq!((get(inner, "/yes").as_str(), get(inner, "/no").as_str()), ("hello200", "503"));
    // And on to a server of TLS, which is the first proxy here.
    let settings = format!("ca={pem},serverName=localhost");
    let (_outer, outer) =
        proxy(&field, &["--upstream", &format!("localhost:{inner}"), "--tls", &settings, "--rule", "http.abort:status=418;path=/tea"]);
    assert_eq!(["/yes", "/no", "/tea"].map(|path| get(outer, path)), ["hello200", "503", "418"]);

    let wrong = field.squall().args(["proxy", "--upstream", &plain, "--tls", "upstrem=plain"]).output().expect("ran");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong).contains("--tls upstrem=plain: ") && text(&wrong).contains("unknown field `upstrem`"), "{}", text(&wrong));
}

#[test]
fn a_client_that_trusts_the_exported_authority_is_told_what_a_rule_says() {
    let field = Field::new();
    let pem = field.write("ca.pem", &ca(&field, &["--pem"])).display().to_string();
    // Nobody gets as far as the upstream.
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").to_string();
    let args = ["--upstream", &upstream, "--rule", "tls.expired:ago=2h", "--port", "0", "--proxy-metrics"];
    let (_squall, [port, api]) = announced(&field, &args, ["listen=127.0.0.1:", "address=http://127.0.0.1:"]);
    let told = run("curl", &["-sS", "--cacert", &pem, "--max-time", "20", &format!("https://localhost:{port}/")]);
    assert!(told.contains("certificate has expired"), "{told}");
    let metrics = run("curl", &["-sS", "--max-time", "20", &format!("http://127.0.0.1:{api}/metrics")]);
    let hits = r#"squall_proxy_rule_connections_total{arm="injected",proxy="proxy",rule="tls.expired"} 1"#;
    assert!(metrics.contains(hits), "{metrics}");
}
