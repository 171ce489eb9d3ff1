//! A `PostgreSQL` of a test's own.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::eventually_ok;

/// As nobody who could do harm: it does not run as root.
const USER: [&str; 4] = ["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"];

/// A cluster in a directory of its own, reached by a socket there, whose programs are killed and whose files are removed when this is
/// dropped.
#[derive(Debug)]
pub struct Postgres {
    server: Option<Child>,
    settings: Vec<String>,
    directory: TempDir,
}

impl Postgres {
    /// Makes a cluster and starts it. What it acknowledges is on disk, as by default.
    pub fn start() -> Self {
        Self::with_settings(&[])
    }

    /// The same, with settings as `ssl=on`.
    pub fn with_settings(settings: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("squall-pg-").tempdir().expect("a directory");
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("its mode");
        let mut cluster = Self { server: None, settings: settings.iter().map(ToString::to_string).collect(), directory };
        Self::own(&cluster.directory("run"));
        Self::own(&cluster.directory("data"));
        std::fs::set_permissions(cluster.data(), PermissionsExt::from_mode(0o700)).expect("its mode");
        let initdb = Self::command("initdb").args(["--auth=trust", "--username=postgres", "--no-sync", "-D"]).arg(cluster.data()).output();
        let initdb = initdb.expect("initdb starts");
        assert!(initdb.status.success(), "initdb: {}", String::from_utf8_lossy(&initdb.stderr));
        cluster.restart();
        cluster
    }

    /// Where Debian keeps the newest version's programs.
    pub fn programs() -> PathBuf {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let mut found: Vec<PathBuf> =
            versions.filter_map(|version| Some(version.ok()?.path().join("bin"))).filter(|bin| bin.join("initdb").is_file()).collect();
        found.sort();
        found.pop().expect("PostgreSQL is missing: install the Debian package postgresql")
    }

    /// One of its programs, as its user.
    #[expect(clippy::disallowed_methods, reason = "a real database to work with")]
    pub fn command(name: &str) -> Command {
        let program = Self::programs().join(name);
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            // With the test it ends, however sudden the test's end was.
            command.arg("--pdeathsig=INT").args(USER).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// Makes a directory within the cluster's.
    fn directory(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::create_dir(&path).expect("a directory");
        path
    }

    /// Gives a file or directory to the user that the cluster runs as.
    pub fn own(path: &Path) {
        if rustix::process::geteuid().is_root() {
            let passwd = std::fs::read_to_string("/etc/passwd").expect("users");
            let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == "postgres");
            let fields = fields.expect("the user postgres is missing: install the Debian package postgresql");
            let id = |field: &str| field.parse::<u32>().expect("a number");
            std::os::unix::fs::chown(path, Some(id(fields[2])), Some(id(fields[3]))).expect("given away");
        }
    }

    /// The directory of its data.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// How to reach one of its databases; `postgres` is always there.
    pub fn address(&self, database: &str) -> String {
        let port = self.settings.iter().find_map(|setting| setting.strip_prefix("port=")).unwrap_or("5432");
        format!("host={} port={port} user=postgres dbname={database}", self.directory.path().join("run").display())
    }

    /// Runs SQL by `psql`; gives what it says, or why it failed.
    pub fn psql(&self, sql: &str) -> Result<String, String> {
        let output =
            Self::command("psql").args(["-X", "-Atq", "-v", "ON_ERROR_STOP=1", "-d", &self.address("postgres"), "-c", sql]).output();
        let output = output.map_err(|e| e.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Starts it, again after it was killed, and waits until it answers.
    pub fn restart(&mut self) {
        self.kill();
        let log = File::options().create(true).append(true).open(self.directory.path().join("log")).expect("a log");
        let mut postgres = Self::command("postgres");
        postgres.arg("-D").arg(self.data()).arg("-k").arg(self.directory.path().join("run"));
        for setting in ["listen_addresses=", "shared_buffers=16MB"].into_iter().chain(self.settings.iter().map(String::as_str)) {
            postgres.args(["-c", setting]);
        }
        self.server = Some(postgres.stdout(Stdio::null()).stderr(log).spawn().expect("started"));
        eventually_ok("PostgreSQL answers", || self.psql("SELECT 1").map(drop).map_err(|error| format!("{error}\n{}", self.log())));
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Ends all of its processes at once, by SIGKILL.
    pub fn kill(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.id())).unwrap_or_default();
        // First the one that would notice that the others end, and start them again.
        let _ = server.kill();
        let _ = server.wait();
        for child in children.split_whitespace() {
            if let Some(pid) = child.parse().ok().and_then(rustix::process::Pid::from_raw) {
                // It may have seen the end of the server already.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        for child in children.split_whitespace() {
            // Whoever is its parent now may take a while to bury it.
            let ended = |stat: &str| stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with(['Z', 'X']));
            let stat = || std::fs::read_to_string(format!("/proc/{child}/stat"));
            crate::eventually("a process of PostgreSQL ends", || stat().map_or(true, |stat| ended(&stat)));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}
