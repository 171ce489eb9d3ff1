//! Ready experiments on real clusters, each member on a host of its own: the line between them is cut, and nothing that was
//! acknowledged is lost.

mod etcd;
mod names;
mod postgres;

use std::path::Path;
use std::process::{Command, Output};

use squall_testkit::net::Host;

use crate::field::{Field, text};

/// The experiments that are run here.
pub const TESTED: &[&str] = &["dns-failure", "etcd-leader-partition", "postgres-standby-cut"];

/// `squall` on a host.
fn squall(field: &Field, on: &Host) -> Command {
    let mut squall = on.command(Path::new(env!("CARGO_BIN_EXE_squall")));
    squall.arg("--state-dir").arg(field.state()).env_remove("SQUALL_POLICY").env("NO_COLOR", "1").current_dir(field.path(""));
    squall
}

/// Runs a ready experiment on a host, and makes sure that nothing of it is left.
fn run(field: &Field, on: &Host, name: &str, set: &[(&str, String)]) -> Output {
    let mut run = squall(field, on);
    run.args(["run", "--plain", &format!("library:{name}")]);
    for (parameter, value) in set {
        run.arg("--set").arg(format!("{parameter}={value}"));
    }
    let output = run.output().expect("ran");
    let recover = squall(field, on).arg("recover").output().expect("ran");
    assert!(recover.status.success(), "{}", text(&recover));
    let shown = field.latest();
    let injections = shown["injections"].as_array().expect("injections");
    assert!(!injections.is_empty(), "something was injected: {}", text(&output));
    for injection in injections {
        assert!(!injection["by"].is_null() && injection["stuck"] != true, "{injection}");
    }
    output
}

/// A program of Debian's that a test cannot do without.
pub fn need(program: &str, package: &str) {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = Path::new(program).is_file() || std::env::split_paths(&paths).any(|directory| directory.join(program).is_file());
    assert!(found, "`{program}` is missing: install the Debian package {package}");
}
