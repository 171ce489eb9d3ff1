//! `network.mtu`: an interface takes only shorter packets, or longer ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{
    ArgError, Claim, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, PlannedChange, RevertError, Reverted, Target,
    Undone, VerifyError,
};
use squall_sys::link::{Interface, Kept, Links};
use squall_sys::netns::Namespace;
use squall_sys::sysctl;
use squall_undo::Armed;

use super::interface::{all, check_own_line, named, namespace, still_there};

/// Sets the MTU of an interface.
#[derive(Debug)]
pub struct Mtu;

/// Which, and to what.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MtuArgs {
    /// The interface, as `ip link` calls it.
    pub interface: String,
    /// The longest packet in bytes, network header included. On an interface with IPv6 it is 1280 at the least: below that the
    /// kernel takes IPv6 off the interface, with all of its settings.
    pub mtu: u32,
    /// Also where Squall, or whoever runs it, is reached over that interface: what the other side sends may no longer fit.
    #[serde(default)]
    pub include_own_line: bool,
}

/// An interface whose MTU changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Changed {
    index: u32,
    name: String,
    mtu: u32,
    /// What IPv6 takes as MTU there, which may have been set apart. None without IPv6.
    of_ipv6: Option<u32>,
}

/// What it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MtuUndo {
    namespace: Namespace,
    /// What it is set to.
    mtu: u32,
    /// The interface, then those above it that the kernel makes as small.
    interfaces: Vec<Changed>,
    /// Routes with an MTU of their own, which the kernel changes along.
    routes: Kept,
}

/// The least that IPv6 lives with (RFC 8200, section 5).
const LEAST_OF_IPV6: u32 = 1280;
/// The least that IPv4 lives with (RFC 791).
const LEAST: u32 = 68;

fn setting(name: &str) -> String {
    format!("ipv6/conf/{name}/mtu")
}

/// The interface, and those that stand on it and are longer than what it will be.
fn affected(all: &[Interface], interface: &Interface, mtu: u32) -> Vec<Interface> {
    let mut found = vec![interface.clone()];
    let mut at = 0;
    while at < found.len() {
        let below = found[at].index;
        found.extend(all.iter().filter(|i| i.below == Some(below) && i.mtu > mtu).cloned());
        at += 1;
    }
    found
}

fn check(interface: &Interface, changed: &[Changed], args: &MtuArgs) -> Result<(), PlanError> {
    let (least, most) = (interface.least_mtu.max(LEAST), if interface.most_mtu == 0 { u32::MAX } else { interface.most_mtu });
    let refuse = |message: String, hint: String| Err(PlanError { message, hint: Some(hint) });
    if args.mtu < least || args.mtu > most {
        let range = if most == u32::MAX { format!("{least} or more") } else { format!("{least} to {most}") };
        return refuse(format!("{} takes no MTU of {}", interface.name, args.mtu), format!("write {range}"));
    }
    if args.mtu == interface.mtu {
        return refuse(format!("the MTU of {} is {} already", interface.name, args.mtu), "write another one".into());
    }
    if let Some(with) = changed.iter().find(|c| c.of_ipv6.is_some()).filter(|_| args.mtu < LEAST_OF_IPV6) {
        return refuse(
            format!("with an MTU of {} the kernel takes IPv6 off {}, with all of its settings", args.mtu, with.name),
            format!("write {LEAST_OF_IPV6} or more, or take IPv6 off the interface yourself (net.ipv6.conf.{}.disable_ipv6)", with.name),
        );
    }
    Ok(())
}

fn wanted(args: &MtuArgs, namespace: Namespace) -> Result<(MtuUndo, Interface), PlanError> {
    let there = all(&namespace)?;
    let interface = named(&there, &args.interface)?.clone();
    let affected = affected(&there, &interface, args.mtu);
    let look = || {
        // IPv6 is off where its addresses are switched off, and then nothing of it goes lost.
        let on = |name: &str| sysctl::read(&format!("ipv6/conf/{name}/disable_ipv6")).is_ok_and(|off| off == "0");
        let of_ipv6 = |i: &Interface| sysctl::read(&setting(&i.name)).ok().filter(|_| on(&i.name)).and_then(|mtu| mtu.parse().ok());
        let changed = |i: &Interface| Changed { index: i.index, name: i.name.clone(), mtu: i.mtu, of_ipv6: of_ipv6(i) };
        Ok((affected.iter().map(changed).collect::<Vec<_>>(), Kept::take(&mut Links::open()?, &interface)?.only_metrics()))
    };
    let (interfaces, routes) = namespace
        .within(look)
        .map_err(|error| PlanError { message: format!("{} cannot be looked at: {error}", interface.name), hint: None })?;
    check(&interface, &interfaces, args)?;
    if !args.include_own_line {
        check_own_line(&namespace, interfaces.iter().map(|i| i.name.as_str()))?;
    }
    Ok((MtuUndo { namespace, mtu: args.mtu, interfaces, routes }, interface))
}

/// Puts one interface back, and says how.
fn back(undo: &MtuUndo, changed: &Changed, armed: &Armed) -> std::io::Result<Option<String>> {
    let mut links = Links::open()?;
    let now = links.all()?.into_iter().find(|i| i.index == changed.index && i.name == changed.name);
    let Some(now) = now else { return Ok(Some(format!("{} is gone", changed.name))) };
    let how = if now.mtu == undo.mtu {
        links.set_mtu(armed, changed.index, changed.mtu)?;
        Some(format!("the MTU of {} is {} again", changed.name, changed.mtu))
    } else if now.mtu == changed.mtu {
        None
    } else {
        return Ok(Some(format!("the MTU of {} was set to {} by somebody else meanwhile, and is left so", changed.name, now.mtu)));
    };
    if let Some(mtu) = changed.of_ipv6.filter(|mtu| *mtu != changed.mtu) {
        sysctl::write(armed, &setting(&changed.name), &mtu.to_string())?;
    }
    Ok(how)
}

impl MtuUndo {
    fn revert_here(&self, armed: &Armed) -> std::io::Result<String> {
        let mut how = Vec::new();
        for changed in &self.interfaces {
            how.extend(back(self, changed, armed)?);
        }
        let routes = self.routes.restore_metrics(armed, &mut Links::open()?)?;
        if routes.routes > 0 {
            how.push(format!("{} routes have their own MTU again", routes.routes));
        }
        how.extend(routes.failed.into_iter().map(|what| format!("left: {what}")));
        if how.is_empty() {
            how.push("the MTU is what it was, nothing to do".to_owned());
        }
        Ok(how.join(", "))
    }
}

impl Fault for Mtu {
    type Args = MtuArgs;
    type Undo = MtuUndo;

    const META: Meta = Meta {
        name: "network.mtu",
        family: "network",
        summary: "Another MTU on an interface: longer packets are cut up, refused or lost",
        example: "\
fault: network.mtu
with: { interface: eth1, mtu: 1280 }
for: 30s
",
        targets: &["host", "namespace", "container"],
        needs: &["root"],
        undone: Undone::Ledger,
        lasting: true,
    };

    fn check(&self, args: &MtuArgs) -> Vec<ArgError> {
        let mut errors = Vec::new();
        if args.interface.is_empty() {
            errors.push(ArgError::field("interface", "no interface is named", Some("write its name, such as `eth0`".to_owned())));
        }
        if args.mtu < LEAST {
            let hint = Some(format!("write {LEAST} or more; with IPv6, {LEAST_OF_IPV6} or more"));
            errors.push(ArgError::field("mtu", format!("an MTU of {} is too short for any packet", args.mtu), hint));
        }
        errors
    }

    fn plan(&self, args: &MtuArgs, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        let (undo, interface) = wanted(args, namespace(target, host)?)?;
        let above: Vec<&str> = undo.interfaces.iter().skip(1).map(|i| i.name.as_str()).collect();
        let along = if above.is_empty() { String::new() } else { format!(", and along with it {}", above.join(", ")) };
        let change = PlannedChange {
            what: format!("interface {} of {}{along}", interface.name, target.label),
            mechanism: format!("sets its MTU from {} to {} (rtnetlink)", interface.mtu, args.mtu),
            undo: format!("sets it to {} again, by the run, the watchdog or `squall recover`", interface.mtu),
        };
        let claims = undo.interfaces.iter().map(|i| Claim(format!("net:{}:{}:mtu", undo.namespace.inode, i.name))).collect();
        Ok(Plan { changes: vec![change], claims, irreversible: false })
    }

    async fn inject(&self, args: &MtuArgs, target: &Target, cx: &Cx<'_, MtuUndo>) -> Result<(), InjectError> {
        let failed = |error: PlanError| InjectError::Failed(error.message);
        let (undo, interface) = wanted(args, namespace(target, &HostFacts::default()).map_err(failed)?).map_err(failed)?;
        let armed = cx.arm(&undo)?;
        let set = undo.namespace.within(|| Links::open()?.set_mtu(&armed, interface.index, args.mtu));
        set.map_err(|error| InjectError::Failed(format!("the MTU of {} cannot be set: {error}", interface.name)))
    }

    async fn verify(&self, undo: &MtuUndo) -> Result<Effect, VerifyError> {
        let Some(first) = undo.interfaces.first() else { return Err(VerifyError("the undo names no interface".into())) };
        let there = still_there(&undo.namespace, first.index, &first.name).map_err(|e| VerifyError(e.to_string()))?;
        Ok(match there {
            None => Effect { in_force: false, evidence: format!("{} is gone", first.name) },
            Some((_, now)) => Effect { in_force: now.mtu == undo.mtu, evidence: format!("the MTU of {} is {}", now.name, now.mtu) },
        })
    }

    async fn revert(&self, undo: &MtuUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        let Some(namespace) = undo.namespace.found() else {
            return Ok(Reverted { how: "the network namespace is gone, and its interfaces with it".into() });
        };
        let how = namespace.within(|| undo.revert_here(armed));
        Ok(Reverted { how: how.map_err(|error| RevertError(format!("the MTU cannot be set back: {error}")))? })
    }
}
