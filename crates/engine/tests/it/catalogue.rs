//! Kinds by the names that Squall ships, for tests of messages and schema: real arguments and checks, and they touch nothing.

use std::sync::Arc;

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{
    ArgError, Cx, Effect, Fault, FindError, HostFacts, InjectError, Measure, Meta, Plan, PlanError, Probe, ProbeCx, ProbeMeta, Registry,
    RevertError, Reverted, Target, TargetKind, TargetMeta, Undone, Variable, VerifyError,
};
use squall_model::{Bytes, Dimension, Percent, Time};
use squall_undo::Armed;

/// Every kind of the catalogue.
pub fn registry() -> Registry {
    Registry {
        faults: vec![Arc::new(Kill), Arc::new(Pause), Arc::new(Load), Arc::new(Pressure), Arc::new(Command), Arc::new(Wipe)],
        probes: vec![
            Arc::new(Http),
            Arc::new(Tcp),
            Arc::new(CommandProbe),
            Arc::new(Prometheus),
            Arc::new(ProcessProbe),
            Arc::new(File),
            Arc::new(Log),
            Arc::new(Traffic),
        ],
        targets: vec![Arc::new(Process), Arc::new(Host)],
    }
}

/// Nothing to undo.
#[derive(Debug, Serialize, Deserialize)]
pub struct Nothing {}

macro_rules! fault {
    ($type:ident, $(#[$attribute:meta])* $args:ident { $($body:tt)* }, $name:literal, $summary:literal, $example:literal, $targets:expr, $undone:expr, $lasting:literal, |$a:ident| $check:expr) => {
        struct $type;

        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        $(#[$attribute])*
        struct $args { $($body)* }

        impl Fault for $type {
            type Args = $args;
            type Undo = Nothing;
            const META: Meta = Meta {
                name: $name, family: "test", summary: $summary, example: $example, targets: $targets, needs: &[], undone: $undone, lasting: $lasting,
            };
            fn check(&self, $a: &$args) -> Vec<ArgError> {
                let _ = $a;
                $check
            }
            fn plan(&self, _: &$args, _: &Target, _: &HostFacts) -> Result<Plan, PlanError> {
                Err(PlanError { message: "only for tests of messages".into(), hint: None })
            }
            async fn inject(&self, _: &$args, _: &Target, _: &Cx<'_, Nothing>) -> Result<(), InjectError> {
                Err(InjectError::Failed("only for tests of messages".into()))
            }
            async fn verify(&self, _: &Nothing) -> Result<Effect, VerifyError> {
                Err(VerifyError("only for tests of messages".into()))
            }
            async fn revert(&self, _: &Nothing, _: &Armed) -> Result<Reverted, RevertError> {
                Err(RevertError("only for tests of messages".into()))
            }
        }
    };
}

macro_rules! probe {
    ($type:ident, $(#[$attribute:meta])* $args:ident { $($body:tt)* }, $name:literal, $example:literal, |$a:ident| $dimension:expr, $check:expr) => {
        struct $type;

        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        $(#[$attribute])*
        struct $args { $($body)* }

        impl Probe for $type {
            type Args = $args;
            const META: ProbeMeta = ProbeMeta { name: $name, summary: "A probe for tests", from_anywhere: true, example: $example };
            fn check(&self, $a: &$args) -> Vec<ArgError> {
                let _ = $a;
                $check
            }
            fn dimension(&self, $a: &$args) -> Dimension {
                let _ = $a;
                $dimension
            }
            fn describe(&self, _: &$args) -> String {
                $name.into()
            }
            fn open(&self, _: $args, _: &ProbeCx) -> Result<Box<dyn Measure>, String> {
                Err("only for tests of messages".into())
            }
        }
    };
}

fault!(Kill, #[expect(dead_code, reason = "read by serde alone")] KillArgs {
    /// The signal.
    #[serde(default)]
    signal: Option<Signal>
}, "process.kill", "Kills processes", "fault: process.kill\ntarget: { process: { name: payments } }\nwith: { signal: KILL }\n", &["process"], Undone::Supervisor, false, |args| Vec::new());

/// A signal.
#[derive(Debug, Deserialize, JsonSchema)]
enum Signal {
    /// SIGKILL
    #[serde(rename = "KILL")]
    Kill,
    /// SIGTERM
    #[serde(rename = "TERM")]
    Term,
}

fault!(
    Pause,
    PauseArgs {},
    "process.pause",
    "Stops processes for a while",
    "fault: process.pause\ntarget: { process: { name: payments } }\nfor: 10s\n",
    &["process"],
    Undone::Ledger,
    true,
    |args| Vec::new()
);

fault!(Load, #[expect(dead_code, reason = "read by serde alone")] LoadArgs {
    /// The share of each core.
    load: Percent,
    /// Which cores, by number.
    #[serde(default)]
    cores: Vec<u16>
}, "cpu.load", "Loads cores to a share", "fault: cpu.load\nwith: { load: 50% }\nfor: 30s\n", &["host", "process"], Undone::Child, true, |args| {
    if args.load.0 <= 0.0 { vec![ArgError::field("load", "a load of 0% does nothing", Some("write a share such as `50%`".to_owned()))] } else { Vec::new() }
});

fault!(
    Pressure,
    #[expect(dead_code, reason = "read by serde alone")]
    PressureArgs {
        /// How much to take.
        size: Bytes
    },
    "memory.pressure",
    "Takes memory",
    "fault: memory.pressure\nwith: { size: 256MiB }\nfor: 30s\n",
    &["host"],
    Undone::Child,
    true,
    |args| Vec::new()
);

fault!(Command, #[expect(dead_code, reason = "read by serde alone")] CommandArgs {
    /// The command and its arguments.
    run: Vec<String>,
    /// The command that puts things back.
    undo: Vec<String>
}, "custom.command", "Runs a command of yours", "fault: custom.command\nwith: { run: [./break.sh], undo: [./mend.sh] }\nfor: 30s\n", &["host"], Undone::Depends, true, |args| Vec::new());

fault!(Wipe, WipeArgs {}, "file.wipe", "Wipes a file", "fault: file.wipe\n", &["host"], Undone::Irreversible, false, |args| Vec::new());

/// What an `http` probe measures.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum HttpMeasure {
    /// The status.
    #[default]
    Status,
    /// The time.
    Latency,
    /// The text.
    Body,
}

probe!(
    Http,
    #[expect(dead_code, reason = "read by serde alone")]
    HttpArgs {
        /// Where to ask.
        url: String,
        /// What to measure.
        #[serde(default)]
        measure: HttpMeasure,
        /// How many redirects to follow.
        #[serde(default)]
        redirects: u8
    },
    "http",
    "http: { url: \"http://127.0.0.1:8080/health\" }",
    |args| match args.measure {
        HttpMeasure::Status => Dimension::Number,
        HttpMeasure::Latency => Dimension::Time,
        HttpMeasure::Body => Dimension::Text,
    },
    if args.url.starts_with("http") {
        Vec::new()
    } else {
        vec![ArgError::field("url", format!("`{}` is not a URL", args.url), Some("write it like `http://127.0.0.1:8080/`".to_owned()))]
    }
);

probe!(
    Tcp,
    #[expect(dead_code, reason = "read by serde alone")]
    TcpArgs {
        /// `host:port`
        address: String
    },
    "tcp",
    "tcp: { address: \"127.0.0.1:5432\" }",
    |args| Dimension::Time,
    Vec::new()
);

probe!(CommandProbe, #[expect(dead_code, reason = "read by serde alone")] CommandProbeArgs {
    /// The command.
    run: Vec<String>
}, "command", "command: { run: [./check.sh] }", |args| Dimension::Number, Vec::new());

probe!(Prometheus, #[expect(dead_code, reason = "read by serde alone")] PrometheusArgs {
    /// The server.
    server: String,
    /// The query.
    query: String,
    /// For how long an answer is shared.
    #[serde(default)]
    ttl: Option<Time>
}, "prometheus", "prometheus: { server: \"http://127.0.0.1:9090\", query: up }", |args| Dimension::Number, Vec::new());

probe!(
    ProcessProbe,
    #[expect(dead_code, reason = "read by serde alone")]
    ProcessProbeArgs {
        /// Name of the process.
        name: String
    },
    "process",
    "process: { name: payments }",
    |args| Dimension::Bytes,
    Vec::new()
);

probe!(
    File,
    #[expect(dead_code, reason = "read by serde alone")]
    FileArgs {
        /// The file.
        path: String
    },
    "file",
    "file: { path: /tmp/ready }",
    |args| Dimension::Number,
    Vec::new()
);

probe!(
    Log,
    #[expect(dead_code, reason = "read by serde alone")]
    LogArgs {
        /// The file.
        path: String,
        /// What to look for.
        pattern: String
    },
    "log",
    "log: { path: app.log, pattern: ERROR }",
    |args| Dimension::Rate,
    match Regex::new(&args.pattern) {
        Ok(_) => Vec::new(),
        Err(_) => vec![ArgError::field("pattern", "not a regular expression", Some("escape brackets with `\\`".to_owned()))],
    }
);

probe!(
    Traffic,
    #[expect(dead_code, reason = "read by serde alone")]
    TrafficArgs {
        /// Which traffic.
        from: String,
        /// What of it.
        measure: squall_model::Measure
    },
    "traffic",
    "traffic: { from: shoppers, measure: p99 }",
    |args| args.measure.dimension(),
    Vec::new()
);

struct Process;

const PORT: Variable = Variable { name: "port", place: "/ports/0", number: true, what: "a port" };

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProcessSelector {
    /// Name of the process.
    #[serde(default)]
    name: Option<String>,
    /// A port that it listens on.
    #[serde(default)]
    port: Option<u16>,
}

impl TargetKind for Process {
    type Selector = ProcessSelector;
    const META: TargetMeta =
        TargetMeta { name: "process", summary: "Processes of this host", variables: &[PORT], example: "process: { name: payments }" };
    fn check(&self, selector: &ProcessSelector) -> Vec<ArgError> {
        if selector.name.is_none() && selector.port.is_none() {
            let hint = Some("narrow it down with `name` or `port`".to_owned());
            return vec![ArgError { path: squall_model::Path::default(), message: "this would match every process".into(), hint }];
        }
        Vec::new()
    }
    async fn find(&self, _: &ProcessSelector) -> Result<Vec<Target>, FindError> {
        Ok(Vec::new())
    }
}

struct Host;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HostSelector {}

impl TargetKind for Host {
    type Selector = HostSelector;
    const META: TargetMeta = TargetMeta { name: "host", summary: "This host", variables: &[], example: "host: {}" };
    async fn find(&self, _: &HostSelector) -> Result<Vec<Target>, FindError> {
        Ok(Vec::new())
    }
}
