//! One file a subcommand.

pub mod check_slo;
pub mod completions;
pub mod continue_run;
pub mod demo;
pub mod doctor;
pub mod explain;
pub mod history;
pub mod library;
pub mod plan;
pub mod proxy;
pub mod recover;
pub mod reference;
pub mod report;
pub mod run;
pub mod schema;
pub mod shop;
pub mod show;
pub mod stop;
pub mod stressor;
pub mod validate;
pub mod watchdog;
