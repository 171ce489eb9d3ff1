//! What `POST /faults` takes, and the faults that it stands for.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use squall_api::problem::FieldError;
use squall_model::{Bytes, Percent, Time};

/// A request for faults on one target.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultOrder {
    /// The name of a service with `squall-tower`, `*` for all of them, or a path such as `/cart` on all of them. For `cpuStress` and
    /// `memoryStress`: the name of a process, or `host`.
    pub target: String,
    /// The faults, in an object of their own or beside `target`.
    #[serde(default)]
    pub fault: Option<Effects>,
    /// See [`Effects::latency_ms`].
    #[serde(default)]
    pub latency_ms: Option<f64>,
    /// See [`Effects::failure_rate`].
    #[serde(default)]
    pub failure_rate: Option<f64>,
    /// See [`Effects::error_code`].
    #[serde(default)]
    pub error_code: Option<u16>,
    /// See [`Effects::cpu_stress`].
    #[serde(default)]
    pub cpu_stress: Option<f64>,
    /// See [`Effects::memory_stress`].
    #[serde(default)]
    pub memory_stress: Option<Amount>,
    /// Only requests to this path, such as `/cart` or `/api/*`.
    #[serde(default)]
    pub path: Option<String>,
    /// Only requests of this method, such as `GET`.
    #[serde(default)]
    pub method: Option<String>,
    /// In place of requests, a point that the service's code has given this name.
    #[serde(default)]
    pub point: Option<String>,
    /// Which process `cpuStress` and `memoryStress` are charged to, where it is not called like the target: a selector as in a
    /// manifest, `{ "unit": "checkout.service" }`.
    #[serde(default)]
    pub process: Option<Json>,
    /// How long, such as `30s`.
    #[serde(default)]
    pub duration: Option<Time>,
}

/// What is to go wrong.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Effects {
    /// Each request is held back for so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// The share of requests that fail, above 0 and up to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_rate: Option<f64>,
    /// With which status: 400 to 599, 500 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<u16>,
    /// The share of each core that is used, in percent: above 0 and up to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_stress: Option<f64>,
    /// Memory that is held: a number is a share in percent, of the process's control-group limit or of the host's memory; a text is an
    /// amount (`256MiB`) or a share (`20%`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_stress: Option<Amount>,
}

/// A share or an amount of memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// In percent.
    Share(Percent),
    /// In bytes.
    Size(Bytes),
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Amount;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a share in percent such as 20, or an amount such as \"256MiB\"")
            }
            fn visit_f64<E: serde::de::Error>(self, percent: f64) -> Result<Amount, E> {
                Ok(Amount::Share(Percent(percent)))
            }
            fn visit_u64<E: serde::de::Error>(self, percent: u64) -> Result<Amount, E> {
                Ok(Amount::Share(Percent(percent as f64)))
            }
            fn visit_i64<E: serde::de::Error>(self, percent: i64) -> Result<Amount, E> {
                Ok(Amount::Share(Percent(percent as f64)))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Amount, E> {
                let share = text.parse().map(Amount::Share);
                share.or_else(|_| text.parse().map(Amount::Size)).map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Share(percent) => serializer.serialize_f64(percent.0),
            Self::Size(bytes) => bytes.serialize(serializer),
        }
    }
}

/// One fault of an order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    /// The kind of fault.
    pub fault: &'static str,
    /// Its arguments.
    pub args: Json,
    /// What it is applied to.
    pub on: On,
}

/// What a fault of an order is applied to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum On {
    /// Services with the layer, by a pattern of their names.
    Service(String),
    /// The first process that this selector matches.
    Process(Json),
    /// This host.
    Host,
}

impl FaultOrder {
    /// What is to go wrong, wherever it was written.
    pub(super) fn effects(&self) -> Effects {
        let beside = Effects {
            latency_ms: self.latency_ms,
            failure_rate: self.failure_rate,
            error_code: self.error_code,
            cpu_stress: self.cpu_stress,
            memory_stress: self.memory_stress,
        };
        self.fault.clone().unwrap_or(beside)
    }

    /// The faults that it stands for, or everything that is wrong with it.
    pub(super) fn pieces(&self) -> Result<Vec<Piece>, Vec<FieldError>> {
        let effects = self.effects();
        let errors = self.errors(&effects);
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut pieces = Vec::new();
        let (service, path) = if self.target.starts_with('/') {
            ("*".to_owned(), Some(self.target.clone()))
        } else {
            (self.target.clone(), self.path.clone())
        };
        let request = |more: Json| {
            let mut args = json!({ "paths": path.iter().collect::<Vec<_>>(), "methods": self.method.iter().collect::<Vec<_>>() });
            args["points"] = json!(self.point.iter().collect::<Vec<_>>());
            for (key, value) in more.as_object().into_iter().flatten() {
                args[key] = value.clone();
            }
            args
        };
        if let Some(millis) = effects.latency_ms {
            let delay = Time::from(std::time::Duration::from_secs_f64(millis / 1e3)).to_string();
            pieces.push(Piece { fault: "app.latency", args: request(json!({ "delay": delay })), on: On::Service(service.clone()) });
        }
        if let Some(rate) = effects.failure_rate {
            let args = request(json!({ "percent": Percent(rate * 100.0).to_string(), "status": effects.error_code.unwrap_or(500) }));
            pieces.push(Piece { fault: "app.error", args, on: On::Service(service) });
        }
        let on = self.stressed();
        if let Some(percent) = effects.cpu_stress {
            pieces.push(Piece { fault: "cpu.load", args: json!({ "load": Percent(percent).to_string() }), on: on.clone() });
        }
        if let Some(amount) = effects.memory_stress {
            let args = match amount {
                Amount::Share(percent) => json!({ "percent": percent.to_string() }),
                Amount::Size(bytes) => json!({ "size": bytes }),
            };
            pieces.push(Piece { fault: "memory.pressure", args, on });
        }
        Ok(pieces)
    }

    fn stressed(&self) -> On {
        match &self.process {
            Some(selector) => On::Process(selector.clone()),
            None if self.target == "*" || self.target == "host" || self.target.starts_with('/') => On::Host,
            None => On::Process(json!({ "name": self.target })),
        }
    }

    fn errors(&self, effects: &Effects) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut wrong = |bad: bool, place: &str, message: &str, hint: &str| {
            if bad {
                errors.push(FieldError { place: place.into(), message: message.into(), hint: Some(hint.into()) });
            }
        };
        let beside = Self { fault: None, ..self.clone() }.effects();
        wrong(self.target.is_empty(), "target", "no target", "write the name of a service, `*`, or a path such as `/cart`");
        wrong(
            self.fault.is_some() && beside != Effects::default(),
            "fault",
            "faults both within `fault` and beside it",
            "write them in one place",
        );
        wrong(
            *effects == Effects::default(),
            "",
            "nothing is to go wrong",
            "write at least one of `latencyMs`, `failureRate`, `cpuStress`, `memoryStress`",
        );
        let above = |number: Option<f64>, most: f64| number.is_some_and(|n| !(n > 0.0 && n <= most));
        wrong(above(effects.latency_ms, 3_600_000.0), "latencyMs", "no such delay", "write milliseconds, above 0 and up to 3600000");
        wrong(above(effects.failure_rate, 1.0), "failureRate", "no such share", "write a share above 0 and up to 1, such as 0.1");
        wrong(above(effects.cpu_stress, 100.0), "cpuStress", "no such share", "write percent, above 0 and up to 100");
        let bad_code = effects.error_code.is_some_and(|code| !(400..=599).contains(&code));
        wrong(bad_code, "errorCode", "not the status of an error", "write a status from 400 to 599");
        let alone = effects.error_code.is_some() && effects.failure_rate.is_none();
        wrong(alone, "errorCode", "nothing fails with it", "write `failureRate` too, such as 1");
        let nothing = match effects.memory_stress {
            Some(Amount::Share(percent)) => !(percent.0 > 0.0 && percent.0 <= 100.0),
            Some(Amount::Size(bytes)) => bytes.0 == 0,
            None => false,
        };
        wrong(nothing, "memoryStress", "no such amount", "write percent, above 0 and up to 100, or an amount such as `256MiB`");
        let requests = effects.latency_ms.is_some() || effects.failure_rate.is_some();
        let chosen = self.path.is_some() || self.method.is_some() || self.point.is_some();
        wrong(chosen && !requests, "path", "no request is touched", "write `latencyMs` or `failureRate`, or remove it");
        let twice = self.target.starts_with('/') && (self.path.is_some() || self.point.is_some());
        wrong(twice, "path", "the target is a path already", "write the service's name, or `*`, as the target");
        let stress = effects.cpu_stress.is_some() || effects.memory_stress.is_some();
        wrong(self.process.is_some() && !stress, "process", "no process is stressed", "write `cpuStress` or `memoryStress`, or remove it");
        wrong(self.duration == Some(Time::ZERO), "duration", "no time at all", "write a time such as `30s`");
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(json: Json) -> FaultOrder {
        serde_json::from_value(json).expect("an order")
    }

    #[test]
    fn an_order_stands_for_a_fault_of_each_kind_that_it_names() {
        let all = order(json!({ "target": "checkout", "path": "/cart", "method": "GET", "latencyMs": 12.5, "failureRate": 0.1,
            "errorCode": 503, "cpuStress": 50, "memoryStress": "64MiB", "duration": "5s" }));
        let pieces = all.pieces().expect("good");
        let args: Vec<(&str, &Json)> = pieces.iter().map(|piece| (piece.fault, &piece.args)).collect();
        let (paths, methods) = (json!(["/cart"]), json!(["GET"]));
        assert_eq!(args[0], ("app.latency", &json!({ "paths": paths, "methods": methods, "points": [], "delay": "12.5ms" })));
        let error = json!({ "paths": paths, "methods": methods, "points": [], "percent": "10%", "status": 503 });
        assert_eq!(args[1], ("app.error", &error));
        assert_eq!(args[2], ("cpu.load", &json!({ "load": "50%" })));
        assert_eq!(args[3], ("memory.pressure", &json!({ "size": "64MiB" })));
        assert_eq!(pieces[0].on, On::Service("checkout".into()));
        assert_eq!(pieces[3].on, On::Process(json!({ "name": "checkout" })));
    }

    #[test]
    fn a_path_as_the_target_is_that_path_on_every_service_and_the_faults_may_be_in_an_object() {
        let pieces = order(json!({ "target": "/cart", "fault": { "latencyMs": 5, "cpuStress": 1 } })).pieces().expect("good");
        assert_eq!(pieces[0].on, On::Service("*".into()));
        assert_eq!(pieces[0].args["paths"], json!(["/cart"]));
        assert_eq!(pieces[1].on, On::Host);
    }

    #[test]
    fn everything_that_is_wrong_is_said_with_what_to_write() {
        for (bad, place) in [
            (json!({ "target": "" , "latencyMs": 1 }), "target"),
            (json!({ "target": "a" }), ""),
            (json!({ "target": "a", "fault": { "latencyMs": 1 }, "cpuStress": 1 }), "fault"),
            (json!({ "target": "a", "latencyMs": 0 }), "latencyMs"),
            (json!({ "target": "a", "latencyMs": -1 }), "latencyMs"),
            (json!({ "target": "a", "failureRate": 1.1 }), "failureRate"),
            (json!({ "target": "a", "failureRate": 1, "errorCode": 200 }), "errorCode"),
            (json!({ "target": "a", "latencyMs": 1, "errorCode": 500 }), "errorCode"),
            (json!({ "target": "a", "cpuStress": 101 }), "cpuStress"),
            (json!({ "target": "a", "memoryStress": 0 }), "memoryStress"),
            (json!({ "target": "a", "memoryStress": -5 }), "memoryStress"),
            (json!({ "target": "a", "cpuStress": 5, "path": "/x" }), "path"),
            (json!({ "target": "/a", "latencyMs": 5, "path": "/x" }), "path"),
            (json!({ "target": "a", "latencyMs": 5, "process": {} }), "process"),
            (json!({ "target": "a", "latencyMs": 5, "duration": "0s" }), "duration"),
        ] {
            let errors = order(bad.clone()).pieces().expect_err("refused");
            assert!(errors.iter().any(|error| error.place == place && error.hint.is_some()), "{bad}: {errors:?}");
        }
    }
}
