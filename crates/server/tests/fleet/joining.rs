//! Joining, trust, certificates, and the red button.

use std::time::Duration;

use serde_json::{Value, json};
use squall_model::RunId;
use squall_testkit::{Victim, eventually};

use crate::parts::now;
use crate::process::{Process, here};

/// A server on a port of this host's loopback, and a place for agents.
pub struct Place {
    pub scratch: tempfile::TempDir,
    pub server: Process,
    pub url: String,
    pub port: u16,
    /// The file of the authorities that agents' systems trust.
    trusted: Option<String>,
}

impl Place {
    pub fn new() -> Self {
        Self::with(&[])
    }

    fn with(more: &[&str]) -> Self {
        let scratch = tempfile::Builder::new().prefix("squall-joining-").tempdir().expect("a directory");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let (url, listen) = (format!("https://127.0.0.1:{port}"), format!("127.0.0.1:{port}"));
        let state = scratch.path().join("server").to_string_lossy().into_owned();
        let server = Process::start(here(), &[&["serve", "--state", &state, "--listen", &listen, "--url", &url], more].concat());
        server.said();
        Self { scratch, server, url, port, trusted: None }
    }

    pub fn token(&mut self) -> String {
        self.server.call(json!({ "do": "token" }))["token"].as_str().expect("a token").to_owned()
    }

    /// An agent whose state is in a directory of this name, and what it says first.
    pub fn agent(&self, url: &str, directory: &str, name: &str, token: &str, ca: &str) -> (Process, Value) {
        let state = self.scratch.path().join(directory).to_string_lossy().into_owned();
        let mut args = vec!["agent", "--server", url, "--name", name, "--state", &state, "--ca", ca];
        if !token.is_empty() {
            args.extend(["--join", token]);
        }
        let mut command = here();
        if let Some(trusted) = &self.trusted {
            command.env("SSL_CERT_FILE", trusted);
        }
        let agent = Process::start(command, &args);
        let said = agent.said();
        (agent, said)
    }

    pub fn linked(&mut self, count: u64) {
        let server = std::sync::Mutex::new(&mut self.server);
        eventually("so many are linked", || server.lock().expect("free").call(json!({ "do": "connected" }))["connected"] == json!(count));
    }
}

pub fn join_and_refuse() {
    let (mut own, mut other) = (Place::new(), Place::new());
    let token = own.token();
    // A token says which server it is of: nobody else gets to see it.
    let (_, said) = own.agent(&other.url, "a", "web-1", &token, "pinned");
    assert!(said["error"].as_str().is_some_and(|error| error.contains("another server than the token's")), "{said}");
    let (first, said) = own.agent(&own.url, "a", "web-1", &token, "pinned");
    assert_eq!(said, json!({ "ready": "web-1" }));
    own.linked(1);
    let identity = own.scratch.path().join("a/agent/identity.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&identity).expect("there").permissions());
    assert_eq!(mode & 0o777, 0o600);
    // Used up; and the name is taken.
    let (_, said) = own.agent(&own.url, "b", "web-2", &token, "pinned");
    assert!(said["error"].as_str().is_some_and(|error| error.contains("used up")), "{said}");
    let again = own.token();
    let (_, said) = own.agent(&own.url, "b", "web-1", &again, "pinned");
    assert!(said["error"].as_str().is_some_and(|error| error.contains("has joined already")), "{said}");
    // It comes back by its certificate alone; another server has nothing to say to it, and hears nothing of it.
    drop(first);
    own.linked(0);
    let (stray, said) = own.agent(&other.url, "a", "web-1", "", "pinned");
    assert_eq!(said, json!({ "ready": "web-1" }));
    own.linked(1);
    assert_eq!(other.server.call(json!({ "do": "connected" }))["connected"], json!(0));
    // Forgotten, its certificate is good for nothing.
    own.server.call(json!({ "do": "forget", "host": "web-1" }));
    own.linked(0);
    drop(stray);
    let (_gone, _) = own.agent(&own.url, "a", "web-1", "", "pinned");
    std::thread::sleep(Duration::from_secs(1));
    own.linked(0);
}

pub fn red_button() {
    let mut place = Place::new();
    let token = place.token();
    let (_agent, _) = place.agent(&place.url, "a", "web-1", &token, "pinned");
    place.linked(1);
    let victim = Victim::sleeper();
    let run = |number: u64| RunId::new(1_700_000_000_000 + u64::from(std::process::id()) * 1000 + number, 1);
    let inject = |number: u64| json!({ "do": "inject", "host": "web-1", "run": run(number), "process": victim.name(), "leaseMs": 10_000 });
    let said = place.server.call(inject(1));
    assert!(said["answer"]["done"].is_object(), "{said}");
    eventually("it is paused", || victim.state() == Some('T'));
    // The same again is the same, and no second injection.
    assert!(place.server.call(inject(1))["answer"]["done"].is_object());
    let stopped = place.server.call(json!({ "do": "stop", "block": true }));
    assert_eq!((&stopped["reverted"], &stopped["failed"]), (&json!(1), &json!([])), "{stopped}");
    assert!(stopped["tookUs"].as_u64().is_some_and(|took| took < 1_000_000), "{stopped}");
    assert_ne!(victim.state(), Some('T'));
    let refused = |said: &Value, why: &str| assert!(said["error"].as_str().is_some_and(|error| error.contains(why)), "{said}");
    refused(&place.server.call(inject(1)), "put back");
    refused(&place.server.call(inject(2)), "stop file");
    place.server.call(json!({ "do": "unblock", "host": "web-1" }));
    assert!(place.server.call(inject(3))["answer"]["done"].is_object());
    // A run that no beat names any more is put back.
    place.server.call(json!({ "do": "leave", "run": run(3) }));
    eventually("it runs again", || victim.state() != Some('T'));
}

/// The certificate of an agent whose state is in a directory of this name.
fn certificate(place: &Place, directory: &str) -> String {
    let text = std::fs::read(place.scratch.path().join(directory).join("agent/identity.json")).expect("there");
    let identity: Value = serde_json::from_slice(&text).expect("JSON");
    identity["certificate"].as_str().expect("a certificate").to_owned()
}

pub fn renewal() {
    let mut place = Place::with(&["--life", "9000"]);
    let token = place.token();
    let (_agent, _) = place.agent(&place.url, "a", "web-1", &token, "pinned");
    place.linked(1);
    // Three seconds each: after three of them the first one is over.
    let mut known = vec![certificate(&place, "a")];
    let began = now();
    while known.len() < 4 {
        eventually("another certificate", || certificate(&place, "a") != known[known.len() - 1]);
        known.push(certificate(&place, "a"));
    }
    assert!(now() - began > Duration::from_secs(5), "not one after another without a pause: {:?}", now() - began);
    place.linked(1);
    let unblocked = place.server.call(json!({ "do": "unblock", "host": "web-1" }));
    assert!(unblocked["answer"]["done"].is_object(), "{unblocked}");
}

pub fn system_authority() {
    let keys = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (keys.path().join("server.pem"), keys.path().join("server.key"));
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let [certificate, key] = [&certificate, &key].map(|path| path.to_string_lossy().into_owned());
    let mut place = Place::with(&["--certificate", &certificate, "--key", &key]);
    let token = place.token();
    // Neither is it the token's authority, nor one that this system trusts.
    for (ca, why) in [("pinned", "another server than the token's"), ("system", "is not good")] {
        let (_, said) = place.agent(&place.url, "a", "web-1", &token, ca);
        assert!(said["error"].as_str().is_some_and(|error| error.contains(why)), "{ca}: {said}");
    }
    place.trusted = Some(certificate);
    let (_agent, said) = place.agent(&place.url, "a", "web-1", &token, "system");
    assert_eq!(said, json!({ "ready": "web-1" }));
    place.linked(1);
    // Another name than the certificate's.
    let token = place.token();
    let elsewhere = place.url.replace("127.0.0.1", "localhost");
    let (_, said) = place.agent(&elsewhere, "b", "web-2", &token, "system");
    assert!(said["error"].as_str().is_some_and(|error| error.contains("is not good")), "{said}");
}
