//! `network.down`: an interface is set down.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{
    ArgError, Claim, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, PlannedChange, RevertError, Reverted, Target,
    Undone, VerifyError,
};
use squall_sys::link::{Interface, Kept, Links, Restored};
use squall_sys::netns::Namespace;
use squall_undo::Armed;

use super::interface::{all, check_own_line, named, namespace, still_there};

/// Sets an interface down.
#[derive(Debug)]
pub struct Down;

/// Which.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DownArgs {
    /// The interface, as `ip link` calls it. VLANs above it go down with it.
    pub interface: String,
    /// Also where Squall, or whoever runs it, is reached over that interface. The fault ends by itself at the end of `for`.
    #[serde(default)]
    pub include_own_line: bool,
    /// Also the loopback interface, which almost everything on a host needs, Squall too.
    #[serde(default)]
    pub allow_loopback: bool,
}

/// The interface, and what goes lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DownUndo {
    namespace: Namespace,
    index: u32,
    interface: String,
    /// IPv6 addresses, routes, fixed neighbours: the kernel forgets them.
    kept: Kept,
}

/// More than this is the table of an Internet router. It is not put into a ledger.
const MOST_KEPT: usize = 20_000;

fn check(interface: &Interface, kept: &Kept, objects: usize, args: &DownArgs) -> Result<(), PlanError> {
    let refuse = |message: String, hint: &str| Err(PlanError { message, hint: Some(hint.to_owned()) });
    let name = &interface.name;
    if !interface.up {
        return refuse(format!("{name} is down already"), "name an interface that is up");
    }
    if interface.loopback && !args.allow_loopback {
        return refuse(format!("almost everything on a host needs {name}, Squall too"), "write `allowLoopback: true` if that is meant");
    }
    if objects > 0 {
        return refuse(
            format!("{objects} nexthop objects go through {name}: the kernel would throw them away, and Squall cannot make them again"),
            "name another interface, or use network.partition, which leaves routes alone",
        );
    }
    if kept.count() > MOST_KEPT {
        let message = format!("{} addresses and routes go through {name}: more than {MOST_KEPT} are not put back", kept.count());
        return refuse(message, "use network.partition, which leaves routes alone");
    }
    Ok(())
}

fn wanted(args: &DownArgs, namespace: Namespace) -> Result<DownUndo, PlanError> {
    let interface = named(&all(&namespace)?, &args.interface)?.clone();
    let look = || {
        let mut links = Links::open()?;
        Ok((Kept::take(&mut links, &interface)?, links.nexthop_objects(&[interface.index])?))
    };
    let (kept, objects) = namespace.within(look).map_err(|error| PlanError {
        message: format!("the addresses and routes of {} cannot be read: {error}", interface.name),
        hint: None,
    })?;
    check(&interface, &kept, objects, args)?;
    if !args.include_own_line {
        check_own_line(&namespace, kept.names())?;
    }
    Ok(DownUndo { namespace, index: interface.index, interface: interface.name, kept })
}

/// `, made 2 IPv6 addresses, 3 routes again`
fn words(restored: &Restored) -> String {
    let parts = [(restored.addresses, "IPv6 addresses"), (restored.routes, "routes"), (restored.neighbours, "fixed neighbours")];
    let made: Vec<String> = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let made = if made.is_empty() { String::new() } else { format!(", made {} again", made.join(", ")) };
    let failed = if restored.failed.is_empty() { String::new() } else { format!("; could not make {}", restored.failed.join(", ")) };
    made + &failed
}

impl Fault for Down {
    type Args = DownArgs;
    type Undo = DownUndo;

    const META: Meta = Meta {
        name: "network.down",
        family: "network",
        summary: "Sets an interface down, and puts back what the kernel forgets by that",
        example: "\
fault: network.down
with: { interface: eth1 }
for: 30s
",
        targets: &["host", "namespace", "container"],
        needs: &["root"],
        undone: Undone::Ledger,
        lasting: true,
    };

    fn check(&self, args: &DownArgs) -> Vec<ArgError> {
        let unnamed = || ArgError::field("interface", "no interface is named", Some("write its name, such as `eth0`".to_owned()));
        if args.interface.is_empty() { vec![unnamed()] } else { Vec::new() }
    }

    fn plan(&self, args: &DownArgs, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        let undo = wanted(args, namespace(target, host)?)?;
        let names: Vec<&str> = undo.kept.names().collect();
        let change = PlannedChange {
            what: format!("interface {} of {}", names.join(", "), target.label),
            mechanism: "sets it down (rtnetlink)".into(),
            undo: format!(
                "sets it up and makes {} addresses, routes and neighbours again, by the run, the watchdog or `squall recover`",
                undo.kept.count()
            ),
        };
        let claims = names.iter().map(|name| Claim(format!("net:{}:{name}:down", undo.namespace.inode))).collect();
        Ok(Plan { changes: vec![change], claims, irreversible: false })
    }

    async fn inject(&self, args: &DownArgs, target: &Target, cx: &Cx<'_, DownUndo>) -> Result<(), InjectError> {
        let failed = |error: PlanError| InjectError::Failed(error.message);
        let undo = wanted(args, namespace(target, &HostFacts::default()).map_err(failed)?).map_err(failed)?;
        let armed = cx.arm(&undo)?;
        let set = undo.namespace.within(|| Links::open()?.set_up(&armed, undo.index, false));
        set.map_err(|error| InjectError::Failed(format!("{} cannot be set down: {error}", undo.interface)))
    }

    async fn verify(&self, undo: &DownUndo) -> Result<Effect, VerifyError> {
        let there = still_there(&undo.namespace, undo.index, &undo.interface).map_err(|e| VerifyError(e.to_string()))?;
        Ok(match there {
            None => Effect { in_force: false, evidence: format!("{} is gone", undo.interface) },
            Some((_, now)) => Effect { in_force: !now.up, evidence: format!("{} is {}", now.name, if now.up { "up" } else { "down" }) },
        })
    }

    async fn revert(&self, undo: &DownUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        let failed = |error: std::io::Error| RevertError(format!("{} cannot be put back: {error}", undo.interface));
        let Some((namespace, now)) = still_there(&undo.namespace, undo.index, &undo.interface).map_err(failed)? else {
            return Ok(Reverted { how: format!("{} is gone, nothing to do", undo.interface) });
        };
        let restored = namespace.within(|| {
            let mut links = Links::open()?;
            if !now.up {
                links.set_up(armed, undo.index, true)?;
            }
            undo.kept.restore(armed, &mut links)
        });
        let was = if now.up { "was up already" } else { "is up again" };
        Ok(Reverted { how: format!("{} {was}{}", undo.interface, words(&restored.map_err(failed)?)) })
    }
}
