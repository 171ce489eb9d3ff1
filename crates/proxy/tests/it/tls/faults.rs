//! Each kind of fault, and what each client says of it.

use serde_json::{Value, json};

use super::clients::{Wishes, curl, node, python, rust};
use super::field::Field;

type Client = fn(&Field, &Wishes) -> String;

/// Words that the clients' messages must hold.
struct Said<'a> {
    curl: &'a str,
    python: &'a str,
    node: &'a str,
    rust: &'a str,
}

fn rule(fault: &str, with: &Value) -> Value {
    json!([{ "fault": fault, "with": with }])
}

fn hears(field: &Field, wishes: &Wishes, said: &Said<'_>) {
    let answers = std::thread::scope(|scope| {
        let clients: [(Client, &str); 4] = [(curl, said.curl), (python, said.python), (node, said.node), (rust, said.rust)];
        clients.map(|(client, words)| (scope.spawn(move || client(field, wishes)), words)).map(|(t, words)| (t.join().unwrap(), words))
    });
    let wrong: Vec<String> = ["curl", "python", "node", "rust"]
        .iter()
        .zip(&answers)
        .filter(|(_, (answer, words))| !words.split(" … ").all(|part| answer.contains(part)))
        .map(|(client, (answer, words))| format!("{client} said `{answer}`, not `{words}`"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn each_client_says(fault: &str, with: Value, wishes: &Wishes, said: &Said<'_>) {
    let field = Field::new(&rule(fault, &with));
    hears(&field, wishes, said);
    // A client that gave up is noticed a moment after it said so.
    crate::relay::wait_for("four handshakes", || field.handshakes().len() >= 4);
    let shown = field.handshakes();
    assert!(shown.iter().all(|shown| shown == fault), "{shown:?}");
}

fn all(words: &str) -> Said<'_> {
    Said { curl: words, python: words, node: words, rust: words }
}

#[test]
fn without_a_fault_every_client_is_content() {
    hears(&Field::new(&json!([])), &Wishes::default(), &all("ok"));
}

#[test]
fn expired_is_told_as_expired() {
    let said = Said {
        curl: "exit 60 … certificate has expired",
        python: "SSLCertVerificationError … CERTIFICATE_VERIFY_FAILED … certificate has expired",
        node: "CERT_HAS_EXPIRED",
        rust: "rustls InvalidCertificate(Expired",
    };
    each_client_says("tls.expired", json!({ "ago": "90m" }), &Wishes::default(), &said);
}

#[test]
fn not_yet_valid_is_told_as_not_yet_valid() {
    let said = Said {
        curl: "exit 60 … certificate is not yet valid",
        python: "CERTIFICATE_VERIFY_FAILED … certificate is not yet valid",
        node: "CERT_NOT_YET_VALID",
        rust: "rustls InvalidCertificate(NotValidYet",
    };
    each_client_says("tls.notYetValid", json!({}), &Wishes::default(), &said);
}

#[test]
fn a_wrong_host_is_told_as_a_wrong_host() {
    let said = Said {
        curl: "exit 60 … no alternative certificate subject name matches target host name 'localhost'",
        python: "Hostname mismatch, certificate is not valid for 'localhost'",
        node: "ERR_TLS_CERT_ALTNAME_INVALID",
        rust: "rustls InvalidCertificate(NotValidForName",
    };
    each_client_says("tls.wrongHost", json!({ "name": "db.example.com" }), &Wishes::default(), &said);
}

#[test]
fn an_unknown_issuer_is_told_as_unknown() {
    let said = Said {
        curl: "exit 60 … unable to get local issuer certificate",
        python: "CERTIFICATE_VERIFY_FAILED … unable to get local issuer certificate",
        node: "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
        rust: "rustls InvalidCertificate(UnknownIssuer",
    };
    each_client_says("tls.unknownIssuer", json!({}), &Wishes::default(), &said);
}

#[test]
fn an_unknown_root_that_is_shown_is_told_as_self_signed_in_the_chain() {
    let said = Said {
        curl: "exit 60 … self-signed certificate in certificate chain",
        python: "CERTIFICATE_VERIFY_FAILED … self-signed certificate in certificate chain",
        node: "SELF_SIGNED_CERT_IN_CHAIN",
        rust: "rustls InvalidCertificate(UnknownIssuer",
    };
    each_client_says("tls.unknownIssuer", json!({ "showRoot": true }), &Wishes::default(), &said);
}

#[test]
fn a_missing_intermediate_is_told_as_an_issuer_that_cannot_be_had() {
    let said = Said {
        curl: "exit 60 … unable to get local issuer certificate",
        python: "CERTIFICATE_VERIFY_FAILED … unable to get local issuer certificate",
        node: "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
        rust: "rustls InvalidCertificate(UnknownIssuer",
    };
    each_client_says("tls.missingIntermediate", json!({}), &Wishes::default(), &said);
}

#[test]
fn self_signed_is_told_as_self_signed() {
    let said = Said {
        curl: "exit 60 … self-signed certificate",
        python: "CERTIFICATE_VERIFY_FAILED … self-signed certificate",
        node: "DEPTH_ZERO_SELF_SIGNED_CERT",
        rust: "rustls InvalidCertificate(UnknownIssuer",
    };
    each_client_says("tls.selfSigned", json!({}), &Wishes::default(), &said);
}

#[test]
fn revoked_is_told_as_revoked_by_those_who_look_at_the_list() {
    let field = Field::new(&rule("tls.revoked", &json!({})));
    // Nobody looks by default.
    hears(&field, &Wishes::default(), &all("ok"));
    let crl = field.file("revoked.pem", field.authority.revocation_list_pem(&[]).unwrap());
    let wishes = Wishes { curl: vec!["--crlfile".into(), crl.display().to_string()], crl: Some(crl), ..Wishes::default() };
    let said = Said {
        curl: "exit 60 … certificate revoked",
        python: "CERTIFICATE_VERIFY_FAILED … certificate revoked",
        node: "CERT_REVOKED",
        rust: "rustls InvalidCertificate(Revoked",
    };
    hears(&field, &wishes, &said);
}

#[test]
fn a_stapled_response_tells_curl_that_a_certificate_is_revoked() {
    let field = Field::new(&rule("tls.revoked", &json!({ "mustStaple": true })));
    for version in ["--tlsv1.3", "--tls-max=1.2"] {
        let (flag, value) = version.split_once('=').unwrap_or((version, ""));
        let mut args = vec!["--cert-status".to_owned(), flag.to_owned()];
        args.extend((!value.is_empty()).then(|| value.to_owned()));
        let answer = curl(&field, &Wishes { curl: args, ..Wishes::default() });
        assert!(answer.contains("exit 91") && answer.contains("revocation reason: keyCompromise"), "{version}: {answer}");
    }
}

#[test]
fn a_weak_key_is_told_as_too_weak() {
    let said = Said {
        curl: "exit 60 … EE certificate key too weak",
        python: "CERTIFICATE_VERIFY_FAILED … EE certificate key too weak",
        node: "EE certificate key too weak",
        rust: "rustls InvalidCertificate(BadSignature",
    };
    // Node's OpenSSL has security level 1 by default, where 80 bits of strength are enough: RSA with 1024.
    let wishes = Wishes { ciphers: Some("DEFAULT@SECLEVEL=2"), ..Wishes::default() };
    each_client_says("tls.weakKey", json!({}), &wishes, &said);
    each_client_says("tls.weakKey", json!({ "bits": 768 }), &Wishes::default(), &said);
}

#[test]
fn a_weak_signature_is_told_as_too_weak() {
    let said = Said {
        curl: "exit 60 … CA signature digest algorithm too weak",
        python: "CERTIFICATE_VERIFY_FAILED … CA signature digest algorithm too weak",
        node: "CA signature digest algorithm too weak",
        rust: "rustls InvalidCertificate(UnsupportedSignatureAlgorithm",
    };
    each_client_says("tls.weakSignature", json!({}), &Wishes::default(), &said);
}

#[test]
fn an_outdated_version_is_told_as_unsupported() {
    for only in ["1.0", "1.1"] {
        let said = Said {
            curl: "exit 35 … unsupported protocol",
            python: "UNSUPPORTED_PROTOCOL",
            node: "unsupported protocol",
            rust: "rustls PeerIncompatible(",
        };
        // This curl would go on with TLS 1.0, and fail at what follows.
        let wishes = Wishes { curl: vec!["--tlsv1.2".into()], ..Wishes::default() };
        each_client_says("tls.version", json!({ "only": only }), &wishes, &said);
    }
}

#[test]
fn one_version_alone_serves_only_those_who_speak_it() {
    let field = Field::new(&rule("tls.version", &json!({ "only": "1.2" })));
    hears(&field, &Wishes::default(), &all("ok"));
    let answer = curl(&field, &Wishes { curl: vec!["--tlsv1.3".into()], ..Wishes::default() });
    assert!(answer.contains("exit 35") && answer.contains("alert protocol version"), "{answer}");
    let field = Field::new(&rule("tls.version", &json!({ "only": "1.3" })));
    let old = ["--tls-max", "1.2"].map(str::to_owned).into();
    let answer = curl(&field, &Wishes { curl: old, ..Wishes::default() });
    assert!(answer.contains("exit 35") && answer.contains("alert protocol version"), "{answer}");
}

#[test]
fn no_common_protocol_is_told_by_its_alert() {
    let said = Said {
        curl: "exit 35 … alert no application protocol",
        python: "tlsv1 alert no application protocol",
        node: "SSL alert number 120",
        rust: "rustls AlertReceived(NoApplicationProtocol)",
    };
    each_client_says("tls.wrongAlpn", json!({}), &Wishes::default(), &said);
}

#[test]
fn a_server_may_take_another_protocol_than_wanted_or_none() {
    let field = Field::new(&rule("tls.wrongAlpn", &json!({ "only": "mqtt" })));
    let answer = curl(&field, &Wishes::default());
    assert!(answer.contains("exit 35") && answer.contains("alert no application protocol"), "{answer}");
    let field = Field::new(&rule("tls.wrongAlpn", &json!({ "do": "ignore" })));
    let answer = curl(&field, &Wishes { curl: vec!["-v".into()], ..Wishes::default() });
    assert!(answer.contains("exit 0") && answer.contains("server did not agree on a protocol"), "{answer}");
}

#[test]
fn a_demand_for_a_certificate_is_told_by_its_alert() {
    let said = Said {
        curl: "exit 56 … certificate required",
        python: "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        node: "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED",
        rust: "rustls AlertReceived(CertificateRequired)",
    };
    each_client_says("tls.clientCertificate", json!({}), &Wishes::default(), &said);
}

#[test]
fn a_certificate_that_is_shown_is_refused_or_taken() {
    let key = rcgen::KeyPair::generate().unwrap();
    let shown = rcgen::CertificateParams::new(["client".to_owned()]).unwrap().self_signed(&key).unwrap();
    let pem = format!("{}{}", shown.pem(), key.serialize_pem());
    for (accept, words) in [("none", "exit 56 … unknown ca"), ("any", "ok exit 0")] {
        let field = Field::new(&rule("tls.clientCertificate", &json!({ "accept": accept })));
        let file = field.file("client.pem", &pem).display().to_string();
        let answer = curl(&field, &Wishes { curl: vec!["--cert".into(), file], ..Wishes::default() });
        assert!(words.split(" … ").all(|part| answer.contains(part)), "{accept}: {answer}");
    }
    let old = ["--tls-max", "1.2"].map(str::to_owned).into();
    let answer = curl(&Field::new(&rule("tls.clientCertificate", &json!({}))), &Wishes { curl: old, ..Wishes::default() });
    assert!(answer.contains("exit 35") && answer.contains("alert handshake failure"), "{answer}");
}

#[test]
fn a_handshake_failure_is_told_by_its_alert() {
    let said = Said {
        curl: "exit 35 … alert handshake failure",
        python: "SSLV3_ALERT_HANDSHAKE_FAILURE",
        node: "SSL alert number 40",
        rust: "rustls AlertReceived(HandshakeFailure)",
    };
    each_client_says("tls.handshakeFailure", json!({}), &Wishes::default(), &said);
    let said = Said {
        curl: "exit 35 … unrecognized name",
        python: "UNRECOGNIZED_NAME",
        node: "SSL alert number 112",
        rust: "rustls AlertReceived(UnrecognisedName)",
    };
    each_client_says("tls.handshakeFailure", json!({ "alert": "unrecognizedName" }), &Wishes::default(), &said);
}

#[test]
fn a_stalled_handshake_is_told_as_a_timeout() {
    let wishes = Wishes { timeout: Some(2), ..Wishes::default() };
    for after in ["clientHello", "serverHello"] {
        let said = Said {
            curl: "exit 28 … time",
            python: "TimeoutError … handshake operation timed out",
            node: "timeout",
            rust: "operation timed out",
        };
        each_client_says("tls.stalledHandshake", json!({ "after": after }), &wishes, &said);
    }
}

#[test]
fn a_stall_that_ends_only_costs_time() {
    for after in ["clientHello", "serverHello"] {
        let field = Field::new(&rule("tls.stalledHandshake", &json!({ "after": after, "for": "300ms" })));
        hears(&field, &Wishes::default(), &all("ok"));
        for flags in [["--tls-max", "1.2"], ["--tlsv1.3", "--http1.1"]] {
            let mut args: Vec<String> = flags.map(str::to_owned).into();
            args.extend(["-w", " took %{time_appconnect}"].map(str::to_owned));
            let answer = curl(&field, &Wishes { curl: args, ..Wishes::default() });
            let took: f64 = answer.split("took ").nth(1).and_then(|t| t.split(' ').next()).unwrap().parse().unwrap();
            assert!(answer.contains("ok") && took >= 0.3, "{after} {flags:?}: {answer}");
        }
    }
}

#[test]
fn a_close_in_the_handshake_is_told_as_an_unexpected_end() {
    for after in ["clientHello", "serverHello"] {
        let said = Said {
            curl: "exit 35 … SSL_ERROR_SYSCALL",
            python: "UNEXPECTED_EOF_WHILE_READING",
            node: "ECONNRESET Client network socket disconnected before secure TLS connection was established",
            rust: "handshake eof",
        };
        each_client_says("tls.closeInHandshake", json!({ "after": after }), &Wishes::default(), &said);
    }
}

#[test]
fn a_reset_in_the_handshake_is_told_as_a_reset() {
    for after in ["clientHello", "serverHello"] {
        let said = Said {
            curl: "exit 35 … Connection reset by peer",
            python: "ConnectionResetError",
            node: "ECONNRESET",
            rust: "Connection reset by peer",
        };
        each_client_says("tls.closeInHandshake", json!({ "after": after, "how": "reset" }), &Wishes::default(), &said);
    }
}

#[test]
fn an_end_without_close_notify_is_told_as_truncation() {
    let said = Said {
        curl: "exit 18 … transfer closed with 1 bytes remaining",
        python: "IncompleteRead",
        node: "ECONNRESET aborted",
        rust: "peer closed connection without sending TLS close_notify",
    };
    // In the middle of the body, of which two bytes were announced.
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n".len();
    each_client_says("tls.truncated", json!({ "bytes": format!("{}B", head + 1) }), &Wishes::default(), &said);
}
