//! What all DNS faults have in common: their plan, and how they are injected, verified and reverted.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use squall_engine::{
    ArgError, Cx, Effect, HostFacts, InjectError, Plan, PlanError, PlannedChange, RevertError, Reverted, Target, VerifyError,
};
use squall_model::Time;
use squall_sys::conntrack::{Conntrack, Flow};
use squall_sys::netns::Namespace;
use squall_undo::Armed;

use super::address::Address;
use super::job::{DnsJob, Treatment};
use super::queries::{Kind, Queries};
use super::resolver::Listeners;
use super::{look, nameservers};
use crate::carried;
use crate::network::carried::table_gone;
use crate::network::owner::{self, Place};
use crate::stressor::{Job, Launcher, blocking, deadline_of, killed};

/// The undo: its marker finds the resolver, its port the flows that were redirected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsUndo {
    /// On the resolver's command line, and the name of its table.
    pub marker: String,
    /// What it does.
    pub job: DnsJob,
}

/// How often a free port is looked for.
const TRIES: usize = 16;

/// A fault's wish, the same in plan and injection.
pub struct Wish<'a> {
    pub(super) queries: &'a Queries,
    /// Types where the user names none.
    pub(super) usually: &'static [u16],
    pub(super) treatment: Treatment,
    /// `answered with NXDOMAIN`
    pub(super) does: String,
}

/// A, AAAA, SVCB and HTTPS: the types that hold addresses.
pub(super) const WITH_ADDRESSES: &[u16] = &[1, 28, 64, 65];

impl Wish<'_> {
    fn queries(&self) -> Queries {
        let mut queries = self.queries.clone();
        if queries.types.is_empty() {
            queries.types = self.usually.iter().copied().map(Kind).collect();
        }
        queries
    }
}

impl carried::Wish for Wish<'_> {
    type Undo = DnsUndo;

    /// What would be made. Looks at the host and changes nothing.
    fn plan(&self, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        let Place { namespace, .. } = owner::place(target, host)?;
        let queries = self.queries();
        let servers: Vec<String> = nameservers::of(target, &namespace).iter().map(|s| s.ip().to_string()).collect();
        let ports: Vec<String> = queries.ports.iter().map(u16::to_string).collect();
        let mechanism = format!(
            "{} by a resolver of Squall's own in a child process; nf_tables: table inet squall-<run>-<n>: UDP and TCP to port {} are \
             redirected to it; what does not match goes on unchanged to the server it was meant for (here: {})",
            self.does,
            ports.join(", "),
            servers.join(", "),
        );
        let undo = "the kernel takes the table away with the child that owns it; it dies with Squall, and ends by itself at the end of \
                    `for`; flows that were redirected are forgotten by the run, the watchdog or `squall recover`";
        let change = PlannedChange { what: format!("{} of {}", queries.describe(), target.label), mechanism, undo: undo.to_owned() };
        Ok(Plan { changes: vec![change], claims: Vec::new(), irreversible: false })
    }

    /// Arms the undo and puts the fault in force.
    async fn inject(&self, launcher: &Launcher, target: &Target, cx: &Cx<'_, DnsUndo>) -> Result<(), InjectError> {
        let deadline = deadline_of(cx)?;
        let Place { namespace, owner } = owner::place(target, &squall_sys::facts())?;
        let queries = self.queries();
        let port = free_port(&namespace).map_err(|e| InjectError::Failed(port_error(&namespace, &e)))?;
        let job = DnsJob {
            nameservers: nameservers::of(target, &namespace),
            namespace,
            owner,
            names: queries.names,
            types: queries.types.iter().map(|kind| kind.0).collect(),
            probability: queries.percent.share(),
            servers: queries.servers.iter().map(|server| server.0).collect(),
            ports: queries.ports,
            treatment: self.treatment.clone(),
            port,
            seed: cx.seed,
        };
        let armed = cx.arm(&DnsUndo { marker: cx.marker.to_owned(), job: job.clone() })?;
        launcher.start(armed, cx.marker, deadline, &Job::Dns(Box::new(job)), Vec::new()).await
    }

    /// Asks for a name that matches, and looks at the answer and at the resolver's counters.
    async fn verify(undo: &DnsUndo) -> Result<Effect, VerifyError> {
        let undo = undo.clone();
        let looked = blocking(move || undo.job.namespace.within(|| look::look(&undo.marker, &undo.job))).await.map_err(VerifyError)?;
        match looked {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Effect { in_force: false, evidence: "the network namespace is gone".into() })
            }
            looked => looked.map_err(|e| VerifyError(format!("the resolver cannot be looked at: {e}"))),
        }
    }

    /// Kills the resolver, and forgets the flows that were redirected to it: a client that keeps its socket is served at once.
    async fn revert(undo: &DnsUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        let failed = |error: String| RevertError(format!("resolver {}: {error}", undo.marker));
        let killed = killed(&undo.marker, armed).await.map_err(failed)?;
        // Flows that are forgotten while there still are rules would be redirected again.
        table_gone(&undo.job.namespace, &undo.marker).await.map_err(failed)?;
        let flows = match undo.job.namespace.within(|| forget(armed, &undo.job)) {
            Ok(flows) => flows,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(failed(format!("the redirected flows cannot be forgotten: {error}"))),
        };
        let cleaned = owner::clean(armed, &undo.job.owner, &undo.job.namespace).map_err(|e| failed(e.to_string()))?;
        let mut how = match killed.as_slice() {
            [] => format!("no resolver {} is left, nothing to end", undo.marker),
            pids => format!("killed resolver {}, and its table with it", pids.join(", ")),
        };
        if flows > 0 {
            how += &format!("; {flows} redirected flows are forgotten");
        }
        if let Some(cleaned) = cleaned {
            how += &format!("; {cleaned}");
        }
        Ok(Reverted { how })
    }
}

/// A port that nothing has on the loopback addresses of the namespace. It is known before the fault begins, and so to the undo.
fn free_port(namespace: &Namespace) -> std::io::Result<u16> {
    namespace.within(|| {
        let mut last = std::io::Error::other("no port is free");
        for _ in 0..TRIES {
            let port = std::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?.local_addr()?.port();
            match Listeners::bind(port) {
                Ok((listeners, _)) => return listeners.reach_themselves().map(|()| port),
                Err(error) => last = error,
            }
        }
        Err(last)
    })
}

fn port_error(namespace: &Namespace, error: &std::io::Error) -> String {
    let path = namespace.path.display();
    match error.kind() {
        std::io::ErrorKind::AddrNotAvailable | std::io::ErrorKind::NetworkUnreachable => {
            format!(
                "the loopback interface of the network namespace {path} is down, and queries are redirected to it; `ip link set lo up` there"
            )
        }
        std::io::ErrorKind::NotFound => format!("the network namespace {path} is gone"),
        std::io::ErrorKind::PermissionDenied => format!("the network namespace {path} cannot be entered: {error}; run as root"),
        _ => format!("no port is free in the network namespace {path}: {error}"),
    }
}

fn forget(armed: &Armed, job: &DnsJob) -> std::io::Result<usize> {
    let is_ours = |flow: &Flow| {
        let (meant, served) = (flow.original.destination, flow.reply.source);
        flow.is_redirected() && served.port() == job.port && served.ip().is_loopback() && job.ports.contains(&meant.port())
    };
    Conntrack::open()?.forget(armed, is_ours)
}

/// `192.0.2.1, 192.0.2.2`, or `no address`.
pub(super) fn list<A: std::fmt::Display>(addresses: &[Address<A>]) -> String {
    match addresses {
        [] => "no address".to_owned(),
        some => some.iter().map(|address| address.0.to_string()).collect::<Vec<_>>().join(", "),
    }
}

/// What DNS faults can be applied to.
pub(super) const TARGETS: &[&str] = &["host", "process", "namespace", "container", "cgroup", "user"];
/// What they need of the host.
pub(super) const NEEDS: &[&str] = &["root", "pidfd", "nf-tables"];

/// How long a client may keep what it was told, where the user says nothing.
pub(super) fn ttl() -> Time {
    Time::from_secs(1)
}

/// A day: longer than that is nothing but a nuisance.
const LONGEST_TTL: Time = Time::from_secs(86_400);

pub(super) fn check_ttl(ttl: Time) -> Option<ArgError> {
    let message = format!("a time to live is in whole seconds, from 0 to {LONGEST_TTL}");
    let good = ttl.std().subsec_nanos() == 0 && ttl <= LONGEST_TTL;
    (!good).then(|| ArgError::field("ttl", message, Some("write `1s`: what is kept longer outlives the fault".to_owned())))
}

pub(super) fn seconds(ttl: Time) -> u32 {
    u32::try_from(ttl.std().as_secs()).unwrap_or(u32::MAX)
}
