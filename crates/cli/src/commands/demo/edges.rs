//! The proxies between the shop's services.

use std::io;
use std::net::SocketAddr;

use squall_proxy::api::{Api, ApiOptions};
use squall_proxy::control::{NewProxy, parse_tls};
use squall_proxy::tls::AuthorityDir;
use squall_proxy::{Control, Happened, Options};
use squall_shop::Edge;

use crate::context::{CliError, Context};

/// A fault proxy on each edge, in this process, with its API. They are gone with it.
pub struct Edges {
    control: Control,
    api: Api,
}

impl Edges {
    /// Without any edge yet; the API listens there.
    pub fn start(api: &str, authority: AuthorityDir) -> anyhow::Result<Self> {
        let control = Control::start(&Options { authority, ..Options::default() })?;
        let api = Api::start(control.clone(), api, ApiOptions::default()).map_err(|error| {
            CliError::failed(format!("the proxies' API cannot listen: {error}"), "another port for it: --proxies 8475".to_owned())
        })?;
        Ok(Self { control, api })
    }

    /// Puts a proxy on this edge, `gateway-orders` by name; where the caller is to connect to.
    pub fn through(&self, edge: Edge) -> io::Result<SocketAddr> {
        let name = format!("{}-{}", edge.from.name(), edge.to.name());
        let proxy = self.control.proxy(&name, &edge.address.to_string()).map_err(io::Error::other)?;
        proxy.listen().map_err(io::Error::other)?.parse().map_err(io::Error::other)
    }

    /// A front door with TLS, `front` by name: ends it with a certificate of the authority. Where it listens.
    pub fn front(&self, gateway: SocketAddr, listen: &str) -> anyhow::Result<String> {
        let tls = Some(parse_tls("upstream=plain")?);
        let front = NewProxy { listen: listen.to_owned(), tls, ..NewProxy::new("front", &gateway.to_string()) };
        let made = self.control.create(front).map_err(|error| CliError::failed(format!("the front door with TLS: {error}"), None))?;
        Ok(made.listen)
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
