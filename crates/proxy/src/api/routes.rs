//! What each route does.

use serde_json::{Map, Value, json};

use super::output::{self, Reply};
use super::route::Route;
use super::{ApiOptions, VERSION, input, metrics};
use crate::control::{Control, ControlError};

/// Carries a request out. It may take as long as a name lookup takes.
pub(super) fn answer(control: &Control, options: &ApiOptions, route: &Route, query: &str, body: &[u8]) -> Reply {
    match route {
        // Apart, as its errors come with what was made before.
        Route::Populate => populate(control, body),
        _ => carry_out(control, options, route, query, body).unwrap_or_else(Reply::from),
    }
}

fn carry_out(control: &Control, options: &ApiOptions, route: &Route, query: &str, body: &[u8]) -> Result<Reply, ControlError> {
    Ok(match route {
        Route::Reset => {
            control.reset()?;
            Reply::empty(204)
        }
        Route::ProxyIndex => {
            let all: Map<String, Value> = control.list().iter().map(|info| (info.name.clone(), output::proxy(info))).collect();
            Reply::json(200, &Value::Object(all))
        }
        Route::ProxyCreate => Reply::json(201, &output::proxy(&control.create(input::new_proxy(body)?)?)),
        Route::Populate => populate(control, body),
        Route::ProxyShow(proxy) => Reply::json(200, &output::proxy(&control.get(proxy)?)),
        Route::ProxyUpdate(proxy) => {
            control.get(proxy)?;
            Reply::json(200, &output::proxy(&control.update(proxy, &input::proxy_update(body)?)?))
        }
        Route::ProxyDelete(proxy) => {
            control.delete(proxy)?;
            Reply::empty(204)
        }
        Route::ToxicIndex(proxy) => {
            let toxics = control.get(proxy)?.toxics;
            Reply::json(200, &Value::Array(toxics.iter().map(output::toxic).collect()))
        }
        Route::ToxicCreate(proxy) => {
            control.get(proxy)?;
            Reply::json(200, &output::toxic(&control.add_toxic(proxy, input::new_toxic(body)?)?))
        }
        Route::ToxicShow(proxy, toxic) => Reply::json(200, &output::toxic(&control.toxic(proxy, toxic)?)),
        Route::ToxicUpdate(proxy, toxic) => {
            control.toxic(proxy, toxic)?;
            Reply::json(200, &output::toxic(&control.update_toxic(proxy, toxic, &input::toxic_update(body)?)?))
        }
        Route::ToxicDelete(proxy, toxic) => {
            control.remove_toxic(proxy, toxic)?;
            Reply::empty(204)
        }
        Route::Version => Reply::text(200, "application/json;charset=utf-8", format!("{{\"version\": \"{VERSION}\"}}\n")),
        Route::Metrics => Reply::text(200, metrics::CONTENT_TYPE, metrics::text(control, options)),
        Route::RuleIndex(proxy) => Reply::json(200, &output::rules(&control.rules(proxy)?)),
        Route::RuleCreate(proxy) => {
            control.get(proxy)?;
            Reply::json(200, &output::rule(&control.add_rule(proxy, input::new_rule(body)?)?))
        }
        Route::RuleClear(proxy) => {
            control.clear_rules(proxy)?;
            Reply::empty(204)
        }
        Route::RuleShow(proxy, name) => {
            let rules = control.rules(proxy)?;
            let rule = rules.iter().find(|rule| rule.name == *name).ok_or(ControlError::RuleNotFound)?;
            Reply::json(200, &output::rule(rule))
        }
        Route::RuleDelete(proxy, rule) => {
            control.remove_rule(proxy, rule)?;
            Reply::empty(204)
        }
        Route::Events => {
            let events = control.events().after(input::after(query)?);
            let lines = events.iter().filter_map(|event| serde_json::to_string(event).ok()).map(|line| line + "\n");
            Reply::text(200, "application/x-ndjson", lines.collect())
        }
    })
}

fn populate(control: &Control, body: &[u8]) -> Reply {
    let done = input::proxies_from_json(body).map_err(|error| (Vec::new(), error)).and_then(|all| control.populate(all));
    let (made, error) = match done {
        Ok(made) => (made, None),
        Err((made, error)) => (made, Some(error)),
    };
    // A list without anything in it is nothing to Go.
    let proxies = if made.is_empty() { Value::Null } else { Value::Array(made.iter().map(output::proxy).collect()) };
    match error {
        None => Reply::json(201, &json!({ "proxies": proxies })),
        Some(error) => {
            let status = output::status(&error);
            Reply::json(status, &json!({"error": error.to_string(), "status": status, "proxies": proxies}))
        }
    }
}
