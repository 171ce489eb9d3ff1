//! `app.error`: a service fails.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, RevertError, Reverted, Target, Undone, VerifyError,
};
use squall_model::Percent;
use squall_tower::Failure;
use squall_undo::Armed;

use super::requests::Requests;
use super::setter::{AppUndo, Setter, Wish};

/// Answers requests with an error within a service.
#[derive(Debug, Default)]
pub struct AppError(Setter);

fn all() -> Percent {
    Percent(100.0)
}

fn internal_server_error() -> u16 {
    500
}

/// How often, with what, and what.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppErrorArgs {
    /// The share that fails. All of them by default.
    #[serde(default = "all")]
    pub percent: Percent,
    /// The status of the response, from 400 to 599. The service itself does not see the request.
    #[serde(default = "internal_server_error")]
    pub status: u16,
    /// Paths of requests, such as `/cart` or `/api/*`, where `*` is anything. All requests by default.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Methods of requests, such as `GET`. All of them by default.
    #[serde(default)]
    pub methods: Vec<String>,
    /// In place of requests, points that the service's code has given a name: `faults.point("charge-card")`. `*` is anything.
    #[serde(default)]
    pub points: Vec<String>,
}

impl AppErrorArgs {
    fn requests(&self) -> Requests<'_> {
        Requests { paths: &self.paths, methods: &self.methods, points: &self.points }
    }

    fn wish(&self) -> Wish<'_> {
        let failure = Failure { rate: self.percent.share(), status: self.status };
        let what = format!("answers {} of them with status {}", self.percent, self.status);
        Wish { requests: self.requests(), latency: None, failure: Some(failure), what }
    }
}

impl Fault for AppError {
    type Args = AppErrorArgs;
    type Undo = AppUndo;

    const META: Meta = Meta {
        name: "app.error",
        family: "app",
        summary: "Makes a Rust service with `squall-tower` answer requests with an error, by path and method",
        example: "\
fault: app.error
target: { app: { service: checkout } }
with: { percent: 10%, status: 503, paths: [/cart] }
for: 30s
",
        targets: &["app"],
        needs: &[],
        undone: Undone::Ledger,
        lasting: true,
    };

    fn check(&self, args: &AppErrorArgs) -> Vec<ArgError> {
        let mut errors = args.requests().check();
        if args.percent.0 <= 0.0 {
            errors.push(ArgError::field("percent", "a share of 0% does nothing", Some("write a share such as `10%`".to_owned())));
        }
        if !(400..=599).contains(&args.status) {
            let hint = Some("write a status from 400 to 599, such as `503`".to_owned());
            errors.push(ArgError::field("status", format!("{} is not the status of an error", args.status), hint));
        }
        errors
    }

    fn plan(&self, args: &AppErrorArgs, target: &Target, _: &HostFacts) -> Result<Plan, PlanError> {
        args.wish().plan(target)
    }

    async fn inject(&self, args: &AppErrorArgs, target: &Target, cx: &Cx<'_, AppUndo>) -> Result<(), InjectError> {
        self.0.inject(&args.wish(), target, cx)
    }

    async fn verify(&self, undo: &AppUndo) -> Result<Effect, VerifyError> {
        undo.verify().await
    }

    async fn revert(&self, undo: &AppUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        self.0.revert(undo, armed).await
    }
}
