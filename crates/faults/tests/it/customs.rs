//! Commands and calls of the user's own.

use futures_util::FutureExt;
use serde_json::{Value as Json, json};
use squall_engine::InjectError;
use squall_faults::custom::rollback_undo;
use squall_model::RollbackAction;
use squall_testkit::{Execution, Victim, eventually, planned};

use crate::kinds::{fault, host};

async fn inject(run: &Execution, args: &Json) -> Result<Json, String> {
    run.inject(&fault("custom.command"), args, &host()).await.map_err(|e: InjectError| e.to_string())
}

fn only(program: Json) -> Json {
    json!({ "inject": program })
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_all_that_it_started() {
    // The directory of a victim: whatever runs from it is found.
    let victim = Victim::sleeper();
    let sleep = victim.program().display();
    let run = Execution::default();
    let script = format!("{sleep} 100 & {sleep} 100 & wait");
    let error = inject(&run, &only(json!({ "run": ["sh", "-c", script], "timeout": "200ms" }))).await.expect_err("too long");
    assert!(error.contains("did not end within 200ms and was killed"), "{error}");
    eventually("its children are gone", || victim.running() == [victim.pid()]);
}

#[tokio::test]
async fn a_command_that_says_much_is_not_held_up_and_its_last_words_are_told() {
    let script = "i=0; while [ $i -lt 30000 ]; do echo line $i; i=$((i+1)); done; echo the last words >&2; exit 7";
    let error = inject(&Execution::default(), &only(json!({ "run": ["sh", "-c", script], "timeout": "20s" }))).await.expect_err("7");
    assert!(error.contains("exit status: 7: the last words"), "{error}");
}

#[tokio::test]
async fn what_stays_in_the_background_does_not_hold_a_command_up() {
    let victim = Victim::sleeper();
    let script = format!("{} 100 & echo done", victim.program().display());
    inject(&Execution::default(), &only(json!({ "run": ["sh", "-c", script], "timeout": "10s" }))).await.expect("ended by itself");
    assert_eq!(victim.running().len(), 2, "what it started on purpose goes on");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let error = inject(&Execution::default(), &only(json!({ "run": ["/no/such/program", "x"] }))).await.expect_err("not there");
    assert!(error.contains("`/no/such/program x` could not be started"), "{error}");
}

#[tokio::test]
async fn values_of_the_environment_are_shown_nowhere() {
    let (fault, run) = (fault("custom.command"), Execution::default());
    let secret = json!({ "TOKEN": "hunter2" });
    let args = json!({
        "inject": { "run": ["sh", "-c", "[ \"$TOKEN\" = hunter2 ]"], "env": secret },
        "verify": { "run": ["sh", "-c", "[ \"$TOKEN\" = hunter2 ]"], "env": secret },
        "undo": { "run": ["sh", "-c", "[ \"$TOKEN\" = hunter2 ]"], "env": secret },
    });
    let plan = planned(fault.as_ref(), &args, &host(), &squall_sys::facts()).expect("planned");
    let undo = inject(&run, &args).await.expect("injected");
    let effect = fault.verify(&undo).await.expect("looked at");
    let how = run.revert(&fault).await.expect("reverted");
    let shown = format!("{plan:?} {effect:?} {how}").replace("= hunter2 ]", "");
    assert!(effect.in_force && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_command_or_call_without_an_undo_is_irreversible() {
    let irreversible =
        |name: &str, args: &Json| planned(fault(name).as_ref(), args, &host(), &squall_sys::facts()).expect("planned").irreversible;
    assert!(irreversible("custom.command", &only(json!({ "run": ["true"] }))));
    assert!(irreversible("custom.http", &only(json!({ "url": "http://127.0.0.1:1/" }))));
    assert!(!irreversible("custom.command", &json!({ "inject": { "run": ["true"] }, "undo": { "run": ["true"] } })));
}

#[tokio::test]
async fn a_rollback_action_is_done_by_its_revert() {
    let scratch = tempfile::tempdir().expect("a directory");
    let file = scratch.path().join("done");
    let action = RollbackAction {
        name: "mark".into(),
        command: Some(vec!["sh".into(), "-c".into(), "echo once >> \"$0\"".into(), file.display().to_string()]),
        http: None,
        timeout: None,
    };
    let (name, undo) = rollback_undo(&action).expect("encodes");
    let run = Execution::default();
    run.revert_undo(&fault(&name), undo).await.expect("done");
    assert_eq!(std::fs::read_to_string(&file).expect("made"), "once\n");

    let wrong = RollbackAction { command: None, http: Some("http://127.0.0.1/".into()), ..action };
    assert!(rollback_undo(&wrong).expect_err("no method").contains("is not like `POST http://"));
}

#[tokio::test]
async fn a_call_that_is_refused_or_unexpectedly_answered_says_so_without_its_secrets() {
    let (fault, run) = (fault("custom.http"), Execution::default());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let args = json!({ "inject": { "url": format!("http://user:hunter2@{closed}/x"), "headers": { "Authorization": "hunter2" } } });
    let error = run.inject(&fault, &args, &host()).await.expect_err("refused").to_string();
    assert!(error.contains("refused") && error.contains("POST") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn what_an_inject_that_was_cut_off_has_started_is_ended_by_the_revert() {
    let (fault, run) = (fault("custom.command"), Execution::default());
    // The directory of a victim: whatever runs from it is found.
    let victim = Victim::sleeper();
    let script = format!("{0} 100 & {0} 100 & wait", victim.program().display());
    let args = json!({ "inject": { "run": ["sh", "-c", script] }, "undo": { "run": ["true"] } });
    let undo = std::sync::Mutex::new(Json::Null);
    let arm = |entry: squall_undo::Entry| {
        undo.lock().expect("not poisoned").clone_from(&entry.undo);
        run.ledger.arm(entry)
    };
    let (target, facts) = (host(), squall_sys::facts());
    let injecting = run.inject_with(&fault, &args, &target, &facts, arm);
    let mut injecting = Box::pin(injecting);
    let started = || victim.running().len() == 3;
    // It goes on for as long as it is looked at.
    while !started() {
        assert!((&mut injecting).now_or_never().is_none(), "it waits for its children");
        tokio::task::yield_now().await;
    }
    let undo = undo.lock().expect("not poisoned").clone();
    // As if by another process, while this one is still about to inject.
    let how = run.revert_undo(&fault, undo.clone()).await.expect("reverted");
    assert!(how.contains("killed 3 processes") && victim.running() == [victim.pid()], "{how}");
    let again = run.revert_undo(&fault, undo).await.expect("reverted again");
    assert_eq!(again, "ran `true`");
}

#[tokio::test]
async fn a_program_that_ends_at_once_is_refused_with_its_last_words() {
    let (fault, run) = (fault("custom.program"), Execution::default());
    let args = json!({ "run": ["sh", "-c", "echo no such device >&2; exit 1"] });
    let error = run.inject(&fault, &args, &host()).await.expect_err("ended").to_string();
    assert!(error.contains("ended at once: no such device") && error.contains("custom.command"), "{error}");
    run.revert(&fault).await.expect("nothing is left");
}

#[tokio::test]
async fn a_program_may_tidy_up_after_sigterm() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (fault, run) = (fault("custom.program"), Execution::default());
    let script = "trap 'rm held; exit' TERM; : > held; while :; do sleep 0.02; done";
    let args = json!({ "run": ["sh", "-c", script], "cwd": scratch.path(), "grace": "10s", "verify": { "run": ["test", "-e", "held"], "cwd": scratch.path() } });
    let undo = run.inject(&fault, &args, &host()).await.expect("runs");
    eventually("it holds its file", || scratch.path().join("held").exists());
    let effect = fault.verify(&undo).await.expect("looked at");
    assert!(effect.in_force && effect.evidence.contains("`test -e held`"), "{}", effect.evidence);
    run.revert(&fault).await.expect("ended");
    assert!(!scratch.path().join("held").exists());
}
