//! Signing in at a real server from the command line, users, tokens, and the audit trail.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::field::{Field, Victim};

const PASSWORD: &str = "correct horse battery staple";

/// A server of its own, and the URL that it says.
fn server(field: &Field) -> (Victim, String) {
    let mut command = field.squall();
    command.args(["server", "--listen", "127.0.0.1:0", "--agents", "127.0.0.1:0", "--name", "test"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let mut line = String::new();
    let read = BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line);
    read.expect("a line");
    let url = line.rsplit_once(": ").expect("a URL").1.trim().to_owned();
    (Victim(child), url)
}

fn ask(field: &Field, url: &str, args: &[&str], input: &str) -> (Option<i32>, String, String) {
    told(field.squall().env("SQUALL_SERVER", url).env("SQUALL_LOGINS", field.path("config/logins.json")).args(args), input)
}

fn told(command: &mut Command, input: &str) -> (Option<i32>, String, String) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    // It may have ended without reading.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("ended");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_command_line_signs_in_makes_users_and_tokens_and_checks_the_trail() {
    let field = Field::new();
    let (server, url) = server(&field);
    let ask = |args: &[&str], input: &str| ask(&field, &url, args, input);
    let (code, _, err) = ask(&["whoami"], "");
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("nobody is signed in") && err.contains("squall login"), "{err}");
    let first = std::fs::read_to_string(field.state().join("first-admin-password")).expect("a first password");
    assert_eq!(ask(&["login"], "wrong\n").0, Some(7));
    let (code, out, err) = ask(&["login"], &format!("{}\n{PASSWORD}\n", first.trim()));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("signed in") && out.contains("admin") && !(out + &err).contains(PASSWORD));
    assert!(!field.state().join("first-admin-password").exists());
    let logins = field.path("config/logins.json");
    assert_eq!(std::fs::metadata(&logins).expect("kept").permissions().mode() & 0o777, 0o600);
    let (code, out, err) = ask(&["whoami"], "");
    assert_eq!((code, out.lines().next()), (Some(0), Some(format!("admin at {url}: viewer, operator, approver, admin").as_str())), "{err}");
    assert_eq!(ask(&["user", "add", "ci", "--program", "--role", "operator"], "").0, Some(0));
    assert_eq!(ask(&["user", "add", "ada", "--role", "viewer"], "short\n").0, Some(7));
    assert_eq!(ask(&["user", "add", "ada", "--role", "viewer"], &format!("{PASSWORD}\n")).0, Some(0));
    assert_eq!(ask(&["user", "set", "ada", "--disable"], "").0, Some(0));
    let users = ask(&["user", "list"], "").1;
    assert!(users.contains("ci ") && users.contains("operator") && users.contains("disabled"), "{users}");
    let (code, token, err) = ask(&["token", "create", "pipeline", "--owner", "ci", "--lasts", "1h"], "");
    assert_eq!(code, Some(0), "{err}");
    assert!(token.starts_with("sqt_") && token.lines().count() == 1, "only the secret is on standard output: {token}");
    let mut as_program = field.squall();
    as_program.env("SQUALL_SERVER", &url).env("SQUALL_LOGINS", field.path("none")).env("SQUALL_TOKEN", token.trim()).arg("whoami");
    let (code, out, err) = told(&mut as_program, "");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("ci at "), "{out}");
    let id = token.split('_').nth(1).expect("an id");
    assert!(ask(&["token", "list", "--all"], "").1.contains(id));
    assert_eq!(ask(&["token", "revoke", id], "").0, Some(0));
    assert_eq!(told(&mut as_program, "").0, Some(7));
    trail(&field, &ask);
    assert_eq!(ask(&["user", "remove", "ada"], "").0, Some(0));
    assert_eq!(ask(&["logout"], "").0, Some(0));
    assert_eq!(ask(&["whoami"], "").0, Some(2));
    assert!(!std::fs::read_to_string(&logins).expect("kept").contains("sqt_"));
    server.signal(Signal::TERM);
    let (code, _) = server.finish();
    assert_eq!(code, Some(0));
}

fn trail(field: &Field, ask: &impl Fn(&[&str], &str) -> (Option<i32>, String, String)) {
    let (code, out, err) = ask(&["audit", "verify"], "");
    assert_eq!(code, Some(0), "{err}");
    let kept = out.lines().next().and_then(|line| line.rsplit(' ').next()).expect("a head").to_owned();
    assert_eq!(ask(&["audit", "verify", "--kept", &kept], "").0, Some(0));
    let (code, out, _) = ask(&["audit", "verify", "--kept", &format!("1:{}", "0".repeat(64))], "");
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("broken: row 1"), "{out}");
    let (code, out, err) = ask(&["audit", "list", "--action", "token."], "");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("token.create") && out.contains("token.revoke") && !out.contains("user.create"), "{out}");
    let rows = ask(&["audit", "export"], "").1;
    assert!(rows.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok_and(|row| row["hash"].is_string())));
    // Beside the running server, and without it.
    let (code, out, err) = told(field.squall().args(["audit", "verify", "--offline"]), "");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("intact: "), "{out}");
}
