//! One proxy in a line each: for Rust tests.

use super::{Control, ControlError, ProxyInfo, ProxyUpdate, parse_rule, parse_tls, parse_toxic};
use crate::events::Event;
use crate::http::Arms;
use crate::server::Counters;

/// A proxy by its name. It lives as long as its [`Control`], whether or not this is kept.
#[derive(Debug, Clone)]
pub struct ProxyHandle {
    control: Control,
    name: String,
}

impl ProxyHandle {
    pub(super) fn new(control: Control, name: &str) -> Self {
        Self { control, name: name.to_owned() }
    }

    /// All of it as it is.
    pub fn info(&self) -> Result<ProxyInfo, ControlError> {
        self.control.get(&self.name)
    }

    /// Where it listens.
    pub fn listen(&self) -> Result<String, ControlError> {
        Ok(self.info()?.listen)
    }

    /// Adds a toxic, as [`parse_toxic`] takes it: `latency:latency=200,jitter=20;stream=upstream`. Gives its name.
    pub fn toxic(&self, text: &str) -> Result<String, ControlError> {
        let toxic = parse_toxic(text).map_err(|error| ControlError::Body(error.to_string()))?;
        Ok(self.control.add_toxic(&self.name, toxic)?.spec.name)
    }

    /// Removes a toxic.
    pub fn remove_toxic(&self, name: &str) -> Result<(), ControlError> {
        self.control.remove_toxic(&self.name, name)
    }

    /// Adds a rule, as [`parse_rule`] takes it: `http.abort:status=503;percent=10`. Gives its name.
    pub fn rule(&self, text: &str) -> Result<String, ControlError> {
        let rule = parse_rule(text).map_err(|error| ControlError::Body(error.to_string()))?;
        Ok(self.control.add_rule(&self.name, rule)?.name)
    }

    /// Removes a rule.
    pub fn remove_rule(&self, name: &str) -> Result<(), ControlError> {
        self.control.remove_rule(&self.name, name)
    }

    /// Terminates TLS from now on, as [`parse_tls`] takes it: `upstream=plain`. Clients believe what
    /// [`Options::authority`](crate::Options) signs.
    pub fn tls(&self, text: &str) -> Result<(), ControlError> {
        let tls = parse_tls(text).map_err(|error| ControlError::Body(error.to_string()))?;
        self.control.update(&self.name, &ProxyUpdate { tls: Some(tls), ..ProxyUpdate::default() }).map(drop)
    }

    /// Stops listening and drops all connections: the upstream is down.
    pub fn disable(&self) -> Result<(), ControlError> {
        self.control.update(&self.name, &ProxyUpdate { enabled: Some(false), ..ProxyUpdate::default() }).map(drop)
    }

    /// Listens again, where it did.
    pub fn enable(&self) -> Result<(), ControlError> {
        self.control.update(&self.name, &ProxyUpdate { enabled: Some(true), ..ProxyUpdate::default() }).map(drop)
    }

    /// Closes it for good.
    pub fn delete(&self) -> Result<(), ControlError> {
        self.control.delete(&self.name)
    }

    /// What has passed, over all addresses that it had.
    pub fn counters(&self) -> Counters {
        let mut all = Counters::default();
        for row in self.control.metrics().into_iter().filter(|row| row.proxy == self.name) {
            all = super::entry::sum(all, row.counters);
        }
        all
    }

    /// How many requests (of `tls.*`: connections) a rule matched, hit and left alone as the control group, since it was added, or
    /// the proxy enabled. All are 0 for one that is not there.
    pub fn rule_counters(&self, rule: &str) -> Arms {
        let rows = self.control.metrics().into_iter().filter(|row| row.proxy == self.name);
        rows.flat_map(|row| [row.rules, row.tls_rules].concat()).find(|(name, _)| name == rule).map(|(_, arms)| arms).unwrap_or_default()
    }

    /// What happened on its connections, oldest first, as far as the log goes back.
    pub fn events(&self) -> Vec<Event> {
        self.control.events().after(0).into_iter().filter(|event| event.proxy == self.name).collect()
    }
}
