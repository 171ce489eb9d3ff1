//! What all faults that a carrier carries have in common: their plan, and how they are injected, verified and reverted.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use squall_engine::{Cx, Effect, HostFacts, InjectError, Plan, PlanError, PlannedChange, RevertError, Reverted, Target, VerifyError};
use squall_sys::netns::Namespace;
use squall_sys::{link, nft, stressor};
use squall_undo::Armed;

use super::job::{Action, Mechanism, NetworkJob, Resolved, device_mark};
use super::netem::{self, TcUndo};
use super::owner::{self, Owner, Place};
use super::rules::{self, Queues};
use super::scope::{Direction, Peer, Scope};
use super::{carrier, describe, own_line, own_packet};
use crate::carried;
use crate::stressor::{Job, Launcher, blocking, deadline_of, killed};

/// The undo: its marker finds the carrier, the rest is for whoever verifies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkUndo {
    /// On the carrier's command line, and the name of its table.
    pub marker: String,
    /// What it does.
    pub job: NetworkJob,
}

/// How long a carrier may take to let go of what it holds.
const LETS_GO_WITHIN: Duration = Duration::from_millis(500);
/// How long the kernel may take to take a table away.
const TABLE_GONE_WITHIN: Duration = Duration::from_secs(5);
/// How long to wait for packets in scope before saying that there are none.
const PACKETS_WITHIN: Duration = Duration::from_secs(3);
/// How long the target itself may take to send something.
const MOMENT: Duration = Duration::from_millis(50);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// A fault's wish, the same in plan and injection.
pub struct Wish<'a> {
    pub(super) scope: &'a Scope,
    /// Which way where the user says nothing.
    pub(super) usually: Direction,
    pub(super) action: Action,
    pub(super) mechanism: Mechanism,
}

impl Wish<'_> {
    fn job(&self, target: &Target, host: &HostFacts, marker: &str) -> Result<NetworkJob, PlanError> {
        check_host(&self.action, host)?;
        let Place { namespace, owner } = owner::place(target, host)?;
        let scope = self.scope.with_direction(self.usually);
        let (interfaces, own_lines) = look(&namespace, !scope.include_own_line)?;
        check_interface(&scope, &interfaces)?;
        check_own_address(&scope, &interfaces)?;
        let everything = matches!(owner, Owner::Everything);
        let (meant, _) = scope.read_peers();
        let on_loopback = scope.interface.as_deref() == Some("lo") || meant.iter().any(Peer::is_loopback);
        let lines = own_lines?;
        let spare_loopback = everything && !on_loopback;
        let mut job = NetworkJob { namespace, owner, scope, action: self.action.clone(), lines, spare_loopback, device: None };
        job.device = self.device(&job, &interfaces, marker)?;
        Ok(job)
    }

    /// The kernel's devices, where they are to carry the fault.
    fn device(&self, job: &NetworkJob, interfaces: &[link::Interface], marker: &str) -> Result<Option<TcUndo>, PlanError> {
        let Action::Shape { shape } = &job.action else { return Ok(None) };
        if self.mechanism == Mechanism::Nfqueue {
            return Ok(None);
        }
        let fits = || -> Result<&link::Interface, String> {
            if job.scope.way() != Direction::Out {
                return Err("netem shapes only what is sent: write `direction: out`".into());
            }
            if !job.owner.survives_postrouting() {
                return Err("netem cannot tell this target's packets from others".into());
            }
            let there = squall_sys::traffic_control();
            let missing = netem::needs(shape).iter().find(|need| !there.get(**need).is_some_and(|f| f.available));
            if let Some(missing) = missing {
                return Err(format!("this kernel has no {missing}"));
            }
            let mut usable = interfaces.iter().filter(|i| match &job.scope.interface {
                Some(name) => i.name == *name,
                None => i.up && i.name != "lo",
            });
            match (usable.next(), usable.next()) {
                (Some(one), None) => Ok(one),
                _ => Err("netem needs one interface: name it as `interface`".into()),
            }
        };
        match fits() {
            Ok(interface) => match netem::plan_undo(&job.namespace, interface, marker, device_mark(marker)) {
                Err(_) if self.mechanism == Mechanism::Auto => Ok(None),
                planned => planned.map(Some),
            },
            Err(_) if self.mechanism == Mechanism::Auto => Ok(None),
            Err(message) => Err(PlanError { message, hint: Some("leave `mechanism` out: the queue serves every scope".into()) }),
        }
    }
}

impl carried::Wish for Wish<'_> {
    type Undo = NetworkUndo;

    /// What would be made, rule by rule. Looks at the host and changes nothing.
    fn plan(&self, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        let job = self.job(target, host, "squall-<run>-<n>")?;
        let (from_names, _) = job.scope.read_peers();
        let queues = Queues { served: 1, unheard: 2 };
        let table = rules::table("squall-<run>-<n>", &job, &Resolved::default(), &[], queues, None);
        let names: Vec<&str> =
            from_names.iter().filter_map(|p| if let Peer::Host(name) = p { Some(name.as_str()) } else { None }).collect();
        let mut mechanism = describe::mechanism(&job, &table);
        if !names.is_empty() {
            mechanism += &format!("; {} looked up at the start and every 5 s", names.join(", "));
        }
        let undo = match job.device {
            None => {
                "the kernel takes table and queue away with the child that owns them; it dies with Squall, and ends by itself at the end of `for`"
            }
            Some(_) => "the child dies with Squall; filter and ifb device are removed by the run, the watchdog or `squall recover`",
        };
        let change = PlannedChange { what: describe::what(&job, target), mechanism, undo: undo.to_owned() };
        Ok(Plan { changes: vec![change], claims: Vec::new(), irreversible: false })
    }

    /// Looks everything up, arms the undo, and puts the fault in force.
    async fn inject(&self, launcher: &Launcher, target: &Target, cx: &Cx<'_, NetworkUndo>) -> Result<(), InjectError> {
        let deadline = deadline_of(cx)?;
        let host = squall_sys::facts();
        let job = self.job(target, &host, cx.marker)?;
        // A name that nobody knows is an error before anything is touched.
        if job.has_names() {
            let names = job.clone();
            blocking(move || carrier::look_up(&names)).await.map_err(InjectError::Failed)?.map_err(InjectError::Failed)?;
        }
        let armed = cx.arm(&NetworkUndo { marker: cx.marker.to_owned(), job: job.clone() })?;
        launcher.start(armed, cx.marker, deadline, &Job::Network(Box::new(job)), Vec::new()).await
    }

    /// Whether packets are caught: the kernel's counters of the rules, with a packet of its own where nothing else passes.
    async fn verify(undo: &NetworkUndo) -> Result<Effect, VerifyError> {
        let undo = undo.clone();
        blocking(move || looked(&undo)).await.map_err(VerifyError)?.map_err(|e| VerifyError(format!("the table cannot be read: {e}")))
    }

    /// Ends the carrier, so that nothing it held is lost; kills it if it does not; and removes the devices.
    async fn revert(undo: &NetworkUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        let marker = &undo.marker;
        let failed = |error: String| RevertError(format!("carrier {marker}: {error}"));
        let asked = stressor::ask(armed, marker).map_err(|e| failed(e.to_string()))?;
        let waited = blocking(move || asked.iter().map(|d| (d.pid, d.wait_for(LETS_GO_WITHIN).is_ok())).collect::<Vec<_>>());
        let asked = waited.await.map_err(failed)?;
        let mut how = match asked.first() {
            None => format!("no carrier {marker} is left, nothing to do"),
            Some((pid, true)) => format!("ended carrier {pid}, and its table with it"),
            Some((pid, false)) => format!("killed carrier {pid}, and its table with it"),
        };
        // Again, in case one was being started meanwhile, and for one that did not listen.
        killed(marker, armed).await.map_err(failed)?;
        table_gone(&undo.job.namespace, marker).await.map_err(failed)?;
        if let Some(cleaned) = owner::clean(armed, &undo.job.owner, &undo.job.namespace).map_err(|e| failed(e.to_string()))? {
            how += &format!("; {cleaned}");
        }
        if let Some(device) = undo.job.device.clone() {
            let armed = armed.again();
            // What the device holds is given time to leave.
            let removed = blocking(move || netem::revert(&device, &armed)).await.map_err(failed)?;
            how += &format!("; {}", removed.map_err(|e| failed(e.to_string()))?);
        }
        Ok(Reverted { how })
    }
}

/// What only some arguments need: loss at random is the kernel's own.
fn check_host(action: &Action, host: &HostFacts) -> Result<(), PlanError> {
    if matches!(action, Action::Shape { .. }) { host.has("what is shaped", &["nfqueue"]) } else { Ok(()) }
}

/// The interfaces of a namespace, and if asked for the lines in it, which nobody needs where the interface is wrong.
type Found = (Vec<link::Interface>, Result<Vec<own_line::Line>, PlanError>);

fn look(namespace: &Namespace, for_lines: bool) -> Result<Found, PlanError> {
    let both = || Ok((link::interfaces()?, if for_lines { own_line::connections() } else { Ok(Vec::new()) }));
    let (interfaces, lines) = namespace.within(both).map_err(|error| PlanError {
        message: format!("the interfaces of {} cannot be listed: {error}", namespace.path.display()),
        hint: (error.kind() == std::io::ErrorKind::PermissionDenied).then(|| "run as root: another network namespace needs it".to_owned()),
    })?;
    let lines = lines.map_err(|error| PlanError {
        message: format!("the connections that Squall is reached by cannot be listed: {error}"),
        hint: Some("a fault could cut them; `includeOwnLine: true` takes that risk".into()),
    });
    Ok((interfaces, lines))
}

fn check_interface(scope: &Scope, interfaces: &[link::Interface]) -> Result<(), PlanError> {
    let Some(name) = &scope.interface else { return Ok(()) };
    if interfaces.iter().any(|i| i.name == *name) {
        return Ok(());
    }
    let names: Vec<&str> = interfaces.iter().map(|i| i.name.as_str()).collect();
    Err(PlanError { message: format!("there is no interface `{name}`"), hint: Some(format!("those there are: {}", names.join(", "))) })
}

/// Packets to an address of one's own pass through the loopback interface.
fn check_own_address(scope: &Scope, interfaces: &[link::Interface]) -> Result<(), PlanError> {
    let (meant, _) = scope.read_peers();
    let own = interfaces.iter().filter(|i| i.name != "lo").flat_map(|i| &i.addresses);
    let is_own = |peer: &&Peer| own.clone().any(|address| **peer == Peer::Block(super::scope::single(*address)));
    match meant.iter().find(is_own) {
        Some(Peer::Block(block)) if scope.interface.as_deref() != Some("lo") => Err(PlanError {
            message: format!("{} is the target's own address, and never a peer", describe::element(block)),
            hint: Some("what a host sends to itself passes through `lo`: write `interface: lo`, or name the port as `localPorts`".into()),
        }),
        _ => Ok(()),
    }
}

fn looked(undo: &NetworkUndo) -> std::io::Result<Effect> {
    let table = &undo.marker;
    let end = squall_sys::cpu_time::monotonic() + PACKETS_WITHIN;
    let mut sent = None;
    let caught = |counts: &[nft::RuleCount]| -> u64 {
        counts.iter().filter(|c| c.comment.starts_with("sent") || c.comment.starts_with("received")).map(|c| c.packets).sum()
    };
    loop {
        let Some(counts) = undo.job.namespace.within(|| nft::counters(table))? else {
            return Ok(Effect { in_force: false, evidence: format!("there is no table {table}") });
        };
        let packets = caught(&counts);
        if packets > 0 {
            let whose = sent.as_deref().map_or_else(String::new, |probe| format!(", {probe} among them"));
            let device = undo.job.device.as_ref().map(|d| undo.job.namespace.within(|| netem::counters(d))).transpose()?;
            let more = device.map_or_else(String::new, |c| format!("; {} went through {}", c.sent, describe::device(&undo.job)));
            return Ok(Effect { in_force: true, evidence: format!("table {table} has caught {packets} packets{whose}{more}") });
        }
        let left = end.saturating_sub(squall_sys::cpu_time::monotonic());
        if left.is_zero() {
            let evidence = format!("table {table} is there, and no packet in scope has passed within {} s", PACKETS_WITHIN.as_secs());
            return Ok(Effect { in_force: false, evidence });
        }
        // Traffic of the target says more than a packet of ours: it is given a moment.
        if sent.is_none() && left < PACKETS_WITHIN - MOMENT {
            sent = undo.job.namespace.within(|| Ok(own_packet::send(&undo.job)))?;
        }
        std::thread::sleep(LOOK);
    }
}

/// Waits until the table of a carrier that has ended is gone, as the kernel takes it away a moment after the process.
pub(crate) async fn table_gone(namespace: &Namespace, marker: &str) -> Result<(), String> {
    let (at, table) = (namespace.clone(), marker.to_owned());
    match blocking(move || at.within(|| nft::wait_until_gone(&table, TABLE_GONE_WITHIN))).await? {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("its table is still there after {} s", TABLE_GONE_WITHIN.as_secs())),
        // Gone with its namespace.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("its table cannot be looked for: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use squall_engine::Feature;

    use super::*;
    use crate::network::loss::NetworkLoss;

    #[test]
    fn loss_in_bursts_needs_a_queue_and_loss_at_random_does_not() {
        let here = squall_sys::netns::Namespace::own().expect("a namespace");
        let target = Target { kind: "namespace".into(), id: "x".into(), label: "x".into(), facts: json!({ "namespace": here }) };
        let mut host = squall_sys::facts();
        let feature = |available| Feature { available, detail: "nothing found".into(), hint: Some("get it".into()) };
        host.features.insert("nf-tables".into(), feature(true));
        host.features.insert("nfqueue".into(), feature(false));
        let plan = |args| squall_testkit::planned(&NetworkLoss::default(), &args, &target, &host);
        let refused = plan(json!({ "bursts": { "enter": "1%", "leave": "25%" } })).expect_err("refused");
        let message = "what is shaped needs nfqueue of the host: nothing found".to_owned();
        assert_eq!((refused.message, refused.hint), (message, Some("get it".to_owned())));
        plan(json!({ "percent": "5%" })).expect("planned");
    }
}
