//! A service that knows nothing of a proxy, and whose calls go through one while an experiment says so.

use std::process::{Child, Stdio};

use squall_testkit::net::{Family, Host, Lab};

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(host: &Host, program: &str, args: &[&str]) -> Running {
    let mut command = host.command(program);
    Running(command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started"))
}

/// What a call of the service is answered with.
fn status(from: &Host, to: &Host, family: Family) -> String {
    let url = format!("http://{}/", to.socket(family, 8080));
    let output = from.command("curl").args(["-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", &url]).output().expect("curl");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn calls_of_a_service_go_through_a_proxy_while_an_experiment_says_so() {
    let squall = env!("CARGO_BIN_EXE_squall");
    let lab = Lab::new();
    let (caller, called) = (lab.host("caller"), lab.host("called"));
    let dir = tempfile::tempdir().expect("a directory");
    let _server =
        start(&called, "python3", &["-m", "http.server", "8080", "--bind", "::", "--directory", &dir.path().display().to_string()]);
    let _proxy = start(&caller, squall, &["proxy", "--upstream", "original", "--listen", ":15001", "--rule", "http.abort:status=503"]);
    let both = |wanted: &str| Family::BOTH.iter().all(|family| status(&caller, &called, *family) == wanted);
    squall_testkit::eventually("the service answers", || both("200"));
    let listens = || caller.output("curl -s -o /dev/null -m 5 http://127.0.0.1:15001/").status.code() != Some(7);
    squall_testkit::eventually("the proxy listens", listens);
    let manifest = dir.path().join("led.yaml");
    let text = format!(
        "apiVersion: squall.dev/v1
kind: Experiment
metadata: {{ name: led }}
spec:
  hypothesis:
    statement: Calls are led through the proxy.
    probes:
      - {{ name: still here, command: {{ run: [\"true\"] }}, expect: {{ eq: 0 }} }}
  steady: {{ for: 10ms }}
  method:
    - fault: network.redirect
      target: {{ namespace: {{ name: {} }} }}
      with: {{ to: 15001, scope: {{ peers: [\"{}\", \"{}\"], remotePorts: [8080] }} }}
      for: 10m
  recovery: {{ within: 2s, stable: 10ms }}
",
        caller.name_of_namespace(),
        called.v4(),
        called.v6()
    );
    std::fs::write(&manifest, text).expect("written");
    let state = dir.path().join("state").display().to_string();
    #[expect(clippy::disallowed_methods, reason = "the run that is tested")]
    let mut run = std::process::Command::new(squall);
    run.args(["--state-dir", &state, "run", "--plain", "--quiet"]).arg(&manifest);
    let run = Running(run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started"));
    squall_testkit::eventually("each call is answered by the proxy's rule", || both("503"));
    // Killed, with everything that would put it back but the kernel.
    drop(run);
    squall_testkit::eventually("the service answers itself again", || both("200"));
    assert_eq!(caller.run("nft list ruleset"), "");
}
