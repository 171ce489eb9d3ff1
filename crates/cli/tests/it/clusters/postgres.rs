//! `PostgreSQL` with a standby that is cut off for a while.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use squall_testkit::net::{Host, Lab};
use squall_testkit::{Postgres, eventually, eventually_ok};

use crate::field::{Field, Victim, text};

/// As nobody who could do harm: it does not run as root.
const USER: [&str; 4] = ["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"];

/// A primary, a standby, and a host from which they are used.
struct Pair {
    primary: Server,
    standby: Server,
    client: Host,
    field: Field,
    // Last: it takes what is left on its hosts with it.
    _lab: Lab,
}

struct Server {
    host: Host,
    data: PathBuf,
    process: Victim,
}

/// One of its programs, on a host, as its user.
fn program(host: &Host, name: &str) -> Command {
    let mut command = host.command("setpriv");
    command.args(USER).arg(Postgres::programs().join(name)).current_dir("/").stdin(Stdio::null());
    command
}

fn done(command: &mut Command) {
    let output = command.output().expect("starts");
    assert!(output.status.success(), "{command:?}: {}", text(&output));
}

impl Server {
    fn start(host: Host, data: PathBuf, field: &Field) -> Self {
        let mut postgres = program(&host, "postgres");
        let settings =
            ["unix_socket_directories=", "shared_buffers=16MB", "fsync=off", "wal_receiver_timeout=10s", "wal_sender_timeout=10s"];
        postgres.arg("-D").arg(&data).args(["-h", &host.v4().to_string()]);
        for setting in settings {
            postgres.args(["-c", setting]);
        }
        let log = std::fs::File::create(field.path(&format!("{}.log", host.name()))).expect("a log");
        postgres.stdout(Stdio::null()).stderr(log);
        let process = Victim(postgres.spawn().expect("started"));
        Self { host, data, process }
    }
}

impl Pair {
    fn start() -> Self {
        let (lab, field) = (Lab::new(), Field::new());
        let (first, second, client) = (lab.host("primary"), lab.host("standby"), lab.host("client"));
        // Its user must reach its files, and only they are that user's.
        let databases = field.path("databases");
        std::fs::create_dir(&databases).expect("a directory");
        for directory in [field.path(""), databases.clone()] {
            std::fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("its mode");
        }
        first.run(&format!("chown postgres {}", databases.display()));
        let (data, copy) = (databases.join("primary"), databases.join("standby"));
        done(program(&first, "initdb").args(["--auth=trust", "--username=postgres", "--no-sync", "-D"]).arg(&data));
        let access = "host all all 10.0.0.0/24 trust\nhost replication all 10.0.0.0/24 trust\n";
        std::fs::write(data.join("pg_hba.conf"), access).expect("written");
        let primary = Server::start(first, data, &field);
        let at = primary.host.v4().to_string();
        eventually_ok("the primary answers", || query(&client, &at, "select 1").map(|_| ()));
        query(&client, &at, "create table written (number bigint primary key)").expect("made");
        let copy_of = ["--username=postgres", "--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"];
        done(program(&second, "pg_basebackup").args(copy_of).args(["-h", &at, "-D"]).arg(&copy));
        let standby = Server::start(second, copy, &field);
        let pair = Self { primary, standby, client, field, _lab: lab };
        eventually_ok("the standby answers", || pair.count(&pair.standby).map(|_| ()));
        eventually("it follows", || pair.on(&pair.primary, "select state from pg_stat_replication").as_deref() == Ok("streaming"));
        pair
    }

    fn on(&self, server: &Server, what: &str) -> Result<String, String> {
        query(&self.client, &server.host.v4().to_string(), what)
    }

    fn count(&self, server: &Server) -> Result<u64, String> {
        self.on(server, "select count(*) from written")?.parse().map_err(|error| format!("{error}"))
    }
}

fn query(from: &Host, at: &str, what: &str) -> Result<String, String> {
    let mut psql = from.command(Postgres::programs().join("psql"));
    psql.args(["-h", at, "-U", "postgres", "-d", "postgres", "-Atqc", what]).env("PGCONNECT_TIMEOUT", "2");
    let output = psql.output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()) } else { Err(text(&output)) }
}

#[test]
fn a_standby_that_was_cut_off_catches_up_and_the_primary_never_waits() {
    let pair = Pair::start();
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let output = std::thread::scope(|scope| {
        // How far the standby was behind, at the most.
        let watch = scope.spawn(|| {
            let mut behind = 0;
            while !stop.load(Ordering::Relaxed) {
                let wrote = acknowledged.load(Ordering::Relaxed);
                if let Ok(has) = pair.count(&pair.standby) {
                    behind = behind.max(wrote.saturating_sub(has));
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            behind
        });
        let write = scope.spawn(|| {
            for number in 1.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                pair.on(&pair.primary, &format!("insert into written values ({number})")).expect("the primary takes it");
                acknowledged.store(number, Ordering::Relaxed);
            }
        });
        let set = [
            ("standby", pair.standby.data.display().to_string()),
            ("primary", pair.primary.host.v4().to_string()),
            ("client", Postgres::programs().join("psql").display().to_string()),
            ("steady", "2s".to_owned()),
            ("for", "6s".to_owned()),
            ("behind", "25s".to_owned()),
            ("recover", "25s".to_owned()),
        ];
        let output = super::run(&pair.field, &pair.client, "postgres-standby-cut", &set);
        stop.store(true, Ordering::Relaxed);
        write.join().expect("it wrote");
        let behind = watch.join().expect("it watched");
        assert!(behind > 20, "the standby was {behind} rows behind at the most: it was not cut off\n{}", text(&output));
        output
    });
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let wrote = acknowledged.load(Ordering::Relaxed);
    assert_eq!(pair.count(&pair.primary), Ok(wrote), "every acknowledged row is there");
    eventually("the standby has all of them", || pair.count(&pair.standby) == Ok(wrote));
    assert!(pair.primary.process.state().is_some() && pair.standby.process.state().is_some(), "both live");
}

#[test]
fn a_standby_that_may_not_be_behind_so_long_makes_the_experiment_deviate() {
    let pair = Pair::start();
    let set = [
        ("standby", pair.standby.data.display().to_string()),
        ("primary", pair.primary.host.v4().to_string()),
        ("client", Postgres::programs().join("psql").display().to_string()),
        ("steady", "1s".to_owned()),
        ("for", "6s".to_owned()),
        // Nobody but the experiment writes: a record of some 100 bytes each half second. One may always be on its way.
        ("lag", "300".to_owned()),
        ("behind", "1s".to_owned()),
        ("recover", "25s".to_owned()),
    ];
    let output = super::run(&pair.field, &pair.client, "postgres-standby-cut", &set);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}
