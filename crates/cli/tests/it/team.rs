//! A team's server with agents on two hosts, from an empty directory: an experiment over the API that delays the traffic between
//! them, watched live, and the red button.

#![expect(clippy::disallowed_methods, reason = "the test is on the outside, where time is the machine's own")]

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use squall_api::Page;
use squall_api::approvals::{Approval, ApprovalState, NewApproval};
use squall_api::client::{Client, Credential};
use squall_api::hosts::{Host as Known, JoinToken};
use squall_api::runs::{NewRun, Run, Stopped};
use squall_api::session::{Login, PasswordChange};
use squall_api::tokens::NewToken;
use squall_model::{Event, Record, Verdict};
use squall_testkit::net::{Host, Lab};

/// The longest wait for anything here.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server, two hosts, and somebody who is signed in.
struct Team {
    office: Host,
    web: Host,
    db: Host,
    children: Vec<Child>,
    dir: tempfile::TempDir,
    _lab: Lab,
}

impl Drop for Team {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Team {
    fn new() -> Self {
        let lab = Lab::new();
        let (office, web, db) = (lab.host("office"), lab.host("web"), lab.host("db"));
        Self { office, web, db, children: Vec::new(), dir: tempfile::tempdir().expect("a directory"), _lab: lab }
    }

    /// With its server started, somebody signed in, both hosts joined, and something that listens on the database's host.
    fn at_work() -> (Self, Client, String, std::net::TcpListener) {
        let mut team = Self::new();
        let client = team.start();
        team.join(&client);
        let db = team.db.v4().to_string();
        let listener = team.db.within(|| std::net::TcpListener::bind(format!("{db}:5432")).expect("bound"));
        (team, client, db, listener)
    }

    fn squall(&mut self, host: &Host, state: &str, args: &[&str]) {
        let mut command = host.command(env!("CARGO_BIN_EXE_squall"));
        command.arg("--state-dir").arg(self.dir.path().join(state)).args(args).env("NO_COLOR", "1").env_remove("SQUALL_POLICY");
        let log = std::fs::File::create(self.dir.path().join(format!("{state}.log"))).expect("a log");
        let errors = log.try_clone().expect("a log");
        self.children.push(command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("squall runs"));
    }

    fn log(&self, state: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(format!("{state}.log"))).unwrap_or_default()
    }

    /// Does something in the office, as somebody who uses the API.
    fn office<T: Send, F: Future<Output = T>>(&self, work: impl FnOnce() -> F + Send) -> T {
        self.office.within(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(work())
        })
    }

    fn url(&self) -> String {
        format!("http://{}:7440", self.office.v4())
    }

    fn serve(&mut self) {
        let (api, agents) = (format!("{}:7440", self.office.v4()), format!("{}:7443", self.office.v4()));
        let office = self.office.clone();
        self.squall(&office, "server", &["server", "--listen", &api, "--agents", &agents, "--name", "office"]);
    }

    /// Starts the server and signs in: the client has a token of its own.
    fn start(&mut self) -> Client {
        self.serve();
        let password = self.dir.path().join("server/first-admin-password");
        squall_testkit::eventually("the first admin's password is there", || password.exists());
        let password = std::fs::read_to_string(password).expect("the password").trim().to_owned();
        let url = self.url();
        self.office(|| sign_in(&url, &password))
    }

    /// Has both hosts join, with one token and one line each.
    fn join(&mut self, client: &Client) {
        let token: JoinToken = self.office(|| async { client.post("hosts/tokens", &json!({ "uses": 2 })).await.expect("a token") });
        let server = format!("https://{}:7443", self.office.v4());
        for (host, zone) in [(self.web.clone(), "a"), (self.db.clone(), "b")] {
            let name = host.name().to_owned();
            let (zone, address) = (format!("zone={zone}"), format!("address={}", host.v4()));
            let labels = ["--label", &zone, "--label", &address];
            self.squall(&host, &name, &[&["agent", "--server", &server, "--join", &token.token, "--name", &name], &labels[..]].concat());
        }
        self.until(client, "both hosts are linked", |hosts: &Page<Known>| hosts.items.iter().filter(|h| h.connected).count() == 2, "hosts");
    }

    fn until<T: serde::de::DeserializeOwned + Send + std::fmt::Debug>(
        &self,
        client: &Client,
        what: &str,
        is: impl Fn(&T) -> bool + Send + Sync,
        path: &str,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen: T = self.office(|| async { client.get(path).await.expect(path) });
            if is(&seen) {
                return seen;
            }
            let logs = || ["server", "web", "db"].map(|state| format!("--- {state}\n{}", self.log(state))).join("\n");
            assert!(Instant::now() < deadline, "{what}: {seen:#?}\n{}", logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn run(&self, client: &Client, new: &NewRun) -> Run {
        self.office(|| async { client.post("runs", new).await.expect("started") })
    }

    fn ended(&self, client: &Client, run: &Run) -> Run {
        self.until(client, "the run is over", |run: &Run| run.verdict.is_some(), &format!("runs/{}", run.run))
    }

    /// What the kernel has of rules and queues on both hosts.
    fn network(&self) -> String {
        [&self.web, &self.db].map(|host| format!("{}{}", host.run("nft list ruleset"), host.run("tc qdisc show"))).join("\n")
    }
}

async fn sign_in(url: &str, password: &str) -> Client {
    let client = Client::new(url, None).expect("a client");
    let login = |password: &str| Login { user: "admin".into(), password: password.into() };
    let (session, who) = loop {
        match client.clone().login(&login(password)).await {
            Ok(signed_in) => break signed_in,
            Err(squall_api::client::ClientError::Unreachable { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(who.must_change, "the first password has to be changed");
    let change = PasswordChange { current: password.into(), new: "a long pass phrase".into() };
    let _: Json = session.put("session/password", &change).await.expect("changed");
    let (session, _) = client.clone().login(&login("a long pass phrase")).await.expect("signed in again");
    let token: Json = session.post("tokens", &NewToken { name: "test".into(), ..NewToken::default() }).await.expect("a token");
    client.with(Credential::Token(token["secret"].as_str().expect("the secret").to_owned()))
}

/// 200 ms between the hosts, as seen from one of them.
fn manifest(db: &str) -> String {
    format!(
        "apiVersion: squall.dev/v1
kind: Experiment
metadata: {{ name: slow-database }}
spec:
  hypothesis:
    statement: The web host reaches the database, however slowly.
    probes:
      - name: round trip
        tcp: {{ address: \"{db}:5432\", measure: roundTrip }}
        expect: {{ lt: 5s }}
        every: 200ms
  steady: {{ for: 600ms }}
  method:
    - name: slow
      fault: network.latency
      target: {{ host: {{}}, hosts: {{ labels: {{ zone: a }} }} }}
      with: {{ delay: 200ms, scope: {{ peers: [\"{db}\"] }} }}
      for: 50s
"
    )
}

/// How long a connection from a host takes.
fn connects_within(from: &Host, to: &str) -> Duration {
    let address: std::net::SocketAddr = format!("{to}:5432").parse().expect("an address");
    from.within(|| {
        let began = Instant::now();
        std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5)).expect("connected");
        began.elapsed()
    })
}

#[test]
fn two_hosts_join_a_run_is_watched_and_the_red_button_puts_everything_back() {
    let (team, client, db, _listener) = Team::at_work();
    let before = team.network();

    let new = NewRun { manifest: Some(manifest(&db)), from: Some("web".into()), ..NewRun::default() };
    let plan: Json = team.office(|| async { client.post("runs/plan", &new).await.expect("a plan") });
    assert_eq!(plan["steps"][0]["refusals"], json!([]), "{plan:#}");
    assert!(plan["steps"][0]["targets"][0]["changes"][0]["what"].as_str().is_some_and(|what| what.ends_with(" on web")), "{plan:#}");
    assert_eq!(team.network(), before, "a plan changes nothing");

    let run = team.run(&client, &new);
    let watched = team.office(|| watch_until_in_force(&client, &run));
    assert!(watched.contains("web: "), "the evidence is the host's: {watched}");
    assert!(connects_within(&team.web, &db) >= Duration::from_millis(200), "the fault is really there");

    let pressed = Instant::now();
    let stopped: Stopped = team.office(|| async { client.post("stop", &json!({ "reason": "a test" })).await.expect("stopped") });
    let took = pressed.elapsed();
    assert_eq!(stopped.unreached, Vec::<String>::new());
    assert_eq!(team.network(), before, "everything is as it was when the button has answered");
    assert!(took < Duration::from_secs(1), "the red button took {took:?}: {stopped:?}");
    assert!(connects_within(&team.web, &db) < Duration::from_millis(150));

    let ended = team.ended(&client, &run);
    assert_eq!(ended.verdict, Some(Verdict::Aborted), "{ended:?}");
    let report = team.office(|| async { client.text(&format!("runs/{}/report?format=md", run.run)).await.expect("a report") });
    assert!(report.contains("slow-database") && report.contains("aborted"), "{report}");
}

/// Follows the journal until the fault is seen to be in force; gives the evidence.
async fn watch_until_in_force(client: &Client, run: &Run) -> String {
    let mut events = client.events(&format!("runs/{}/events", run.run), None).await.expect("followed");
    let mut next = 0;
    while let Some(event) = events.next().await.expect("an event") {
        let record: Record = serde_json::from_str(&event.data).expect("a record");
        assert_eq!(record.seq, next, "no event is left out");
        next += 1;
        match record.event {
            Event::Verified { in_force: true, evidence, .. } => return evidence,
            Event::Verified { evidence, .. } => panic!("not in force: {evidence}"),
            Event::Ended { reason, .. } => panic!("over already: {reason}"),
            _ => {}
        }
    }
    panic!("the stream ended early");
}

#[test]
fn a_run_that_is_stopped_on_its_host_is_put_back_there_and_the_agent_goes_on() {
    let (mut team, client, db, _listener) = Team::at_work();
    let before = team.network();
    let new = NewRun { manifest: Some(manifest(&db)), from: Some("web".into()), ..NewRun::default() };
    let run = team.run(&client, &new);
    team.office(|| watch_until_in_force(&client, &run));
    let mut squall = team.web.command(env!("CARGO_BIN_EXE_squall"));
    squall.arg("--state-dir").arg(team.dir.path().join("web")).args(["stop", run.run.as_str()]);
    let output = squall.output().expect("squall runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(team.network(), before);
    let ended = team.ended(&client, &run);
    assert_eq!(ended.verdict, Some(Verdict::Inconclusive), "{ended:?}");
    for child in &mut team.children {
        assert!(child.try_wait().expect("looked at").is_none(), "neither server nor agents have ended");
    }
    // The agent takes the next one.
    let run = team.run(&client, &new);
    team.office(|| watch_until_in_force(&client, &run));
}

#[test]
fn what_a_killed_server_had_in_force_is_put_back_and_its_run_is_ended_when_it_is_back() {
    let (mut team, client, db, _listener) = Team::at_work();
    let before = team.network();
    let new = NewRun { manifest: Some(manifest(&db)), from: Some("web".into()), lease: Some("4s".into()), ..NewRun::default() };
    let run = team.run(&client, &new);
    team.office(|| watch_until_in_force(&client, &run));

    // SIGKILL: `Child::kill`.
    let mut server = team.children.remove(0);
    server.kill().expect("killed");
    server.wait().expect("reaped");
    let killed = Instant::now();
    squall_testkit::eventually("the host puts it back by itself", || team.network() == before);
    assert!(killed.elapsed() <= Duration::from_secs(5), "within its lease and a second: {:?}", killed.elapsed());

    team.serve();
    let path = format!("runs/{}", run.run);
    let known = || team.office(|| async { client.get::<Run>(&path).await });
    squall_testkit::eventually("the run is over", || known().is_ok_and(|run| run.verdict.is_some()));
    let ended = known().expect("known");
    assert_eq!(ended.verdict, Some(Verdict::Aborted), "{ended:?}");
    assert!(ended.reason.as_ref().is_some_and(|reason| reason.ends_with("everything was put back")), "{ended:?}");
    assert_eq!(team.network(), before);
}

#[test]
fn a_manifest_gives_the_same_verdict_by_the_server_as_by_hand() {
    let (team, client, db, _listener) = Team::at_work();
    // By hand on the host there are no other hosts to choose from.
    for (expect, verdict) in [("lt: 5s", Verdict::Held), ("lt: 100ms", Verdict::Deviated)] {
        let text = manifest(&db).replace("lt: 5s", expect).replace("for: 50s", "for: 1s");
        let by_hand = text.replace(", hosts: { labels: { zone: a } }", "");
        let path = team.dir.path().join("by-hand.yaml");
        std::fs::write(&path, by_hand).expect("written");
        let mut squall = team.web.command(env!("CARGO_BIN_EXE_squall"));
        squall.arg("--state-dir").arg(team.dir.path().join("by-hand")).args(["run", "--plain"]).arg(Path::new(&path));
        let output = squall.output().expect("squall runs");
        assert_eq!(output.status.code(), Some(verdict.exit_code().into()), "{}", String::from_utf8_lossy(&output.stderr));

        let new = NewRun { manifest: Some(text), from: Some("web".into()), ..NewRun::default() };
        let run = team.run(&client, &new);
        let ended = team.ended(&client, &run);
        assert_eq!(ended.verdict, Some(verdict), "{ended:?}");
    }

    // What became of them is there for Prometheus.
    let counted = [
        "chaos_experiment_status{experiment=\"slow-database\"} 0",
        "squall_runs_total{experiment=\"slow-database\",verdict=\"deviated\"} 1",
        "squall_runs_total{experiment=\"slow-database\",verdict=\"held\"} 1",
        "squall_injections_total{fault=\"network.latency\",result=\"in_force\"} 2",
        "chaos_recovery_time_seconds_count 2",
        "chaos_blast_radius{services=\"\"} 0",
        "squall_host_linked{host=\"web\"} 1",
    ];
    let metrics = || team.office(|| async { client.text("metrics").await.expect("metrics") });
    squall_testkit::eventually("the runs are counted", || counted.iter().all(|line| metrics().contains(line)));
    assert!(metrics().ends_with("# EOF\n"), "{}", metrics());
}

/// Zone `a` is production: kills are nobody's there, and whatever else happens wants another pair of eyes.
const POLICY: &str = "apiVersion: squall.dev/v1
kind: Policy
metadata: { name: production }
spec:
  rules:
    - name: no kills
      when: fault.kind == 'process.kill'
      deny: processes of production are not killed
    - name: four eyes
      when: targets.exists(t, has(t.labels.zone) && t.labels.zone == 'a')
      approvals: 1
";

#[test]
fn what_a_rule_keeps_behind_four_eyes_begins_when_somebody_else_has_approved_it() {
    let (team, client, db, _listener) = Team::at_work();
    let text = manifest(&db).replace("for: 50s", "for: 1s");
    let new = NewRun { manifest: Some(text.clone()), from: Some("web".into()), ..NewRun::default() };
    let ask = NewApproval { run: new.clone(), why: "a drill".into(), lasts: None };
    let url = team.url();
    team.office(|| async {
        let refused = client.post::<Approval>("approvals", &ask).await.expect_err("nothing wants it yet");
        assert_eq!(refused.status(), Some(422), "{refused}");
        let _: Json = client.put("policies/production", &json!({ "policy": POLICY })).await.expect("a policy");

        let refused = client.post::<Run>("runs", &new).await.expect_err("it needs an approval");
        assert!(refused.to_string().contains("rule `four eyes` wants 1 approval and there are 0 (policy production)"), "{refused}");
        let approval: Approval = client.post("approvals", &ask).await.expect("asked");
        assert_eq!((approval.state, approval.rules.len()), (ApprovalState::Pending, 1));
        assert_eq!(client.post::<Approval>("approvals", &ask).await.expect_err("asked already").status(), Some(409));
        let path = format!("approvals/{}", approval.id);
        let own = client.post::<Approval>(&format!("{path}/approve"), &json!({})).await.expect_err("their own");
        assert_eq!(own.status(), Some(403), "{own}");

        let grace = json!({ "name": "grace", "password": "a long pass phrase", "roles": ["approver"] });
        let _: Json = client.post("users", &grace).await.expect("a user");
        let login = |password: &str| Login { user: "grace".into(), password: password.into() };
        let nobody = Client::new(&url, None).expect("a client");
        let (first, _) = nobody.clone().login(&login("a long pass phrase")).await.expect("signed in");
        let change = PasswordChange { current: "a long pass phrase".into(), new: "another long pass phrase".into() };
        let _: Json = first.put("session/password", &change).await.expect("changed");
        let (grace, _) = nobody.login(&login("another long pass phrase")).await.expect("signed in again");
        let said: Approval = grace.post(&format!("{path}/approve"), &json!({ "comment": "go" })).await.expect("approved");
        assert_eq!(said.state, ApprovalState::Approved, "{said:?}");
    });

    let ended = team.ended(&client, &team.run(&client, &new));
    assert_eq!(ended.verdict, Some(Verdict::Held), "{ended:?}");
    team.office(|| async {
        let other = NewRun { manifest: Some(text.replace("200ms, scope", "300ms, scope")), ..new.clone() };
        let refused = client.post::<Run>("runs", &other).await.expect_err("another manifest");
        assert!(refused.to_string().contains("rule `four eyes`"), "{refused}");
        let kill = text
            .replace("fault: network.latency", "fault: process.kill")
            .replace("target: { host: {},", "target: { process: { name: squall },");
        let (kill, _) = kill.split_once("      with:").expect("arguments");
        let kill = NewRun { manifest: Some(format!("{kill}      acceptIrreversible: true\n")), ..new.clone() };
        let refused = client.post::<Run>("runs", &kill).await.expect_err("denied");
        assert!(refused.to_string().contains("rule `no kills`: processes of production are not killed (policy production)"), "{refused}");
    });
}

#[test]
fn a_comparison_of_what_only_the_host_can_see_asks_each_target_there() {
    let (mut team, client, db, _listener) = Team::at_work();
    let web = team.web.clone();
    for cart in ["cart-1", "cart-2", "cart-3", "cart-4"] {
        team.squall(&web, cart, &["shop", "cache", "--listen", "127.0.0.1:0"]);
    }
    let dir = team.dir.path().display();
    let text = manifest(&db).split_once("  method:").expect("a method").0.to_owned();
    // Anywhere but on the host nothing is well: the address is not there.
    let text = format!(
        "{text}  method:
    - name: half of them hang
      fault: process.pause
      target:
        process: {{ commandLine: '{dir}/cart-. shop cache' }}
        select: {{ percent: 50% }}
        hosts: {{ names: [web] }}
        control: true
      for: 8s
  compare:
    - name: on the host
      command:
        run: [sh, -c, \"ip -o address | grep -q {{{{host.address}}}}/ && ! grep -q 'State:.T' /proc/{{{{target.pid}}}}/status\"]
      expect: {{ eq: 0 }}
      confidence: 99.9%
      whenWorse: continue
"
    );
    let new = NewRun { manifest: Some(text), from: None, ..NewRun::default() };
    let ready = |plan: &Json| plan["steps"][0]["matched"] == 4 && plan["steps"][0]["refusals"] == json!([]);
    let plan = || team.office(|| async { client.post::<Json>("runs/plan", &new).await.expect("a plan") });
    squall_testkit::eventually("the carts are there", || ready(&plan()));
    let run = team.run(&client, &new);
    let ended = team.ended(&client, &run);
    assert_eq!(ended.verdict, Some(Verdict::Deviated), "{ended:?}");
    assert!(ended.reason.as_ref().is_some_and(|reason| reason.starts_with("on the host: ") && reason.contains("99.9%")), "{ended:?}");
    let report: Json = team.office(|| async { client.get(&format!("runs/{}/report?format=json", run.run)).await.expect("a report") });
    let comparison = &report["comparisons"][0];
    assert_eq!((&comparison["status"], &comparison["control"]["bad"]), (&json!("worse"), &json!(0)), "{comparison:#}");
    assert_eq!(comparison["experiment"]["targets"].as_array().map(Vec::len), Some(2), "{comparison:#}");
    // What was found is about the comparison, and not about anything else that the run looked at.
    let about =
        |title: &str| title.starts_with("slow-database: on the host was bad in ") && title.contains("no worse than in the control group");
    let found = |findings: &Page<Json>| findings.items.iter().any(|item| item["finding"]["title"].as_str().is_some_and(about));
    team.until(&client, "the finding is there", found, "findings");
}
