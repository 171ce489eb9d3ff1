//! What mail servers get: a real one, from Python.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use squall_model::Verdict;
use squall_notify::{Channel, EventKind, Receipt, SendError, Sending};
use squall_store::MemoryDatabase;
use squall_sys::BootClock;

use crate::{Bench, notice, python, script};

struct MailServer {
    child: Child,
    lines: BufReader<ChildStdout>,
    port: u16,
    /// Its certificate, which nobody else trusts.
    root: Vec<u8>,
    _directory: tempfile::TempDir,
}

impl MailServer {
    fn start(mode: &str, login: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("a certificate");
        let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        std::fs::write(&certificate, cert.pem()).expect("written");
        std::fs::write(&key, signing_key.serialize_pem()).expect("written");
        #[expect(clippy::disallowed_methods, reason = "the mail server is in Python")]
        let mut child = Command::new(python())
            .arg(script("mail.py"))
            .arg(mode)
            .args([&certificate, &key])
            .args(login)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut port = String::new();
        lines.read_line(&mut port).expect("its port");
        let port = port.trim().parse().expect("a port");
        Self { child, lines, port, root: cert.pem().into_bytes(), _directory: directory }
    }

    fn mail(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a mail");
        serde_json::from_str(&line).expect("JSON")
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bench(server: &MailServer) -> Bench {
    let clock = std::sync::Arc::new(BootClock::new());
    Bench::with(clock.clone(), std::sync::Arc::new(MemoryDatabase::new(clock)), vec![server.root.clone()])
}

fn channel(server: &MailServer, security: &str, to: &str, more: Value) -> Channel {
    let mut email = json!({
        "server": "127.0.0.1", "port": server.port, "security": security, "from": "Squall <squall@x.example>", "to": [to], "cc": ["c@x.example"],
    });
    let Value::Object(more) = more else { panic!("an object") };
    email.as_object_mut().expect("an object").extend(more);
    serde_json::from_value(json!({ "to": { "email": email } })).expect("a channel")
}

async fn send(bench: &Bench, channel: &Channel) -> Result<Receipt, SendError> {
    let mut what = notice("r/ended", EventKind::RunEnded);
    (what.verdict, what.reason) = (Some(Verdict::Deviated), Some("Fehlerrate 4 % – zu hoch <b>".into()));
    bench.transport.send(channel, &Sending { id: "d1", notice: &what }).await
}

fn check(mail: &Value) {
    assert_eq!((&mail["from"], &mail["to"]), (&json!("squall@x.example"), &json!(["a@x.example", "c@x.example"])));
    let headers = &mail["headers"];
    assert_eq!(headers["subject"], "slow-payments deviated: a weakness was found");
    assert_eq!((&headers["message-id"], &headers["auto-submitted"]), (&json!("<d1@x.example>"), &json!("auto-generated")));
    assert!(mail["text"].as_str().is_some_and(|text| text.contains("Fehlerrate 4 % – zu hoch <b>")), "{mail}");
    assert!(mail["html"].as_str().is_some_and(|page| page.contains("Fehlerrate 4 % – zu hoch &lt;b&gt;")), "{mail}");
}

#[tokio::test]
async fn mail_goes_over_starttls_with_a_password() {
    let mut server = MailServer::start("starttls", &["squall", "t0ps3cret"]);
    let bench = bench(&server);
    let login = json!({ "user": "squall", "password": bench.secret("password", "t0ps3cret\n") });
    let receipt = send(&bench, &channel(&server, "starttls", "a@x.example", login)).await.expect("taken");
    assert_eq!(receipt.status, Some(250));
    let mail = server.mail();
    assert_eq!((&mail["tls"], &mail["user"]), (&json!(true), &json!("squall")));
    check(&mail);
    let wrong = json!({ "user": "squall", "password": bench.secret("wrong", "hunter22") });
    let error = send(&bench, &channel(&server, "starttls", "a@x.example", wrong)).await.expect_err("refused");
    assert!(error.status == Some(535) && !error.reason.contains("hunter22"), "{error:?}");
}

#[tokio::test]
async fn mail_goes_over_tls_and_in_the_clear() {
    for security in ["tls", "none"] {
        let mut server = MailServer::start(if security == "none" { "plain" } else { security }, &[]);
        send(&bench(&server), &channel(&server, security, "a@x.example", json!({}))).await.expect("taken");
        let mail = server.mail();
        assert_eq!(mail["tls"], security == "tls");
        check(&mail);
    }
}

#[tokio::test]
async fn a_server_that_offers_no_tls_or_is_not_trusted_gets_no_mail() {
    let plain = MailServer::start("plain", &[]);
    let error = send(&bench(&plain), &channel(&plain, "starttls", "a@x.example", json!({}))).await.expect_err("refused");
    assert!(error.reason.contains("STARTTLS"), "{error:?}");
    let server = MailServer::start("starttls", &[]);
    let error = send(&Bench::new(), &channel(&server, "starttls", "a@x.example", json!({}))).await.expect_err("refused");
    assert!(error.reason.to_lowercase().contains("certificate"), "{error:?}");
}

#[tokio::test]
async fn what_a_server_refuses_for_now_is_tried_again_and_what_it_refuses_for_good_is_not() {
    let server = MailServer::start("plain", &[]);
    let bench = bench(&server);
    let later = send(&bench, &channel(&server, "none", "later@x.example", json!({}))).await.expect_err("refused");
    assert_eq!((later.again, later.status), (true, Some(451)), "{later:?}");
    let never = send(&bench, &channel(&server, "none", "never@x.example", json!({}))).await.expect_err("refused");
    assert_eq!((never.again, never.status), (false, Some(550)), "{never:?}");
}
