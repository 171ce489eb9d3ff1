//! What every fault has to keep, checked against the real thing. A table gives each fault a [`World`] to break; each function
//! here checks one promise for one row of it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value as Json, json};
use squall_engine::{AnyFault, HostFacts, InjectError, Target};
use squall_undo::{ArmError, StateDir, recover};

use crate::execution::{Execution, Only};
use crate::planned::planned;
use crate::waiting::in_time;

/// Something real, made for one check and gone after it. Each look is taken from outside, without the fault's own code.
pub trait World: Send + Sync {
    /// What the fault is applied to.
    fn target(&self) -> Target;
    /// Good arguments.
    fn args(&self) -> Json;
    /// Nothing at all was done to it. Otherwise what was.
    fn untouched(&self) -> Result<(), String>;
    /// The fault is in force. Otherwise what is missing.
    fn broken(&self) -> Result<(), String>;
    /// It is as good as before. Otherwise what is not.
    fn restored(&self) -> Result<(), String>;
}

/// One row of the table.
pub struct Subject {
    /// A name of its own: a fault may have several rows, one a way back.
    pub row: &'static str,
    /// The fault.
    pub fault: Arc<dyn AnyFault>,
    /// Makes a world.
    pub world: fn() -> Box<dyn World>,
    /// Arguments that have to be refused.
    pub bad: Vec<Json>,
}

/// The longest that a fault of the bench is in force.
const TIME_BOX: Duration = Duration::from_mins(1);
/// Set for the child that is killed: the row's name, and a directory.
const CHILD: &str = "SQUALL_CONFORMANCE_CHILD";
const CHILD_DIR: &str = "SQUALL_CONFORMANCE_DIR";

/// Injects as the engine does. `armed` is called each time that an undo is on disk, before the fault goes on.
async fn inject(
    run: &Execution,
    subject: &Subject,
    world: &dyn World,
    host: &HostFacts,
    armed: impl Fn() + Send + Sync,
) -> Result<Json, InjectError> {
    let arm = |entry| run.ledger.arm(entry).inspect(|_| armed());
    run.inject_with(&subject.fault, &world.args(), &world.target(), host, arm).await
}

fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("squall-conformance-").tempdir().expect("a directory")
}

/// For messages.
fn name(subject: &Subject) -> &'static str {
    subject.row
}

/// Planning says what would be done, says the same again, and does nothing. What the fault needs is a feature that hosts are
/// looked at for.
pub fn plan_changes_nothing(subject: &Subject, host: &HostFacts) {
    let world = (subject.world)();
    let (target, args, meta) = (world.target(), world.args(), subject.fault.meta());
    assert_eq!(subject.fault.check(&args), [], "{}: good arguments", meta.name);
    let plan = planned(subject.fault.as_ref(), &args, &target, host).expect("planned");
    assert!(!plan.changes.is_empty(), "{} plans no change", meta.name);
    for change in &plan.changes {
        assert!(![&change.what, &change.mechanism, &change.undo].iter().any(|text| text.is_empty()), "{}: {change:?}", meta.name);
    }
    assert_eq!(planned(subject.fault.as_ref(), &args, &target, host).expect("planned again"), plan, "{} plans by chance", meta.name);
    assert_eq!(world.untouched(), Ok(()), "{} was planned", meta.name);
    assert!(meta.targets.contains(&target.kind.as_str()), "{} is not for {}", meta.name, target.kind);
    let unknown: Vec<&&str> = meta.needs.iter().filter(|need| !host.features.contains_key(**need)).collect();
    assert!(unknown.is_empty(), "{} needs {unknown:?}, which `squall doctor` does not know", meta.name);
}

/// While the undo cannot be put on disk, nothing is touched; and while it is put on disk for the first time, nothing has been.
pub async fn nothing_is_touched_before_the_undo_is_on_disk(subject: &Subject, host: &HostFacts) {
    let (world, directory) = ((subject.world)(), scratch());
    let run = Execution::within(directory.path());
    let refuse = |_| Err(ArmError::Encode("the disk is full".into()));
    let refused = run.inject_with(&subject.fault, &world.args(), &world.target(), host, refuse).await;
    assert!(matches!(refused, Err(InjectError::Arm(_))), "{}: {refused:?}", name(subject));
    assert_eq!(world.untouched(), Ok(()), "{} could not be armed", name(subject));

    let first = Mutex::new(None);
    let look = || {
        let seen = (run.armed(), world.untouched());
        first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(seen);
    };
    inject(&run, subject, world.as_ref(), host, look).await.expect("injected");
    let first = first.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(first, Some((1, Ok(()))), "{}: the ledger and the world when it was armed first", name(subject));
    run.revert(&subject.fault).await.expect("reverted");
}

/// It is in force, by its own word and as seen from outside; and gone after its revert, and after a second one.
pub async fn it_is_in_force_and_gone_after_each_of_two_reverts(subject: &Subject, host: &HostFacts) {
    let (world, directory) = ((subject.world)(), scratch());
    let run = Execution::within(directory.path());
    let undo = inject(&run, subject, world.as_ref(), host, || ()).await.expect("injected");
    let effect = subject.fault.verify(&undo).await.expect("looked at");
    assert!(effect.in_force && !effect.evidence.is_empty(), "{}: {effect:?}", name(subject));
    in_time(&format!("{} is in force", name(subject)), || world.broken()).await;
    let how = run.revert(&subject.fault).await.expect("reverted");
    assert!(!how.is_empty(), "{}", name(subject));
    assert_eq!(world.restored(), Ok(()), "{} was reverted: {how}", name(subject));
    if subject.fault.meta().lasting {
        let after = subject.fault.verify(&undo).await;
        assert!(!after.is_ok_and(|effect| effect.in_force), "{} says that it is in force after its revert", name(subject));
    }
    // As somebody does who comes later and knows the undo alone.
    run.revert_undo(&subject.fault, undo).await.expect("reverted again");
    assert_eq!(world.restored(), Ok(()), "{} was reverted twice", name(subject));
    run.ledger.close().expect("nothing is outstanding");
}

/// The same fault on the same thing is refused by its claims, from another run too; or, where it claims nothing, both are in
/// force and both are gone in the end.
pub async fn two_at_once_are_refused_or_composed(subject: &Subject, host: &HostFacts) {
    let (world, directory) = ((subject.world)(), scratch());
    let (one, other) = (Execution::within(directory.path()), Execution::within(directory.path()));
    let plan = planned(subject.fault.as_ref(), &world.args(), &world.target(), host).expect("planned");
    inject(&one, subject, world.as_ref(), host, || ()).await.expect("injected");
    in_time(&format!("{} is in force", name(subject)), || world.broken()).await;
    let second = inject(&other, subject, world.as_ref(), host, || ()).await;
    if plan.claims.is_empty() {
        second.expect("a second one, composed");
        assert_eq!(world.broken(), Ok(()), "{} twice", name(subject));
        other.revert(&subject.fault).await.expect("the second reverted");
    } else {
        // One whose target is gone by the first has nothing left to be applied to.
        let gone = matches!(&second, Err(InjectError::TargetGone(_)));
        let claimed = matches!(&second, Err(InjectError::Arm(ArmError::Claimed { .. })));
        assert!(gone || claimed || other.armed() == 0, "{}: {second:?}", name(subject));
        assert_eq!(world.broken(), Ok(()), "{}: the second one was refused", name(subject));
    }
    one.revert(&subject.fault).await.expect("reverted");
    assert_eq!(world.restored(), Ok(()), "{}: both are over", name(subject));
}

/// Bad arguments are refused before anything is planned, and the refusal says what to write.
pub fn bad_arguments_are_refused_with_a_hint(subject: &Subject) {
    assert!(!subject.bad.is_empty(), "{}: the table has no bad arguments", name(subject));
    let unknown = json!({ "noSuchArgument": 1 });
    for bad in subject.bad.iter().chain([&unknown]) {
        let errors = subject.fault.check(bad);
        assert!(!errors.is_empty(), "{} takes {bad}", name(subject));
        for error in errors {
            // What is merely of the wrong type says what was expected, or shows an example.
            let helps = error.hint.is_some() || ["expected", "such as"].iter().any(|words| error.message.contains(words));
            assert!(helps, "{} refuses {bad} and does not say what to write: {error:?}", name(subject));
        }
    }
}

/// The engine is killed with the fault in force; somebody else puts everything back from the ledger alone.
pub async fn it_is_put_back_by_a_fresh_process_after_kill_9(subject: &Subject, child_test: &str) {
    let (world, directory) = ((subject.world)(), scratch());
    let order = json!({ "target": world.target(), "args": world.args() });
    std::fs::write(directory.path().join("order"), order.to_string()).expect("written");
    #[expect(clippy::disallowed_methods, reason = "the child is this test program, and is killed")]
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", child_test, "--nocapture"]).env(CHILD, name(subject)).env(CHILD_DIR, directory.path());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let answer = directory.path().join("answer");
    in_time(&format!("{} is injected by the child", name(subject)), || match std::fs::read_to_string(&answer) {
        Ok(text) if text.ends_with('\n') => Ok(()),
        _ => Err("no answer".into()),
    })
    .await;
    assert_eq!(std::fs::read_to_string(&answer).expect("answer"), "injected\n", "{}", name(subject));
    in_time(&format!("{} is in force", name(subject)), || world.broken()).await;
    child.kill().expect("killed");
    child.wait().expect("reaped");
    let state = StateDir::new(directory.path().join("state")).expect("a state directory");
    let recovered = recover(&state, &Only(&subject.fault)).await.expect("recovered");
    assert!(!recovered.is_empty() && recovered.iter().all(squall_undo::RecoveredRun::clean), "{}: {recovered:?}", name(subject));
    assert_eq!(world.restored(), Ok(()), "{} was recovered: {recovered:?}", name(subject));
    assert!(recover(&state, &Only(&subject.fault)).await.expect("recovered").is_empty(), "{}: nothing is left", name(subject));
}

/// Body of the test that [`it_is_put_back_by_a_fresh_process_after_kill_9`] runs in a child: injects and waits for its end. Does
/// nothing in an ordinary run of the tests.
pub async fn be_the_child(subjects: &[Subject], host: &HostFacts) {
    let (Some(wanted), Some(directory)) = (std::env::var_os(CHILD), std::env::var_os(CHILD_DIR)) else { return };
    let directory = Path::new(&directory);
    let subject = subjects.iter().find(|subject| *name(subject) == *wanted).expect("a row of the table");
    let order: Json = serde_json::from_slice(&std::fs::read(directory.join("order")).expect("order")).expect("JSON");
    let there = There { target: serde_json::from_value(order["target"].clone()).expect("a target"), args: order["args"].clone() };
    let run = Execution::within(&directory.join("state"));
    let answer = match inject(&run, subject, &there, host, || ()).await {
        Ok(_) => "injected\n".to_owned(),
        Err(error) => format!("{error}\n"),
    };
    std::fs::write(directory.join("answer"), answer).expect("written");
    // Killed long before; and if nobody does, no longer here than the fault.
    let _ = tokio::time::timeout(TIME_BOX, std::future::pending::<()>()).await;
}

/// A world of which only what the fault is given is known.
struct There {
    target: Target,
    args: Json,
}

impl World for There {
    fn target(&self) -> Target {
        self.target.clone()
    }
    fn args(&self) -> Json {
        self.args.clone()
    }
    fn untouched(&self) -> Result<(), String> {
        Err("not known here".into())
    }
    fn broken(&self) -> Result<(), String> {
        Err("not known here".into())
    }
    fn restored(&self) -> Result<(), String> {
        Err("not known here".into())
    }
}
