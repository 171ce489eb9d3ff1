//! `squall proxy` as its users have it: clients of others, links with Toxiproxy's names, files, signals.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long anything may take here before a test gives up on it.
const PATIENCE: Duration = Duration::from_mins(1);

#[expect(clippy::disallowed_methods, reason = "what is tested is a program, and so are the clients that test it")]
fn program(path: impl AsRef<OsStr>) -> Command {
    Command::new(path)
}

fn squall() -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_squall"));
    command.env_remove("LOG_LEVEL").env_remove("TOXIPROXY_URL");
    command
}

/// A server that runs until this is dropped, and what it says.
struct Server {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let (sender, lines) = mpsc::channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("it is piped")), Box::new(child.stderr.take().expect("it is piped"))];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || BufReader::new(stream).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        }
        Self { child, lines }
    }

    /// The next line with this in it.
    fn line(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nothing says {part:?}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// What follows `key` in the next line that has it.
    fn value(&self, key: &str) -> String {
        let line = self.line(key);
        let (_, rest) = line.split_once(key).expect("it is in the line");
        rest.split([' ', '"']).next().unwrap_or_default().to_owned()
    }

    fn api(&self) -> String {
        self.value("address=http://")
    }

    fn end(mut self, signal: &str) -> Option<i32> {
        let sent = program("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()));
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(args: &[&str]) -> Server {
    let mut command = squall();
    command.arg("proxy").args(args);
    Server::start(command)
}

fn driver(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../proxy/tests/clients").join(name)
}

fn installed(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target").join(path);
    assert!(path.exists(), "{} is needed for this test; `cargo xtask clients` installs it", path.display());
    path
}

fn drive(command: &mut Command) {
    let output = command.output().expect("the client runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(text(&output.stdout), "all calls and all toxics did what they say\n");
}

#[test]
fn toxiproxys_client_for_node_finds_every_call_and_every_toxic_right() {
    let server = serve(&["--port", "0"]);
    let packages = installed("test-node/node_modules");
    assert!(packages.join("toxiproxy-node-client").exists(), "`cargo xtask clients` installs toxiproxy-node-client");
    drive(program("node").env("NODE_PATH", packages).arg(driver("drive.cjs")).arg(server.api()));
}

#[test]
fn toxiproxys_client_for_python_finds_every_call_and_every_toxic_right() {
    let server = serve(&["--port", "0"]);
    let api = server.api();
    let (host, port) = api.rsplit_once(':').expect("host and port");
    drive(program(installed("test-python/bin/python")).arg(driver("drive.py")).args([host, port]));
}

#[test]
fn toxiproxys_client_for_rust_finds_every_call_and_every_toxic_right() {
    let server = serve(&["--port", "0"]);
    drive(program(installed("test-rust/debug/drive")).arg(server.api()));
}

fn link(folder: &Path, name: &str) -> PathBuf {
    let link = folder.join(name);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_squall"), &link).expect("a link");
    link
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn by_toxiproxys_names_it_takes_their_flags_and_says_what_they_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, client) = (link(folder.path(), "toxiproxy-server"), link(folder.path(), "toxiproxy-cli"));
    let version = program(&server).arg("-version").output().expect("it runs");
    assert_eq!(said(&version), (Some(0), "toxiproxy-server version 2.12.0\n".into(), String::new()));
    let wrong = program(&server).arg("-nonsense").output().expect("it runs");
    let (code, out, err) = said(&wrong);
    assert!(code == Some(2) && out.is_empty() && err.starts_with("flag provided but not defined: -nonsense\nUsage of "), "{err}");

    let mut command = program(&server);
    command.env_remove("LOG_LEVEL").args(["-host=127.0.0.1", "-port", "0", "-seed=5", "--proxy-metrics"]);
    let running = Server::start(command);
    let url = format!("http://{}", running.value("\"address\":\"http://"));
    let cli = |args: &str| said(&program(&client).env("TOXIPROXY_URL", &url).args(args.split(' ')).output().expect("it runs"));
    let ok = |text: &str| (Some(0), text.to_owned(), String::new());
    let failed = |text: &str| (Some(1), String::new(), text.to_owned());
    assert_eq!(cli("create -l 127.0.0.1:0 -u localhost:1 redis"), ok("Created new proxy redis\n"));
    let listen = running.value("\"listen\":\"");
    assert_eq!(cli("list"), ok(&format!("redis\t{listen}\tlocalhost:1\tenabled\t0\n")));
    assert_eq!(
        cli("create -l 127.0.0.1:0 -u localhost:1 redis"),
        failed("Failed to create proxy: create: HTTP 409: proxy already exists\n\n")
    );
    let added = "Added upstream latency toxic 'slow' on proxy 'redis'\n";
    assert_eq!(
        cli("toxic add --upstream --type=latency --toxicName=slow -a latency=100 --attribute jitter=50 --toxicity=0.5 redis"),
        ok(added)
    );
    assert_eq!(cli("toxic update -n slow -a jitter=5 redis"), ok("Updated toxic 'slow' on proxy 'redis'\n"));
    let inspected = "slow\ttype=latency\tstream=upstream\ttoxicity=0.50\tattributes=[\tjitter=5\tlatency=100\t]\n";
    assert_eq!(cli("inspect redis"), ok(inspected));
    let bad = "Failed to add toxic: failed to add toxic to proxy redis: AddToxic: HTTP 400: invalid toxic type\n\n";
    assert_eq!(cli("toxic add -t none redis"), failed(bad));
    assert_eq!(cli("toxic delete -n slow redis"), ok("Removed toxic 'slow' on proxy 'redis'\n"));
    assert_eq!(cli("toggle redis"), ok("Proxy redis is now disabled\n"));
    assert!(TcpStream::connect(&listen).is_err());
    assert_eq!(cli("toggle redis"), ok("Proxy redis is now enabled\n"));
    assert_eq!(cli("delete redis"), ok("Deleted proxy redis\n"));
    assert_eq!(cli("delete redis"), failed("Failed to retrieve proxy redis: HTTP 404: proxy not found\n\n"));
    assert_eq!(running.end("-TERM"), Some(0));
}

#[test]
fn one_edge_needs_no_file_and_ends_in_order() {
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = upstream.local_addr().expect("an address").to_string();
    let server = serve(&["--upstream", &address, "--toxic", "limit_data:bytes=3;stream=upstream;name=cut"]);
    let listen = server.value("listen=");
    let mut client = TcpStream::connect(listen).expect("it listens");
    client.write_all(b"hello").expect("it takes bytes");
    let (mut accepted, _) = upstream.accept().expect("it connects");
    let mut got = Vec::new();
    let _ = accepted.read_to_end(&mut got);
    assert_eq!(got, b"hel");
    assert_eq!(server.end("-INT"), Some(0));
}

#[test]
fn a_file_makes_proxies_with_toxics_and_its_mistakes_have_places() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("proxies.yaml");
    let write = |text: &str| std::fs::write(&file, text).expect("the file is written");
    let path = file.to_string_lossy().into_owned();
    write(
        "- name: a\n  listen: 127.0.0.1:0\n  upstream: 127.0.0.1:1\n  toxics:\n    - { type: latency, attributes: { latency: 5 }, for: 1h }\n",
    );
    let server = serve(&["--config", &path, "--port", "0"]);
    let mut api = TcpStream::connect(server.api()).expect("it listens");
    api.write_all(b"GET /proxies/a/toxics HTTP/1.0\r\n\r\n").expect("it takes a request");
    let mut answer = String::new();
    api.read_to_string(&mut answer).expect("it answers");
    assert!(answer.ends_with(r#""type":"latency","stream":"downstream","toxicity":1,"for":"1h"}]"#), "{answer}");
    assert_eq!(server.end("-TERM"), Some(0));

    write("- name: a\n  upstrem: 127.0.0.1:1\n");
    let (code, _, err) = said(&squall().args(["proxy", "--port", "0", "--config", &path]).output().expect("it runs"));
    let first = err.lines().next().unwrap_or_default();
    assert_eq!(code, Some(2));
    assert_eq!(first, format!("{path}:2:3: a proxy has no field `upstrem` (hint: did you mean `upstream`?)"));
}
