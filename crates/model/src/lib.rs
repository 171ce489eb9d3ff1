//! The vocabulary of Squall: what a manifest says, and what a run reports. No I/O happens here.
//!
//! A manifest is text with places; [`Document`] keeps both. [`parse`] turns a document into an [`Experiment`] or a
//! [`Policy`], or into [`Diagnostic`]s that name line, column and next step:
//!
//! ```
//! let text = "apiVersion: squall.dev/v1\nkind: Experiment\nmetadata: { name: x }\nspec: {}\n";
//! let errors = squall_model::parse_experiment(text).unwrap_err();
//! assert_eq!(errors[0].line, 4);
//! ```
//!
//! Fault, probe and target kinds are open lists that other crates fill: the manifest carries their arguments as JSON
//! values, and `squall-engine` checks them against the kind that they name, with the places kept here.
#![forbid(unsafe_code)]

pub mod calendar;
mod compare;
mod condition;
mod cron;
mod decode;
mod diagnostic;
mod dns;
mod document;
mod event;
mod expect;
mod experiment;
mod guard;
mod hosts;
mod ids;
mod parse;
mod policy;
mod probe;
mod scalar;
mod semantics;
mod step;
mod target;
mod traffic;
mod units;
mod verdict;
mod words;
mod yaml;

pub use compare::{Compare, WhenWorse};
pub use condition::{Condition, ConditionError, VARIABLES};
pub use cron::Cron;
pub use decode::{Decoded, Problem, decode};
pub use diagnostic::{Diagnostic, Diagnostics, Path, PathSegment, did_you_mean};
pub use dns::dns_code_name;
pub use document::{Document, Place};
pub use event::{Arm, Event, JOURNAL_VERSION, LatencySummary, Record, RevertedBy, Started, TargetRef, Timer, TrafficSummary};
pub use expect::{Bound, Expectation, ExpectationError};
pub use experiment::{Experiment, Hypothesis, Metadata, Recovery, Rollback, RollbackAction, Schedule, Spec, Steady};
pub use guard::{Abort, Guard, Unmeasurable};
pub use hosts::{HostSelector, OneOf};
pub use ids::{InjectionId, RunId};
pub use parse::{API_VERSION, Reading, parse_experiment, parse_policy, parse_settings, read_experiment};
pub use policy::{Caps, Freeze, Policy, PolicySpec, ProtectedProcess, Rule, Weekday, Window};
pub use probe::Probe;
pub use semantics::{check_comparison, check_threshold};
pub use step::{FaultStep, Group, Quorum, Ramp, Repeat, Step, Suspend, SuspendTimeout, When};
pub use target::{Select, Target};
pub use traffic::{Arrivals, HttpTraffic, HttpVersion, Measure, RateRamp, Traffic};
pub use units::{Bytes, Dimension, Percent, Quantity, Rate, Time, UnitError};
pub use verdict::{Measured, Value, Verdict};
pub use words::{inline, nearest, quoted};
