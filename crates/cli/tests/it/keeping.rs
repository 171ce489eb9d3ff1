//! What a team keeps on its server, from the command line: experiments and their versions, schedules, monkeys, policies, channels, game
//! days and findings.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};

use crate::field::{Field, Victim, wait_for};

const PASSWORD: &str = "correct horse battery staple";

/// A server of its own, and an admin who is signed in.
struct Office {
    field: Field,
    url: String,
    _server: Victim,
}

/// Exit code, standard output and standard error.
type Said = (i32, String, String);

fn told(command: &mut Command, input: &str) -> Said {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    // It may have ended without reading.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("ended");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

impl Office {
    fn new() -> Self {
        let field = Field::new();
        std::fs::create_dir(field.path("secrets")).expect("a directory");
        let secrets = field.path("secrets").display().to_string();
        let config = format!("notifications: {{ allow: [127.0.0.0/8], secretDirectories: [{secrets}] }}\n");
        let config = field.write("server.yaml", &config);
        let mut command = field.squall();
        command.args(["server", "--listen", "127.0.0.1:0", "--agents", "127.0.0.1:0", "--name", "office", "--config"]).arg(config);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let url = line.rsplit_once(": ").expect("a URL").1.trim().to_owned();
        let office = Self { field, url, _server: Victim(child) };
        let first = std::fs::read_to_string(office.field.state().join("first-admin-password")).expect("a first password");
        assert_eq!(office.said(&["login"], &format!("{}\n{PASSWORD}\n", first.trim())).0, 0);
        office
    }

    fn squall(&self, args: &[&str]) -> Command {
        let mut squall = self.field.squall();
        squall.env("SQUALL_SERVER", &self.url).env("SQUALL_LOGINS", self.field.path("config/logins.json")).args(args);
        squall
    }

    fn said(&self, args: &[&str], input: &str) -> Said {
        told(&mut self.squall(args), input)
    }

    /// What it prints, which has to work.
    fn ask(&self, args: &[&str]) -> String {
        self.give(args, "")
    }

    fn give(&self, args: &[&str], input: &str) -> String {
        let (code, out, err) = self.said(args, input);
        assert_eq!(code, 0, "{args:?}: {out}{err}");
        out
    }

    fn json(&self, args: &[&str]) -> Json {
        serde_json::from_str(&self.ask(&[args, &["--output", "json"]].concat())).expect("JSON")
    }

    /// What is refused, with this exit code.
    fn refused(&self, code: i32, args: &[&str], input: &str) -> String {
        let (is, out, err) = self.said(args, input);
        assert_eq!(is, code, "{args:?}: {out}{err}");
        err
    }
}

fn experiment(statement: &str) -> String {
    format!(
        "apiVersion: squall.dev/v1
kind: Experiment
metadata: {{ name: waits }}
spec:
  hypothesis:
    statement: {statement}
    probes: [{{ name: page, tcp: {{ address: \"127.0.0.1:1\" }}, expect: {{ lt: 500ms }} }}]
  steady: {{ for: 100ms }}
  method: [{{ wait: 100ms }}]
"
    )
}

#[test]
fn experiments_schedules_monkeys_and_policies_are_saved_shown_and_removed() {
    let office = Office::new();
    office.give(&["experiment", "save", "-"], &experiment("First."));
    office.give(&["experiment", "save", "-"], &experiment("Second."));
    let versions = office.json(&["experiment", "versions", "waits"]);
    assert_eq!(versions.as_array().map(Vec::len), Some(2));
    let first = versions[1]["version"].to_string();
    assert!(office.ask(&["experiment", "show", "waits"]).contains("Second."));
    assert_eq!(office.ask(&["experiment", "show", "waits", "--at", &first]).trim_end(), experiment("First.").trim_end());

    let schedule = "apiVersion: squall.dev/v1\nkind: Schedule\nmetadata: { name: nightly }\nspec: { experiment: waits, cron: 30 2 * * *, timeZone: Europe/Berlin }\n";
    let wrong = office.refused(2, &["schedule", "apply", "-"], &schedule.replace("kind: Schedule", "kind: Monkey"));
    assert!(wrong.contains("`kind` is `Monkey`, not `Schedule`"), "{wrong}");
    let wrong = office.refused(7, &["schedule", "apply", "-"], &schedule.replace("30 2", "99 2"));
    assert!(wrong.contains("line 4"), "{wrong}");
    let file = office.field.write("nightly.yaml", schedule);
    let file = file.to_str().expect("UTF-8");
    assert_eq!(office.ask(&["schedule", "next", "--file", file, "--count", "3"]).lines().count(), 3);
    office.ask(&["schedule", "apply", file]);
    assert_eq!(office.ask(&["schedule", "show", "nightly"]).trim_end(), schedule.trim_end());
    assert_eq!(office.json(&["schedule", "next", "nightly", "--count", "5"]).as_array().map(Vec::len), Some(5));
    assert!(office.ask(&["schedule", "pause", "nightly"]).contains("paused"));
    assert!(office.ask(&["schedule", "list"]).contains("paused"));
    assert!(office.ask(&["schedule", "resume", "nightly"]).contains("next: "));
    let run = office.ask(&["schedule", "trigger", "nightly"]).trim().to_owned();
    wait_for("the triggered run is in the history", || office.json(&["schedule", "history", "nightly"])[0]["run"] == run.as_str());
    office.ask(&["schedule", "rm", "nightly"]);
    assert_eq!(office.json(&["schedule", "list"]), json!([]));

    let toml = "[chaosmonkey]\nenabled = true\nleashed = true\nschedule_enabled = true\naccounts = [\"prod\"]\n";
    let toml = office.field.write("chaosmonkey.toml", toml);
    let monkey = office.ask(&["monkey", "import", "production", toml.to_str().expect("UTF-8")]);
    office.give(&["monkey", "apply", "-"], &monkey);
    assert!(office.ask(&["monkey", "list"]).starts_with("production  on the leash"));
    office.ask(&["monkey", "today", "production"]);
    assert_eq!(office.json(&["monkey", "history", "production"]), json!([]));
    office.ask(&["monkey", "rm", "production"]);

    let policy = "apiVersion: squall.dev/v1\nkind: Policy\nmetadata: { name: team }\nspec: { caps: { targets: 3 } }\n";
    office.give(&["policy", "apply", "-"], policy);
    assert_eq!(office.ask(&["policy", "show", "team"]).trim_end(), policy.trim_end());
    office.ask(&["policy", "rm", "team"]);
    assert_eq!(office.ask(&["policy", "list", "--quiet"]), "");
    office.ask(&["experiment", "rm", "waits"]);
    assert!(office.refused(6, &["experiment", "show", "waits"], "").contains("experiment"));
}

/// A receiver of webhooks, what it answers, and how many it got.
fn receiver() -> (String, Arc<Mutex<(u16, usize)>>) {
    let state = Arc::new(Mutex::new((200, 0)));
    let shared = state.clone();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let take = move || async move {
                let mut state = shared.lock().expect("not poisoned");
                state.1 += 1;
                axum::http::StatusCode::from_u16(state.0).expect("a status")
            };
            let router = axum::Router::new().fallback(take);
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let _ = axum::serve(listener, router).await;
        });
    });
    (url, state)
}

#[test]
fn channels_are_saved_tried_out_and_their_dead_letters_delivered_again() {
    let office = Office::new();
    let (url, state) = receiver();
    let secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let secret_file = office.field.write("secrets/hook", secret).display().to_string();
    let channel = format!(
        "apiVersion: squall.dev/v1\nkind: Channel\nmetadata: {{ name: team }}\nspec:\n  to: {{ webhook: {{ url: {url}, secret: {{ file: {secret_file} }} }} }}\n  \
         filter: {{ events: [run.ended] }}\n"
    );
    let wrong = office.refused(2, &["channel", "apply", "-"], &channel.replace("filter:", "fliter:"));
    assert!(wrong.contains("fliter") && wrong.contains("did you mean"), "{wrong}");
    let wrong = office.refused(
        7,
        &["channel", "apply", "-"],
        &channel.replace("webhook: { url: http://127.0.0.1", "webhook: { url: http://169.254.169.254"),
    );
    assert!(wrong.contains("to.webhook.url"), "{wrong}");
    office.give(&["channel", "apply", "-"], &channel);
    assert!(office.ask(&["channel", "list"]).starts_with("team  webhook  run.ended"));
    assert!(office.ask(&["channel", "test", "team"]).starts_with("delivered in "));
    state.lock().expect("not poisoned").0 = 410;
    assert!(office.refused(6, &["channel", "test", "team"], "").contains("410"));
    // A run that ends, and a receiver that will not have it.
    office.give(&["experiment", "save", "-"], &experiment("It waits."));
    let manifest = office.field.write("waits.yaml", &experiment("It waits."));
    let (code, ..) = told(office.squall(&["run", "--plain", "--server", &office.url]).arg(manifest), "");
    assert!(code != 0, "nothing was to be measured");
    wait_for("a dead letter", || office.json(&["channel", "dead"]).as_array().is_some_and(|dead| dead.len() == 1));
    state.lock().expect("not poisoned").0 = 200;
    office.ask(&["channel", "retry", "--all", "--channel", "team"]);
    wait_for("it is delivered", || {
        office.json(&["channel", "deliveries", "--state", "delivered"]).as_array().is_some_and(|all| all.len() == 1)
    });
    // What is printed is a file of it, and nothing of it is the secret.
    let shown = office.ask(&["channel", "show", "team"]);
    office.give(&["channel", "apply", "-"], &shown);
    let everything = format!("{shown}{}{}", office.ask(&["audit", "list"]), office.ask(&["channel", "deliveries"]));
    assert!(!everything.contains("whsec_"), "{everything}");
    let id = office.json(&["channel", "deliveries"])[0]["id"].as_str().expect("an id").to_owned();
    office.ask(&["channel", "discard", &id]);
    office.ask(&["channel", "rm", "team"]);
    assert_eq!(office.json(&["channel", "list"]), json!([]));
}

/// An agent that has joined the office's server, and its place.
fn agent(office: &Office) -> (Victim, Field) {
    let line = office.ask(&["hosts", "add"]);
    let words: Vec<&str> = line.split_whitespace().skip_while(|word| *word != "agent").collect();
    let host = Field::new();
    let log = std::fs::File::create(host.path("log")).expect("a log");
    let mut command = host.squall();
    command.args(words).args(["--name", "web-1"]).stdout(Stdio::null()).stderr(log);
    let agent = Victim(command.spawn().expect("started"));
    wait_for("the agent is linked", || office.json(&["hosts", "list"])[0]["connected"] == true);
    (agent, host)
}

#[test]
fn a_game_day_finds_a_weakness_and_a_later_run_shows_that_it_is_gone() {
    let office = Office::new();
    let _agent = agent(&office);
    let name = "sqgameday";
    let victim = office.field.victim(name);
    office.field.write("signal", "0");
    office.give(&["experiment", "save", "-"], &office.field.pause("pause", name, "for: 700ms", ""));
    let plan = "apiVersion: squall.dev/v1\nkind: GameDay\nspec:\n  title: Rehearsal\n  participants: [{ name: admin, role: facilitator }]\n  scenarios:\n    - title: The pause\n      \
                experiment: { saved: pause }\n      from: web-1\n      objective: { detectWithin: 5m }\n";
    let wrong = office.refused(2, &["gameday", "plan", "-"], &plan.replace("5m", "soon"));
    assert!(wrong.contains("detectWithin") || wrong.contains("soon"), "{wrong}");
    let id = office.give(&["gameday", "plan", "-"], plan).trim().to_owned();
    office.ask(&["gameday", "start", &id]);
    office.ask(&["gameday", "scenario", "start", &id, "0"]);
    wait_for("the victim is paused", || victim.state() == Some('T'));
    office.field.write("signal", "1");
    assert!(office.ask(&["gameday", "mark", &id, "0", "detected"]).contains("The pause: detected"));
    office.ask(&["gameday", "note", &id, "the dashboard is red", "--scenario", "0"]);
    wait_for("the victim goes on", || victim.state() != Some('T'));
    office.field.write("signal", "0");
    wait_for("the scenario is over", || office.json(&["gameday", "show", &id])["day"]["scenarios"][0]["verdict"].is_string());
    office.ask(&["gameday", "mark", &id, "0", "resolved"]);
    assert!(office.ask(&["gameday", "mark", &id, "0", "resolved", "--undo"]).contains("not resolved after all"));
    office.ask(&["gameday", "actual", &id, "0", "nobody was paged"]);
    office.ask(&["gameday", "lesson", &id, "page somebody"]);
    office.ask(&["gameday", "action", "add", &id, "an alert", "--owner", "ada", "--due", "2027-01-31"]);
    office.ask(&["gameday", "action", "set", &id, "1", "--state", "doing"]);
    office.ask(&["gameday", "end", &id]);
    assert!(office.ask(&["gameday", "follow", &id]).contains("the dashboard is red"));
    let report = office.ask(&["gameday", "report", &id]);
    assert!(["Rehearsal", "page somebody", "an alert", "nobody was paged"].iter().all(|words| report.contains(words)), "{report}");
    assert!(office.ask(&["gameday", "show", &id]).contains("time to detect: "));
    finding(&office, &id);
}

/// What the game day's run has shown, until it is gone.
fn finding(office: &Office, day: &str) {
    wait_for("a finding", || office.json(&["finding", "list"]).as_array().is_some_and(|all| all.len() == 1));
    let view = office.json(&["finding", "list", "--state", "open", "--experiment", "pause"]);
    assert_eq!(view[0]["finding"]["gameDay"], day);
    let id = view[0]["id"].as_str().expect("an id");
    assert!(office.ask(&["finding", "show", id]).contains("signal: 1, expected"));
    office.ask(&["finding", "update", id, "--title", "A pause is seen", "--tag", "payments", "--service", "checkout"]);
    office.ask(&["finding", "acknowledge", id]);
    office.ask(&["finding", "action", "add", id, "a second instance", "--priority", "P0", "--owner", "ada", "--due", "2020-01-01"]);
    assert!(
        office
            .ask(&["finding", "list", "--overdue", "--owner", "ada", "--priority", "P0", "--tag", "payments"])
            .contains("A pause is seen")
    );
    office.ask(&["finding", "action", "set", id, "1", "--state", "done"]);
    assert!(office.refused(7, &["finding", "verify", id], "").contains("finding fix"));
    office.ask(&["finding", "fix", id, "--reason", "there are two now"]);
    let (code, out, err) = office.said(&["finding", "verify", id, "--from", "web-1"], "");
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("is verified: A pause is seen"), "{out}{err}");
    office.ask(&["finding", "reopen", id, "--reason", "it came back"]);
    assert!(office.ask(&["finding", "wontfix", id, "--reason", "so be it"]).contains("wontfix"));
}
