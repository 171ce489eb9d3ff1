//! A connection that nobody accepted, of a proxy that listens nowhere.

use std::rc::Rc;
use std::sync::Arc;

use super::connection::Connection;
use super::layers::{Layers, RuleError};
use super::route::Shared;
use crate::address::Address;
use crate::events::EventLog;
use crate::rule::RuleSpec;
use crate::tls::AuthorityDir;

/// What serves a connection, under these rules, can be given this one and any two ends.
pub(crate) fn apart(seed: u64, rules: &[RuleSpec]) -> Result<Rc<Connection>, RuleError> {
    let wrong = |message: String| RuleError { place: "upstream".into(), message, hint: None };
    let upstream = Address::parse("127.0.0.1:1").map_err(|error| wrong(error.to_string()))?;
    let authority = AuthorityDir::in_memory();
    let layers = Layers::compile("apart", seed, &authority, rules, None, None)?;
    let shared = Shared::new("apart", String::new(), upstream, seed, Arc::new(EventLog::new(0)), authority);
    shared.set_layers(layers);
    Ok(Connection::new(Arc::new(shared), Rc::default(), None))
}
