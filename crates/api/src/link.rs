//! The link between a server and an agent.
//!
//! The agent dials out, and says [`Hello`] (`POST /agent/v1/hello`); the server answers [`Welcome`] with a session, which every later
//! request carries as its header [`SESSION_HEADER`]. Under it the agent keeps one `GET /agent/v1/link` open, on which the server sends
//! server-sent events, [`Command`]s ([`COMMAND_EVENT`]), [`Beat`]s ([`BEAT_EVENT`]) and the URLs of all servers ([`SERVERS_EVENT`]), `data:`
//! being JSON; and POSTs [`Message`]s, one JSON document a line, to `/agent/v1/messages`. An error's body is a [`Refusal`].
//!
//! # Leases
//! What an agent injects is on loan. Every [`Beat`] names the runs that the server still drives; a run that a beat of its server leaves
//! out is reverted by the agent itself: from its own undo ledger, without asking anybody. So is one whose lease ends. A beat renews
//! a lease from the moment at which it came, but only once the server has acknowledged the agent's [`Message::Alive`] to it: a link that
//! carries in one direction alone is none. The time is the agent's `CLOCK_BOOTTIME`, so that no clock that is set changes it. If the
//! agent dies, its watchdog reverts at once.
//!
//! # Idempotence
//! A command may come twice (the link broke after it was sent and before it was answered). [`Request::Inject`] for an injection that the
//! agent knows answers what became of it and injects nothing; [`Request::Revert`] of one that is reverted, or was never there, succeeds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use squall_engine::{HostFacts, Plan, Target};
use squall_model::{InjectionId, Measured, RevertedBy, RunId, Time};

/// Version of these frames. A server and an agent of different versions refuse each other, and say so.
pub const PROTOCOL: u32 = 1;

/// How long a run's faults stay in force on an agent that hears nothing, unless the run says otherwise.
pub const DEFAULT_LEASE: Time = Time::from_secs(10);

/// How often the server beats: three beats may be lost before a lease of the default length ends.
pub const BEAT_EVERY: Time = Time::from_secs(3);

/// The name that every server's certificate of the server's own authority has: agents that trust that authority look for it, by whatever
/// name or address they reach the server.
pub const SERVER_NAME: &str = "squall-server";
/// The header that carries [`Welcome::session`].
pub const SESSION_HEADER: &str = "squall-session";
/// The name of the server-sent event that is a [`Command`].
pub const COMMAND_EVENT: &str = "command";
/// The name of the server-sent event that is a [`Beat`].
pub const BEAT_EVENT: &str = "beat";
/// The name of the server-sent event that tells the agent URLs of every server, as in [`Welcome::servers`], when they have changed.
pub const SERVERS_EVENT: &str = "servers";
/// The status of the refusal of a [`Hello`] of an agent that has a link to this server already, by another URL.
pub const LINKED_ALREADY: u16 = 421;

/// What an agent says first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The agent's version.
    pub squall: String,
    /// The host, as it is known to people: its name and labels.
    pub host: HostReport,
    /// Injections that are in force, or could not be put back.
    pub outstanding: Vec<Outstanding>,
    /// Ids of the servers to which it has a link by another URL than this one. A server that is among them, and sees that link too, refuses
    /// with [`LINKED_ALREADY`]: two URLs may lead to one server.
    pub linked: Vec<String>,
}

/// What an agent knows of its host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostReport {
    /// The name that experiments select it by; the certificate of the agent carries it too.
    pub name: String,
    /// Labels: `zone`, `role` and `service` are the usual ones.
    pub labels: BTreeMap<String, String>,
    /// Release of the kernel, cores, memory, and what the host can do.
    pub facts: HostFacts,
    /// Random, made at the boot of the host (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// Names of the agent's own policies, which no server can widen.
    pub policies: Vec<String>,
    /// Nothing may be injected here: who made the stop file, if it is there.
    pub blocked: Option<String>,
}

/// An injection that an agent has not put back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Outstanding {
    /// The run.
    pub run: RunId,
    /// The injection.
    pub injection: InjectionId,
    /// The kind of fault.
    pub fault: String,
    /// Id of the target, for people.
    pub target: String,
}

/// What the server answers to [`Hello`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Welcome {
    /// Opaque; a later one ends an earlier.
    pub session: String,
    /// Id of this server among those that share a database.
    pub server: String,
    /// How often it will beat.
    pub beat_every: Time,
    /// Agent URLs of every server that shares the database; the agent keeps a link to each.
    pub servers: Vec<String>,
}

/// What the server asks an agent to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Command {
    /// Never used twice by one server; the answer carries it. A command that comes again has the same.
    pub id: u64,
    /// What.
    pub request: Request,
}

/// The server is there, and drives these runs: renews their leases, and ends those of this server that are not named. The agent answers
/// [`Message::Alive`]. It is the same text for every host with the same runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Beat {
    /// Runs of this server that have, or may get, injections on this host.
    pub runs: Vec<RunId>,
}

/// What can be asked of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Request {
    /// Which things match? Answer: [`Answer::Found`].
    Find {
        /// The kind of target.
        kind: String,
        /// Its selector.
        selector: Json,
        /// Matches of this selector are left out.
        except: Option<Json>,
    },
    /// What would be done to a target? Answer: [`Answer::Planned`]. Changes nothing.
    Plan {
        /// The kind of fault.
        fault: String,
        /// Its arguments.
        args: Json,
        /// As found.
        target: Target,
    },
    /// Put a fault in force. Answer: [`Answer::Done`].
    Inject(Box<Inject>),
    /// Is it really in force? Answer: [`Answer::Effect`].
    Verify {
        /// The run.
        run: RunId,
        /// The injection.
        injection: InjectionId,
    },
    /// Put it back. Answer: [`Answer::Done`], with what was done.
    Revert {
        /// The run.
        run: RunId,
        /// The injection.
        injection: InjectionId,
    },
    /// The run is over: whatever is left of it is put back, and its ledger closed. Answer: [`Answer::Done`].
    Close {
        /// The run.
        run: RunId,
    },
    /// Put everything back, of every run and of the local API, whoever drives it. Answer: [`Answer::Stopped`].
    StopAll {
        /// Who wants it.
        by: String,
        /// Nothing may be injected on this host any more, until [`Request::Unblock`] or somebody at the host removes the stop file.
        block: bool,
    },
    /// Remove the stop file. Answer: [`Answer::Done`].
    Unblock,
    /// Ask a probe once, from this host. Answer: [`Answer::Measured`]. The agent keeps what it opened for the run until the run is closed.
    Measure(Box<Measure>),
}

/// One injection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inject {
    /// The run.
    pub run: RunId,
    /// Number within the run.
    pub injection: InjectionId,
    /// The kind of fault.
    pub fault: String,
    /// Its arguments.
    pub args: Json,
    /// As found on this host.
    pub target: Target,
    /// The time box; the agent's watchdog holds it, whatever the server does.
    pub duration: Option<Time>,
    /// When it has to be reverted at the latest, counted from now: a little after the time box, or after the longest time of the method.
    pub latest: Time,
    /// Decides the fault's own random choices.
    pub seed: u64,
    /// The manifest says that it may be irreversible.
    pub accept_irreversible: bool,
    /// How long it stays in force without a beat that names its run.
    pub lease: Time,
}

/// One question to a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Measure {
    /// The run.
    pub run: RunId,
    /// Number of the probe within the run.
    pub probe: usize,
    /// The kind of probe.
    pub kind: String,
    /// Its arguments.
    pub args: Json,
    /// How often it will be asked.
    pub every: Time,
    /// After how long an answer comes too late.
    pub timeout: Time,
}

/// What an agent says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Message {
    /// To a beat.
    Alive {
        /// How many injections are in force.
        in_force: u32,
    },
    /// To a command.
    Answer {
        /// Number of the command.
        id: u64,
        /// What came of it.
        answer: Answer,
    },
    /// An injection was put back without the server having asked: its lease or its time box ended, somebody stopped it at the host, or the
    /// agent was restarted.
    Reverted {
        /// The run.
        run: RunId,
        /// The injection.
        injection: InjectionId,
        /// Who did it.
        by: RevertedBy,
        /// Why, and what was done.
        how: String,
    },
    /// The host has changed: labels, facts, or whether it is blocked.
    Host(Box<HostReport>),
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Answer {
    /// Every match on this host.
    Found {
        /// In a stable order.
        targets: Vec<Target>,
        /// Matches that the agent's own policies protect, and which are not among them.
        protected: usize,
    },
    /// What would be done.
    Planned(Plan),
    /// It is done.
    Done {
        /// What was done, in words.
        how: String,
    },
    /// What was seen.
    Effect {
        /// The fault is there.
        in_force: bool,
        /// What was looked at and what it said.
        evidence: String,
    },
    /// What the probe gave, and how long it took on the host, in microseconds.
    Measured {
        /// The value, or why there is none.
        measured: Measured,
        /// Microseconds from asking to the answer.
        took: u64,
    },
    /// Everything was tried.
    Stopped {
        /// What was put back, in words, one for each injection.
        reverted: Vec<String>,
        /// What could not be.
        failed: Vec<String>,
    },
    /// It was not done.
    Refused(Refusal),
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[error("{message}{}", hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
pub struct Refusal {
    /// What stands in the way.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// `POST /agent/v1/join`, the one call without a client certificate: a one-time token buys one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Join {
    /// The token, as `squall hosts add` or the API gave it.
    pub token: String,
    /// The name that the host wants to have.
    pub name: String,
    /// A certificate signing request (PKCS #10, PEM). The key never leaves the host.
    pub csr: String,
}

/// What a join, or a renewal (`POST /agent/v1/certificate`), brings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Joined {
    /// The agent's certificate, PEM.
    pub certificate: String,
    /// The server's own authority, PEM: what the agent trusts from now on, and nothing else.
    pub authority: String,
    /// Agent URLs of every server.
    pub servers: Vec<String>,
}

/// `POST /agent/v1/certificate`: a new certificate for the same name, asked for with the present one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Renew {
    /// A certificate signing request (PKCS #10, PEM).
    pub csr: String,
}
