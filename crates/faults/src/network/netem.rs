//! Shaping by the kernel: netem, or tbf for a rate alone, on an `ifb` device of Squall's own.
//!
//! Packets that carry the injection's mark when they leave by the interface are redirected to the device by a filter of its
//! `clsact`, wait there, and go back to the interface as if they had just come: to its root discipline, which is never touched.
//! What is known of that way (measured in the tests):
//!
//! - It does not loop. The kernel sets `tc_skip_classify` on what an `ifb` gives back, so that the redirection passes it on
//!   when it comes by a second time.
//! - The mark stays on the packet, and netfilter does not see it again.
//! - Foreign filters of the same `clsact` run before ours, as our preference is the highest. One that ends classification
//!   (`TC_ACT_OK`) keeps packets from us: the counters say so. Filters with actions act on a shaped packet once; by the kernel's
//!   source (`tcf_action_exec`), programs with `direct-action` see it twice, before and after it waited.
//! - On revert the filter goes first, so that new packets pass at once; then what waits is let out: tbf is given a rate without
//!   bounds, netem keeps its packets for as long as it promised them, up to half a second. What still waits then is dropped,
//!   and counted in the report.

mod undo;

use squall_engine::PlanError;
use squall_sys::link::{Interface, Links};
use squall_sys::netns::Namespace;
use squall_sys::tc::{
    self, Filter, FilterId, Handle, Kind, Netem, NetemLoss, NetemReorder, NetemShare, Protocol, Qdisc, Tbf, Traffic, Way,
};
use squall_undo::Armed;
use std::io;

use super::{Loss, Rate, Shape, Share, emulate};

pub use undo::{Counters, TcUndo, counters, revert};

/// Preferences that the kernel itself gives go down from 49152: from here on there is room behind them.
const FIRST_PREFERENCE: u16 = 50_000;
/// Bytes before the network header that count to a frame: Ethernet with two VLAN tags.
const LINK_HEADER: u32 = 22;
/// Disciplines of the device: the outer one, the token bucket within netem, and the queue of packets within the bucket.
const OUTER: Handle = Handle::new(1, 0);
const BUCKET: Handle = Handle::new(2, 0);
const QUEUE: Handle = Handle::new(3, 0);

/// Features of the host, by their names in its facts, without which this shape cannot be made.
pub fn needs(shape: &Shape) -> &'static [&'static str] {
    match (only_rate(shape), shape.rate) {
        (true, _) => &["ifb", "tc-redirect", "tbf"],
        (false, None) => &["ifb", "tc-redirect", "netem"],
        (false, Some(_)) => &["ifb", "tc-redirect", "netem", "tbf"],
    }
}

/// A rate and nothing else: tbf does it alone.
fn only_rate(shape: &Shape) -> bool {
    let Shape { delay, loss, duplicate, corrupt, reorder, rate, limit: _, seed: _ } = shape;
    rate.is_some() && delay.is_none() && loss.is_none() && duplicate.is_none() && corrupt.is_none() && reorder.is_none()
}

/// `netem on the ifb device sq… behind a clsact filter of eth0`.
pub fn describe(undo: &TcUndo, shape: &Shape) -> String {
    let kind = match (only_rate(shape), shape.rate) {
        (true, _) => "tbf",
        (false, None) => "netem",
        (false, Some(_)) => "netem and tbf",
    };
    let clsact = if undo.clsact { "clsact (made for it)" } else { "clsact (there already)" };
    format!(
        "{kind} on the ifb device {}, behind a filter of {} that redirects mark {:#x}, in its {clsact}",
        undo.device, undo.interface, undo.mark
    )
}

/// Decides what would be made for an injection, so that it can be armed. Looks at the interface and changes nothing.
pub fn plan_undo(namespace: &Namespace, interface: &Interface, marker: &str, mark: u32) -> Result<TcUndo, PlanError> {
    let look = || {
        let mut traffic = Traffic::open()?;
        let foreign = traffic.qdiscs(interface.index)?.into_iter().find(|row| row.parent == Handle::CLSACT);
        Ok((foreign, traffic.filters(interface.index, Handle::EGRESS)?))
    };
    let (place, filters) = namespace.within(look).map_err(|error| PlanError {
        message: format!("the filters of {} cannot be listed: {error}", interface.name),
        hint: Some("run as root, or leave `mechanism` out".into()),
    })?;
    if let Some(place) = place.as_ref().filter(|place| place.kind != "clsact") {
        return Err(PlanError {
            message: format!("{} has a {} discipline of somebody else, where only one can be", interface.name, place.kind),
            hint: Some("leave `mechanism` out: the queue needs no place there".into()),
        });
    }
    if interface.kind.as_deref() == Some("ifb") {
        return Err(PlanError {
            message: format!("{} is an ifb device itself: what is redirected from it would not come back", interface.name),
            hint: Some("name the interface that packets are redirected from".into()),
        });
    }
    let last = filters.iter().map(tc::Row::preference).max();
    let preference = last.map_or(FIRST_PREFERENCE, |last| last.saturating_add(1).max(FIRST_PREFERENCE));
    // One that another injection has made is taken over: whoever is the last to go takes it away.
    let ours = place.is_none() || filters.iter().filter_map(tc::Row::cookie).any(|cookie| undo::says_clsact_is_ours(&cookie));
    Ok(TcUndo::new(namespace, interface, marker, mark, ours, preference))
}

/// Makes device, disciplines, place and filter, in that order. What it has made when it fails is for the revert.
pub fn inject(armed: &Armed, undo: &TcUndo, shape: &Shape) -> io::Result<()> {
    undo.namespace.within(|| inject_here(armed, undo, shape))
}

fn inject_here(armed: &Armed, undo: &TcUndo, shape: &Shape) -> io::Result<()> {
    let told = |what: &str, error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    let mut links = Links::open()?;
    let Some(interface) = links.all()?.into_iter().find(|link| link.index == undo.index && link.name == undo.interface) else {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("interface {} is gone", undo.interface)));
    };
    let device = links.make_ifb(armed, &undo.device, &undo.marker).map_err(|e| told(&format!("ifb device {}", undo.device), e))?;
    let mut traffic = Traffic::open()?;
    for qdisc in disciplines(shape, device.index, interface.mtu) {
        traffic.set_qdisc(armed, &qdisc, Way::Add).map_err(|e| told(&format!("{} on {}", qdisc.kind.name(), undo.device), e))?;
    }
    links.set_up(armed, device.index, true)?;
    let filter = undo.filter(device.index);
    let there = traffic.qdiscs(undo.index)?.iter().any(|row| row.parent == Handle::CLSACT);
    let added = match (there, undo.clsact) {
        (true, _) => traffic.add_filter(armed, &filter),
        (false, true) => traffic.add_filter_and_clsact(armed, &filter),
        (false, false) => Err(io::Error::new(io::ErrorKind::NotFound, "its clsact was taken away meanwhile")),
    };
    added.map_err(|e| told(&format!("a filter on {}", undo.interface), e))
}

impl TcUndo {
    fn filter(&self, device: u32) -> Filter {
        let id = FilterId {
            interface: self.index,
            parent: Handle::EGRESS,
            preference: self.preference,
            protocol: Protocol::All,
            handle: self.handle,
        };
        Filter { id, program: tc::by_mark(self.mark), redirect: device, cookie: Some(self.cookie()) }
    }
}

/// The disciplines of the device, outermost first.
fn disciplines(shape: &Shape, device: u32, mtu: u32) -> Vec<Qdisc> {
    let mut found = Vec::new();
    let mut parent = Handle::ROOT;
    let mut hang = |handle, kind| {
        found.push(Qdisc { interface: device, parent, handle, kind });
        parent = Handle(handle.0 | 1);
    };
    if !only_rate(shape) {
        hang(OUTER, Kind::Netem(Box::new(netem(shape))));
    }
    if let Some(rate) = shape.rate {
        hang(if only_rate(shape) { OUTER } else { BUCKET }, Kind::Tbf(bucket(rate, shape.limit, mtu)));
        // A bucket counts bytes that wait; the shape counts packets.
        hang(QUEUE, Kind::Pfifo { limit: shape.limit });
    }
    found
}

/// A bucket that holds the longest frame at least, as tbf drops what is longer than its bucket.
fn bucket(rate: Rate, limit: u32, mtu: u32) -> Tbf {
    let frame = mtu.saturating_add(LINK_HEADER);
    let burst = u32::try_from(rate.burst).unwrap_or(u32::MAX).max(frame);
    Tbf { bytes_per_second: rate.bytes_per_second, burst, limit: limit.saturating_mul(frame) }
}

/// A share as netem has to be told it. Its correlated draws are not uniform: it is told what hits the share nevertheless.
fn share(share: &Share) -> NetemShare {
    NetemShare { probability: emulate::threshold(share), correlation: share.correlation }
}

fn netem(shape: &Shape) -> Netem {
    let delay = shape.delay.as_ref().map(|delay| {
        let distribution = emulate::table(&delay.distribution);
        // Without a table, kernels before 6.8 take the jitter as 31 bits of nanoseconds.
        let long = delay.jitter.as_nanos() > i32::MAX as u128;
        tc::Delay {
            latency: delay.base,
            jitter: delay.jitter,
            correlation: delay.correlation,
            distribution: distribution.unwrap_or_else(|| if long { even() } else { Vec::new() }),
        }
    });
    let loss = shape.loss.as_ref().map(|loss| match loss {
        Loss::Random(lost) => NetemLoss::Random(share(lost)),
        Loss::GilbertElliott { p, r, bad, good } => NetemLoss::GilbertElliott { p: *p, r: *r, bad: *bad, good: *good },
    });
    Netem {
        limit: shape.limit,
        delay: delay.unwrap_or_default(),
        loss,
        duplicate: shape.duplicate.as_ref().map(share),
        corrupt: shape.corrupt.as_ref().map(share),
        reorder: shape.reorder.as_ref().map(|reorder| NetemReorder { share: share(&reorder.share), gap: reorder.gap }),
        // A bucket does it, which knows bursts.
        rate: None,
        seed: Some(shape.seed),
    }
}

/// The uniform distribution as a table.
fn even() -> Vec<i16> {
    (-8192..=8192).step_by(16).collect()
}
