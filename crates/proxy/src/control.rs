//! Proxies by name, with their toxics and rules: what the API, the command line and Rust tests work with.
//!
//! All of it is synchronous and quick: names are looked up before anything is held, listening and closing wait for this
//! process alone, and nothing ever waits for an upstream. Whoever serves many at once calls it from a thread that may block.

mod entry;
mod error;
mod expiry;
mod handle;
mod listen;
mod metrics;
mod notice;
mod rules;
mod shorthand;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use squall_model::Time;

pub use entry::{NewProxy, NewToxic, ProxyInfo, ProxyUpdate, ToxicInfo, ToxicUpdate};
pub use error::ControlError;
pub use handle::ProxyHandle;
pub use metrics::ProxyMetrics;
pub use notice::{Notice, Notices};
pub use shorthand::{ShorthandError, parse_rule, parse_tls, parse_toxic};

use crate::events::EventLog;
use crate::rule::RuleSpec;
use crate::server::{Options, Proxies};
use entry::Entry;
use expiry::Expiry;
use listen::Listen;
use rules::Check;

/// The proxies of a process. Clones are the same; the last one that goes closes them all.
#[derive(Debug, Clone)]
pub struct Control(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    // Before the proxies: nobody may change them while they close.
    expiry: Expiry,
    entries: Arc<Entries>,
    check: Check,
    proxies: Proxies,
}

/// What the timer of time boxes shares with everybody else.
#[derive(Debug)]
struct Entries {
    by_name: Mutex<BTreeMap<String, Entry>>,
    notices: Notices,
}

impl Entries {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // Every change is made whole, or not at all, before anything that could panic.
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// Starts without any proxy.
    ///
    /// # Errors
    /// The process may start no more threads, or has no descriptor left.
    pub fn start(options: &Options) -> io::Result<Self> {
        Self::start_with(options, Notices::default())
    }

    /// As [`start`](Self::start), and tells of every proxy that starts and stops, and of every time box that ends.
    pub fn start_with(options: &Options, notices: Notices) -> io::Result<Self> {
        let entries = Arc::new(Entries { by_name: Mutex::default(), notices });
        let proxies = Proxies::start(options)?;
        let expiry = Expiry::start(entries.clone())?;
        Ok(Self(Arc::new(Inner { expiry, entries, check: Check::new(options), proxies })))
    }

    /// The proxy with this name; it is asked for only with each use of the handle.
    pub fn handle(&self, name: &str) -> ProxyHandle {
        ProxyHandle::new(self.clone(), name)
    }

    /// A proxy to this upstream, on a free port of the loopback interface. The line that a test starts with.
    pub fn proxy(&self, name: &str, upstream: &str) -> Result<ProxyHandle, ControlError> {
        self.create(NewProxy { listen: "127.0.0.1:0".into(), ..NewProxy::new(name, upstream) })?;
        Ok(self.handle(name))
    }

    /// Makes a proxy, and lets it listen if it is to be enabled.
    pub fn create(&self, new: NewProxy) -> Result<ProxyInfo, ControlError> {
        new.check()?;
        // A name that is taken is the answer even where the address could not be listened on.
        self.free(&new.name)?;
        let listen = Listen::resolve(&new.listen)?;
        let mut entries = self.0.entries.lock();
        if entries.contains_key(&new.name) {
            return Err(ControlError::ProxyExists);
        }
        let entry = self.make(new, &listen)?;
        let info = entry.info();
        entries.insert(info.name.clone(), entry);
        Ok(info)
    }

    fn free(&self, name: &str) -> Result<(), ControlError> {
        if self.0.entries.lock().contains_key(name) { Err(ControlError::ProxyExists) } else { Ok(()) }
    }

    fn make(&self, new: NewProxy, listen: &Listen) -> Result<Entry, ControlError> {
        let enabled = new.enabled;
        let mut entry = Entry::filled(new, &self.0.check)?;
        if enabled {
            entry.start(&self.0.proxies, listen, &self.0.entries.notices)?;
        }
        self.0.expiry.look_again();
        Ok(entry)
    }

    /// One proxy.
    pub fn get(&self, name: &str) -> Result<ProxyInfo, ControlError> {
        self.with(name, |entry| Ok(entry.info()))
    }

    /// All proxies, by name.
    pub fn list(&self) -> Vec<ProxyInfo> {
        self.0.entries.lock().values().map(Entry::info).collect()
    }

    /// Changes what is given. Another address on either side drops the proxy's connections; its toxics and rules stay.
    pub fn update(&self, name: &str, update: &ProxyUpdate) -> Result<ProxyInfo, ControlError> {
        let known = self.get(name)?;
        update.check()?;
        let asked = update.listen.as_deref().unwrap_or(&known.listen);
        let listen = match &update.listen {
            Some(asked) => Listen::resolve_to_compare(asked)?,
            None if update.enabled == Some(false) => Listen::as_is(asked),
            None => Listen::resolve_to_compare(asked)?,
        };
        self.with(name, |entry| {
            let differs = entry.differs(&listen, update.upstream.as_deref().unwrap_or(&known.upstream));
            let enabled = update.enabled.unwrap_or(entry.is_enabled());
            if let Some(tls) = &update.tls {
                entry.set_tls(tls.clone())?;
            }
            if differs {
                entry.stop(&self.0.entries.notices);
                entry.move_to(asked, update.upstream.as_deref());
            }
            match (enabled, entry.is_enabled()) {
                (true, false) => entry.start(&self.0.proxies, &listen, &self.0.entries.notices)?,
                (false, true) => entry.stop(&self.0.entries.notices),
                _ => {}
            }
            Ok(entry.info())
        })
    }

    /// Closes a proxy and forgets it, with its toxics and rules. The address is free when this returns.
    pub fn delete(&self, name: &str) -> Result<(), ControlError> {
        let mut entries = self.0.entries.lock();
        let mut entry = entries.remove(name).ok_or(ControlError::ProxyNotFound)?;
        entry.stop(&self.0.entries.notices);
        Ok(())
    }

    /// Makes these proxies. One that is there already, with the same addresses, is left alone, but takes over toxics and
    /// rules where the new one has any; with other addresses it is replaced. Either all of them are good, or nothing is
    /// changed; what fails then is the first that cannot listen, and those before it are there.
    ///
    /// # Errors
    /// With those that were made.
    pub fn populate(&self, all: Vec<NewProxy>) -> Result<Vec<ProxyInfo>, (Vec<ProxyInfo>, ControlError)> {
        for (index, new) in all.iter().enumerate() {
            new.check()
                .and_then(|()| Entry::filled(new.clone(), &self.0.check).map(drop))
                .map_err(|error| (Vec::new(), error.at_proxy(index + 1)))?;
        }
        let mut done = Vec::with_capacity(all.len());
        for new in all {
            match self.add_or_replace(new) {
                Ok(info) => done.push(info),
                Err(error) => return Err((done, error)),
            }
        }
        Ok(done)
    }

    fn add_or_replace(&self, new: NewProxy) -> Result<ProxyInfo, ControlError> {
        let exists = self.get(&new.name).is_ok();
        let listen = if exists { Listen::resolve_to_compare(&new.listen)? } else { Listen::resolve(&new.listen)? };
        let mut entries = self.0.entries.lock();
        if let Some(existing) = entries.get_mut(&new.name) {
            if !existing.differs(&listen, &new.upstream) {
                existing.take_over(new)?;
                self.0.expiry.look_again();
                return Ok(existing.info());
            }
            existing.stop(&self.0.entries.notices);
        }
        let entry = self.make(new, &listen)?;
        let info = entry.info();
        entries.insert(info.name.clone(), entry);
        Ok(info)
    }

    /// Enables all proxies and removes all toxics and rules.
    ///
    /// # Errors
    /// That of the first proxy that cannot listen; all others are as they should be.
    pub fn reset(&self) -> Result<(), ControlError> {
        let resolved: Vec<_> = self.list().iter().filter(|p| !p.enabled).map(|p| (p.name.clone(), Listen::resolve(&p.listen))).collect();
        let mut resolved: BTreeMap<_, _> = resolved.into_iter().collect();
        let mut first = Ok(());
        for (name, entry) in self.0.entries.lock().iter_mut() {
            entry.clear();
            if entry.is_enabled() {
                continue;
            }
            // One that was disabled in this very moment stays so.
            let Some(listen) = resolved.remove(name) else { continue };
            let started = listen.and_then(|listen| entry.start(&self.0.proxies, &listen, &self.0.entries.notices));
            first = first.and(started);
        }
        first
    }

    /// Adds a toxic, behind those that are there. Its stream is downstream, its toxicity 1 and its name `<type>_<stream>` where
    /// they are left out.
    pub fn add_toxic(&self, proxy: &str, new: NewToxic) -> Result<ToxicInfo, ControlError> {
        let added = self.with(proxy, |entry| entry.add_toxic(new));
        self.0.expiry.look_again();
        added
    }

    /// One toxic.
    pub fn toxic(&self, proxy: &str, name: &str) -> Result<ToxicInfo, ControlError> {
        self.with(proxy, |entry| entry.toxic(name))
    }

    /// Changes the attributes that are given, the toxicity and the time box. Open connections follow.
    pub fn update_toxic(&self, proxy: &str, name: &str, update: &ToxicUpdate) -> Result<ToxicInfo, ControlError> {
        let updated = self.with(proxy, |entry| entry.update_toxic(name, update));
        self.0.expiry.look_again();
        updated
    }

    /// Removes a toxic. What it held back goes on.
    pub fn remove_toxic(&self, proxy: &str, name: &str) -> Result<(), ControlError> {
        self.with(proxy, |entry| entry.remove_toxic(name))
    }

    /// The rules of a proxy, in order.
    pub fn rules(&self, proxy: &str) -> Result<Vec<RuleSpec>, ControlError> {
        self.with(proxy, |entry| Ok(entry.info().rules))
    }

    /// Adds a rule behind those that are there. Its name is that of its fault where it is left out.
    pub fn add_rule(&self, proxy: &str, rule: RuleSpec) -> Result<RuleSpec, ControlError> {
        let added = self.with(proxy, |entry| entry.add_rule(rule));
        self.0.expiry.look_again();
        added
    }

    /// Removes a rule.
    pub fn remove_rule(&self, proxy: &str, name: &str) -> Result<(), ControlError> {
        self.with(proxy, |entry| entry.remove_rule(name))
    }

    /// Removes all rules of a proxy.
    pub fn clear_rules(&self, proxy: &str) -> Result<(), ControlError> {
        self.with(proxy, Entry::clear_rules)
    }

    /// What has passed each proxy, by each address that it had.
    pub fn metrics(&self) -> Vec<ProxyMetrics> {
        self.0.entries.lock().values().flat_map(Entry::metrics).collect()
    }

    /// What happened on the connections of all proxies.
    pub fn events(&self) -> &Arc<EventLog> {
        self.0.proxies.events()
    }

    /// What decisions start from.
    pub fn seed(&self) -> u64 {
        self.0.proxies.seed()
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&mut Entry) -> Result<T, ControlError>) -> Result<T, ControlError> {
        act(self.0.entries.lock().get_mut(name).ok_or(ControlError::ProxyNotFound)?)
    }
}

/// When a time box that starts now ends, on the clock of [`crate::time::now`].
fn end_of(time_box: Option<Time>) -> Option<std::time::Duration> {
    time_box.map(|time| crate::time::now().saturating_add(time.std()))
}

#[cfg(test)]
mod tests;
