//! Real containers of a real Docker, which has a network, process numbers and control groups of its own: some are broken by their
//! names, and the one beside them never notices.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use squall_sys::cpu_time::boottime;
use squall_testkit::net::{Host, Lab};
use squall_testkit::{eventually, eventually_ok};

use crate::field::{Field, Victim, text};

/// What a delay is told from a busy machine by.
const DELAY: f64 = 0.6;

/// Docker on a host of a lab, with one image: busybox, and a page for its web server.
struct Docker {
    daemon: Option<Victim>,
    /// The control group that its containers are in.
    group: String,
    host: Host,
    client: Host,
    field: Field,
    // Last: it takes what is left on its hosts with it.
    _lab: Lab,
}

impl Docker {
    fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        for (program, package) in [("dockerd", "docker.io"), ("busybox", "busybox-static"), ("curl", "curl")] {
            crate::clusters::need(program, package);
        }
        let (lab, field) = (Lab::new(), Field::new());
        let (host, client) = (lab.host("docker"), lab.host("client"));
        let group = format!("squall-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut docker = Self { daemon: None, group, host, client, field, _lab: lab };
        docker.daemon = Some(Victim(docker.daemon().spawn().expect("started")));
        eventually_ok("Docker answers", || match docker.call("GET", "/_ping", &[]) {
            Ok(answer) if answer == b"OK" => Ok(()),
            other => Err(format!("{other:?}\n{}", std::fs::read_to_string(docker.field.path("docker.log")).unwrap_or_default())),
        });
        docker.make_image();
        docker
    }

    /// In a namespace of process numbers: all of it, containers too, ends with this one process. What it mounts goes with it.
    fn daemon(&self) -> Command {
        let options = [
            "--exec-root=/run/docker --pidfile=/run/docker.pid --storage-driver=vfs --exec-opt=native.cgroupdriver=cgroupfs",
            "--iptables=false --ip6tables=false --userland-proxy=false --bip=172.30.0.1/24",
            &format!("--cgroup-parent=/{} --data-root={}", self.group, self.field.path("docker").display()),
            &format!("--host=unix://{}", self.socket().display()),
        ];
        let line = format!("mount -t tmpfs run /run && exec dockerd {}", options.join(" "));
        let mut daemon = self.host.command("unshare");
        daemon.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &line]);
        let log = std::fs::File::create(self.field.path("docker.log")).expect("a log");
        daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.field.path("docker.sock")
    }

    /// Asks Docker's API. An error is what it says.
    fn call(&self, method: &str, path: &str, more: &[&str]) -> Result<Vec<u8>, String> {
        let url = format!("http://docker{path}");
        let mut curl = self.host.command("curl");
        curl.args(["-s", "--fail-with-body", "-m", "20", "-X", method, "--unix-socket"]).arg(self.socket()).args(more).arg(url);
        let output = curl.output().map_err(|error| error.to_string())?;
        if output.status.success() { Ok(output.stdout) } else { Err(text(&output)) }
    }

    fn asked(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let body = body.map(Value::to_string);
        let more: Vec<&str> = body.iter().flat_map(|body| ["-H", "content-type: application/json", "-d", body.as_str()]).collect();
        let answer = self.call(method, path, &more).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer).expect("JSON") }
    }

    fn make_image(&self) {
        let root = self.field.path("root");
        for directory in ["bin", "www"] {
            std::fs::create_dir_all(root.join(directory)).expect("a directory");
        }
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let busybox = std::env::split_paths(&paths).map(|directory| directory.join("busybox")).find(|path| path.is_file());
        std::fs::copy(busybox.expect("busybox"), root.join("bin/busybox")).expect("copied");
        std::fs::write(root.join("www/index.html"), "here\n").expect("written");
        let image = self.field.path("image.tar");
        let packed = self.host.command("tar").arg("-C").arg(&root).arg("-cf").arg(&image).arg(".").output().expect("tar");
        assert!(packed.status.success(), "{}", text(&packed));
        let more = ["-H", "content-type: application/x-tar", "--data-binary", &format!("@{}", image.display())];
        self.call("POST", "/v1.41/images/create?fromSrc=-&repo=web", &more).expect("imported");
    }

    /// A web server in a container with a network of its own, or with Docker's host's: where it answers.
    fn web(&self, name: &str, network: &str, port: u16) -> Web<'_> {
        let command = ["/bin/busybox", "httpd", "-f", "-h", "/www", "-p", &port.to_string()].map(str::to_owned);
        let what = json!({ "Image": "web", "Cmd": command, "HostConfig": { "NetworkMode": network } });
        let made = self.asked("POST", &format!("/v1.41/containers/create?name={name}"), Some(&what));
        self.asked("POST", &format!("/v1.41/containers/{name}/start"), None);
        let id = made["Id"].as_str().expect("an id").to_owned();
        let (from, address) = if network == "host" {
            (&self.client, self.host.v4().to_string())
        } else {
            let settings = self.asked("GET", &format!("/v1.41/containers/{name}/json"), None);
            (&self.host, settings["NetworkSettings"]["IPAddress"].as_str().expect("an address").to_owned())
        };
        let web = Web { docker: self, id, from, url: format!("http://{address}:{port}/") };
        eventually("it answers", || web.is_quick());
        web
    }

    /// `squall` as it runs beside such a Docker.
    fn squall(&self) -> Command {
        let mut squall = self.host.command(Path::new(env!("CARGO_BIN_EXE_squall")));
        squall.arg("--state-dir").arg(self.field.state()).env_remove("SQUALL_POLICY").env("NO_COLOR", "1");
        squall.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        squall
    }

    /// Begins an experiment with these steps, which last for longer than any test.
    fn begin(&self, steps: &str) -> Victim {
        let manifest = format!(
            "apiVersion: squall.dev/v1
kind: Experiment
metadata: {{ name: containers }}
spec:
  hypothesis:
    statement: Squall is there.
    probes:
      - {{ name: still here, command: {{ run: [\"true\"] }}, expect: {{ eq: 0 }} }}
  steady: {{ for: 10ms }}
  method:
    - parallel:
{steps}
  recovery: {{ within: 5s, stable: 10ms }}
"
        );
        let path = self.field.write("containers.yaml", &manifest);
        let run = self.squall().args(["run", "--plain"]).arg(path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Victim(run.expect("started"))
    }

    /// Ends it, and makes sure that everything was verified and is back.
    fn end(&self, run: Victim) {
        let stopped = self.squall().arg("stop").output().expect("ran");
        assert!(stopped.status.success(), "{}", text(&stopped));
        let (code, said) = run.finish();
        assert_eq!(code, Some(4), "{said}");
        assert!(!said.contains("without effect"), "{said}");
        let recovered = self.squall().arg("recover").output().expect("ran");
        assert!(recovered.status.success(), "{}", text(&recovered));
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        drop(self.daemon.take());
        // A group is busy until the last of its processes is gone for good.
        let left = || groups(&self.group).into_iter().filter(|group| remove(group).is_err()).count();
        let end = boottime() + Duration::from_secs(10);
        while left() > 0 && boottime() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(std::thread::panicking() || left() == 0, "control groups are left: {:?}", groups(&self.group));
    }
}

/// A group of that name in every hierarchy.
fn groups(name: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    hierarchies.chain([root.to_owned()]).map(|hierarchy| hierarchy.join(name)).filter(|group| group.is_dir()).collect()
}

/// Groups are removed from below; files in them go with them.
fn remove(group: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(group)?.flatten().filter(|entry| entry.path().is_dir()) {
        remove(&entry.path())?;
    }
    std::fs::remove_dir(group)
}

/// A container with a web server.
struct Web<'a> {
    docker: &'a Docker,
    id: String,
    /// From where it is asked.
    from: &'a Host,
    url: String,
}

impl Web<'_> {
    /// How long its page took, in seconds.
    fn seconds(&self) -> Option<f64> {
        let curl = ["-sf", "-m", "3", "-o", "/dev/null", "-w", "%{time_total}", &self.url];
        let output: Output = self.from.command("curl").args(curl).output().expect("curl");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).parse().expect("a number"))
    }

    fn is_quick(&self) -> bool {
        self.seconds().is_some_and(|seconds| seconds < DELAY)
    }

    /// What nftables and its queues have in the network that the container sees.
    fn traces(&self) -> String {
        let member = |group: PathBuf| std::fs::read_to_string(group.join(&self.id).join("cgroup.procs")).ok()?.lines().next()?.parse().ok();
        let pid: u32 = groups(&self.docker.group).into_iter().find_map(member).expect("a process");
        let nsenter = format!("nsenter --target {pid} --net nft list ruleset");
        let rules = self.docker.host.run(&nsenter);
        rules + &std::fs::read_to_string(format!("/proc/{pid}/net/netfilter/nfnetlink_queue")).expect("read")
    }
}

#[test]
fn a_container_is_slow_another_is_cut_off_and_the_third_never_notices() {
    let docker = Docker::start();
    let [slow, gone, whole] = ["slow", "gone", "whole"].map(|name| docker.web(name, "bridge", 8080));
    let before = [slow.traces(), gone.traces()];
    let run = docker.begin(&format!(
        "        - fault: network.latency
          target: {{ container: {{ name: slow }} }}
          with: {{ delay: {}ms }}
          for: 10m
        - fault: network.partition
          target: {{ container: {{ name: gone }} }}
          for: 10m",
        DELAY * 1e3
    ));
    eventually("one is slow", || slow.seconds().is_some_and(|seconds| seconds >= DELAY));
    eventually("one is cut off", || gone.seconds().is_none());
    assert!(whole.is_quick(), "{:?}", whole.seconds());
    docker.end(run);
    assert!(slow.is_quick() && gone.is_quick() && whole.is_quick());
    assert_eq!([slow.traces(), gone.traces()], before);
}

#[test]
fn a_container_on_its_host_s_network_is_told_from_the_one_beside_it() {
    let docker = Docker::start();
    let (slow, gone, whole) = (docker.web("slow", "host", 8081), docker.web("gone", "host", 8082), docker.web("whole", "host", 8083));
    let before = slow.traces();
    let run = docker.begin(&format!(
        "        - fault: network.latency
          target: {{ container: {{ name: slow }} }}
          with: {{ delay: {}ms }}
          for: 10m
        - fault: network.partition
          target: {{ container: {{ id: {} }} }}
          for: 10m",
        DELAY * 1e3,
        &gone.id[..12]
    ));
    eventually("one is slow", || slow.seconds().is_some_and(|seconds| seconds >= DELAY));
    eventually("one is cut off", || gone.seconds().is_none());
    assert!(whole.is_quick(), "{:?}", whole.seconds());
    docker.end(run);
    assert!(slow.is_quick() && gone.is_quick() && whole.is_quick());
    assert_eq!(slow.traces(), before);
}
