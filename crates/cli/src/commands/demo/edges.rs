//! The proxies between the demo's services.

use std::io;
use std::net::SocketAddr;

use serde_json::json;
use squall_proxy::api::{Api, ApiOptions};
use squall_proxy::{Control, Happened, Options};
use squall_shop::Edge;

use crate::context::Context;

/// A fault proxy on each edge, in this process, with its API on a free port. They are gone with it.
pub struct Edges {
    control: Control,
    api: Api,
}

impl Edges {
    /// Without any edge yet.
    pub fn start() -> anyhow::Result<Self> {
        let control = Control::start(&Options::default())?;
        let api = Api::start(control.clone(), "127.0.0.1:0", ApiOptions::default())?;
        Ok(Self { control, api })
    }

    /// Puts a proxy on this edge, `gateway-orders` by name; where the caller is to connect to.
    pub fn through(&self, edge: Edge) -> io::Result<SocketAddr> {
        let name = format!("{}-{}", edge.from.name(), edge.to.name());
        let proxy = self.control.proxy(&name, &edge.address.to_string()).map_err(io::Error::other)?;
        // A connection is read as HTTP if there was a rule when it was opened, and the shop keeps its connections.
        let rule = serde_json::from_value(json!({ "name": "http", "fault": "http.abort", "with": { "status": 503 }, "percent": "0%" }))?;
        self.control.add_rule(&name, rule).map_err(io::Error::other)?;
        proxy.listen().map_err(io::Error::other)?.parse().map_err(io::Error::other)
    }

    /// How many requests the rules of experiments matched, and how many of them got this fault.
    pub fn hits(&self, kind: &str) -> (usize, usize) {
        let events = self.control.events().after(0);
        let of_runs = events.iter().filter_map(|event| match &event.what {
            Happened::Decided { rule, fault, .. } if rule.starts_with("squall-") => Some(fault.as_deref() == Some(kind)),
            _ => None,
        });
        of_runs.fold((0, 0), |(seen, hit), got| (seen + 1, hit + usize::from(got)))
    }

    /// Where the API is.
    pub fn api(&self) -> String {
        format!("http://{}", self.api.address())
    }

    /// Says where the edges are, and what to try.
    pub fn tell(&self, cx: &Context) -> anyhow::Result<()> {
        let names: Vec<String> = self.control.list().into_iter().map(|proxy| proxy.name).collect();
        let api = self.api();
        cx.say(format!("\nthe proxies between them ({}) take Toxiproxy's API at {api}:", names.join(", ")))?;
        cx.say(format!("  TOXIPROXY_URL={api} squall proxy toxic add --type latency --attribute latency=500 gateway-orders"))
    }
}
