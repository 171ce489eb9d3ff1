//! What is passed on: untouched bytes, names, protocols; and what certificates point to.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;

use serde_json::json;
use squall_proxy::tls::{TlsSpec, UpstreamTls};

use super::clients::{Wishes, curl, rustls_config};
use super::field::{Field, plain_server, server};

#[test]
fn a_client_hello_that_no_rule_is_for_reaches_the_upstream_byte_for_byte() {
    let (sent, seen) = mpsc::channel();
    let upstream = server(move |mut stream| {
        let mut first = vec![0; 4096];
        let count = stream.read(&mut first).unwrap();
        first.truncate(count);
        sent.send(first).unwrap();
        let _ = stream.write_all(b"not even TLS");
    });
    let spec = TlsSpec { terminate: false, ..TlsSpec::default() };
    let field = Field::with(&spec, &json!([{ "fault": "tls.expired", "match": { "host": "other.example.com" } }]), upstream);
    let mut hello = Vec::new();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(rustls_config(&field, &Wishes::default()).into(), name).unwrap();
    client.write_tls(&mut hello).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", field.port)).unwrap();
    // In two pieces, so that it has to be put together.
    let (one, two) = hello.split_at(100);
    stream.write_all(one).unwrap();
    stream.write_all(two).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"not even TLS");
    let mut got = seen.recv().unwrap();
    got.extend(seen.try_iter().flatten());
    assert_eq!(got, hello);
    assert_eq!(field.handshakes(), [""; 0]);
}

#[test]
fn what_is_not_tls_is_passed_on_too() {
    let field = Field::with(&TlsSpec::default(), &json!([]), plain_server());
    let mut stream = TcpStream::connect(("127.0.0.1", field.port)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ok"), "{answer}");
}

/// One proxy behind another: the first starts TLS again, and the second ends it.
fn behind(inner: &Field, verify: bool) -> Field {
    let spec = TlsSpec { verify, ca: verify.then(|| inner.ca()), ..TlsSpec::default() };
    Field::with(&spec, &json!([]), ([127, 0, 0, 1], inner.port).into())
}

#[test]
fn tls_is_ended_and_started_again_with_the_upstream_checked() {
    let inner = Field::new(&json!([]));
    let outer = behind(&inner, true);
    let answer = curl(&outer, &Wishes { curl: vec!["-v".into()], ..Wishes::default() });
    // The inner one knows only HTTP/1.1, so that is what the client gets, although it would have HTTP/2.
    assert!(answer.contains("ok") && answer.contains("ALPN: server accepted http/1.1"), "{answer}");
    let answer = curl(&outer, &Wishes { curl: vec!["--tls-max".into(), "1.2".into()], ..Wishes::default() });
    assert!(answer.contains("ok"), "{answer}");
}

#[test]
fn an_upstream_with_a_bad_certificate_is_not_believed_unless_asked() {
    let inner = Field::new(&json!([{ "fault": "tls.expired" }]));
    let strict = behind(&inner, true);
    let answer = curl(&strict, &Wishes::default());
    assert!(answer.contains("exit 35"), "{answer}");
    let lax = behind(&inner, false);
    let answer = curl(&lax, &Wishes::default());
    assert!(answer.contains("ok"), "{answer}");
}

#[test]
fn what_a_revoked_certificate_points_to_is_served_by_the_proxy() {
    let field = Field::new(&json!([{ "fault": "tls.revoked" }]));
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(rustls_config(&field, &Wishes::default()).into(), name).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", field.port)).unwrap();
    client.complete_io(&mut stream).unwrap();
    let leaf = client.peer_certificates().unwrap()[0].clone();
    let leaf = field.file("leaf.der", &leaf).display().to_string();
    let ca = field.ca().display().to_string();
    let openssl = |args: &[&str]| {
        #[expect(clippy::disallowed_methods, reason = "OpenSSL's own client for OCSP")]
        let output = std::process::Command::new("openssl").args(args).output().expect("openssl is needed for this test");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let text = openssl(&["x509", "-inform", "DER", "-in", &leaf, "-noout", "-text"]);
    let at = format!("http://127.0.0.1:{}/.squall/", field.port);
    assert!(text.contains(&format!("URI:{at}revoked.crl")) && text.contains(&format!("OCSP - URI:{at}ocsp")), "{text}");
    let pem = field.file("leaf.pem", openssl(&["x509", "-inform", "DER", "-in", &leaf])).display().to_string();
    let status = openssl(&["ocsp", "-issuer", &ca, "-cert", &pem, "-url", &format!("{at}ocsp"), "-CAfile", &ca]);
    assert!(status.contains("Response verify OK") && status.contains(": revoked"), "{status}");
    let list = curl_to_file(&field, &format!("{at}revoked.crl"));
    let shown = openssl(&["crl", "-inform", "DER", "-in", &list, "-CAfile", &ca, "-noout", "-text"]);
    assert!(shown.contains("verify OK") && shown.contains("Revoked Certificates:"), "{shown}");
}

fn curl_to_file(field: &Field, url: &str) -> String {
    let path = field.file("list.crl", "").display().to_string();
    #[expect(clippy::disallowed_methods, reason = "fetches as a client would")]
    let output = std::process::Command::new("curl").args(["-sSf", "-o", &path, url]).output().expect("curl is needed for this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

#[test]
fn a_proxy_that_is_plain_behind_offers_only_what_it_can_pass_on() {
    let spec = TlsSpec { upstream: UpstreamTls::Plain, alpn: vec!["h2".into()], ..TlsSpec::default() };
    let field = Field::with(&spec, &json!([]), plain_server());
    let answer = curl(&field, &Wishes { curl: ["-v", "--http1.1"].map(str::to_owned).into(), ..Wishes::default() });
    assert!(answer.contains("server did not agree on a protocol") && answer.contains("ok"), "{answer}");
}
