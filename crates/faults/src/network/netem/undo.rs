//! The way back, and what has gone through so far.

use std::hash::Hasher;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};
use squall_sys::link::{Interface, Links};
use squall_sys::netns::Namespace;
use squall_sys::tc::{FilterId, Handle, Kind, Protocol, Qdisc, Row, Tbf, Traffic, Way};
use squall_undo::{Armed, boottime};

use super::{BUCKET, OUTER};

/// How long what waits in the device is given to leave.
const LEAVES_WITHIN: Duration = Duration::from_millis(500);
/// Between two looks at what waits.
const LOOK: Duration = Duration::from_millis(2);
/// Digits of a device's name: small letters and digits that are not taken for one another.
const DIGITS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Of a filter's cookie: the first byte says whether its clsact is Squall's.
const CLSACT_IS_OURS: u8 = b'S';
const CLSACT_IS_FOREIGN: u8 = b'F';
/// And the next four that the filter is Squall's.
const OURS: &[u8; 4] = b"qual";

/// All that is needed to take the device, the filter and its place away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcUndo {
    /// Where.
    pub namespace: Namespace,
    /// Index of the interface whose packets are redirected.
    pub index: u32,
    /// Its name.
    pub interface: String,
    /// Name of the ifb device: `sq` and 13 digits that follow from marker and mark.
    pub device: String,
    /// The injection. The device has it as its alias.
    pub marker: String,
    /// Of the packets that are redirected.
    pub mark: u32,
    /// The interface's clsact is Squall's: the last filter to go takes it along.
    pub clsact: bool,
    /// Turn of the filter among the others.
    pub preference: u16,
    /// The filter's number within its turn.
    pub handle: u32,
}

/// What has gone through a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that the filter has redirected.
    pub redirected: u64,
    /// Packets that the device has let out.
    pub sent: u64,
    /// Packets that it has dropped: lost on purpose, or over the limit.
    pub dropped: u64,
    /// Packets that wait in it.
    pub backlog: u64,
    /// Times that a packet had to wait for the rate.
    pub overlimits: u64,
}

/// Whether a filter's cookie says that its clsact was made by Squall.
pub(super) fn says_clsact_is_ours(cookie: &[u8; 16]) -> bool {
    cookie[0] == CLSACT_IS_OURS && cookie[1..5] == *OURS
}

fn hash(marker: &str, mark: u32) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write(marker.as_bytes());
    hasher.write(&mark.to_le_bytes());
    hasher.finish128().as_u128()
}

impl TcUndo {
    pub(super) fn new(namespace: &Namespace, interface: &Interface, marker: &str, mark: u32, clsact: bool, preference: u16) -> Self {
        let hash = hash(marker, mark);
        let digits = (0..13).map(|place| char::from(DIGITS[usize::try_from(hash >> (5 * place) & 31).unwrap_or_default()]));
        Self {
            namespace: namespace.clone(),
            index: interface.index,
            interface: interface.name.clone(),
            device: format!("sq{}", digits.collect::<String>()),
            marker: marker.to_owned(),
            mark,
            clsact,
            preference,
            // Others of ours may have the same turn. 0 is no number.
            handle: u32::try_from(hash >> 96).unwrap_or(u32::MAX).max(1),
        }
    }

    /// What the filter is known by, wherever somebody may have moved it.
    pub(super) fn cookie(&self) -> [u8; 16] {
        let mut cookie = hash(&self.marker, self.mark).to_le_bytes();
        cookie[0] = if self.clsact { CLSACT_IS_OURS } else { CLSACT_IS_FOREIGN };
        cookie[1..5].copy_from_slice(OURS);
        cookie
    }

    fn device_here(&self, links: &mut Links) -> io::Result<Option<Interface>> {
        Ok(links.named(&self.device)?.filter(|device| device.alias.as_ref() == Some(&self.marker) && device.kind.as_deref() == Some("ifb")))
    }

    /// Our filters of the interface. One, but for what somebody has made of it.
    fn filters_here(&self, traffic: &mut Traffic) -> io::Result<Vec<Row>> {
        let mut filters = gone_is_none(traffic.filters(self.index, Handle::EGRESS))?;
        filters.retain(|row| row.cookie() == Some(self.cookie()));
        Ok(filters)
    }
}

/// An interface that is gone has no filters.
fn gone_is_none(rows: io::Result<Vec<Row>>) -> io::Result<Vec<Row>> {
    match rows {
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        other => other,
    }
}

/// ENOENT, ENODEV, ENXIO; EINVAL is what filters say whose clsact is gone.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || matches!(error.raw_os_error(), Some(2 | 6 | 19 | 22))
}

fn unless_gone(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What has gone through so far. `NotFound` where the device or the filter is gone.
pub fn counters(undo: &TcUndo) -> io::Result<Counters> {
    undo.namespace.within(|| {
        let missing = |what: String| io::Error::new(io::ErrorKind::NotFound, format!("{what} is gone"));
        let (mut links, mut traffic) = (Links::open()?, Traffic::open()?);
        let device = undo.device_here(&mut links)?.ok_or_else(|| missing(format!("ifb device {}", undo.device)))?;
        let filters = undo.filters_here(&mut traffic)?;
        let filter = filters.first().ok_or_else(|| missing(format!("the filter on {}", undo.interface)))?;
        let outer = traffic.qdiscs(device.index)?.into_iter().find(|row| row.parent == Handle::ROOT);
        let stats = outer.ok_or_else(|| missing(format!("the discipline of {}", undo.device)))?.stats();
        Ok(Counters {
            redirected: filter.stats().packets,
            sent: stats.packets,
            dropped: stats.dropped.into(),
            backlog: stats.waiting.into(),
            overlimits: stats.overlimits.into(),
        })
    })
}

/// Takes away what is ours, and says what that was. A thing that is gone is a success; so is a namespace that is gone.
pub fn revert(undo: &TcUndo, armed: &Armed) -> io::Result<String> {
    let Some(namespace) = undo.namespace.found() else {
        return Ok(format!("the network namespace of {} is gone, and all that was in it", undo.interface));
    };
    namespace.within(|| revert_here(undo, armed))
}

fn revert_here(undo: &TcUndo, armed: &Armed) -> io::Result<String> {
    let (mut links, mut traffic) = (Links::open()?, Traffic::open()?);
    let mut done = Vec::new();
    for row in undo.filters_here(&mut traffic)? {
        let id = FilterId {
            interface: undo.index,
            parent: Handle::EGRESS,
            preference: row.preference(),
            protocol: Protocol::All,
            handle: row.handle.0,
        };
        if unless_gone(traffic.remove_filter(armed, &id))? {
            done.push(format!("removed the filter of {}", undo.interface));
        }
    }
    if let Some(device) = undo.device_here(&mut links)? {
        let lost = let_out(armed, &mut links, &mut traffic, device.index)?;
        if unless_gone(links.remove(armed, device.index))? {
            let lost = if lost == 0 { String::new() } else { format!(" with {lost} packets that still waited") };
            done.push(format!("removed the ifb device {}{lost}", undo.device));
        }
    }
    if undo.clsact {
        done.extend(remove_clsact(undo, armed, &mut traffic)?);
    }
    if done.is_empty() {
        return Ok(format!("ifb device {} and its filter are gone, nothing to do", undo.device));
    }
    Ok(done.join(", "))
}

/// Waits until nothing waits in the device any more, and gives the number of packets that do at the end.
fn let_out(armed: &Armed, links: &mut Links, traffic: &mut Traffic, device: u32) -> io::Result<u32> {
    let end = boottime() + LEAVES_WITHIN;
    let mut waiting = waiting(traffic, device)?;
    if waiting > 0 {
        for row in traffic.qdiscs(device)?.iter().filter(|row| row.kind == "tbf") {
            let bucket = Tbf { bytes_per_second: 1 << 40, burst: u32::MAX >> 1, limit: u32::MAX >> 1 };
            let handle = if row.handle == BUCKET { BUCKET } else { OUTER };
            let wide = Qdisc { interface: device, parent: row.parent, handle, kind: Kind::Tbf(bucket) };
            unless_gone(traffic.set_qdisc(armed, &wide, Way::Change))?;
        }
        // Its timer was set for the old rate.
        unless_gone(links.nudge(armed, device))?;
    }
    while waiting > 0 && boottime() < end {
        std::thread::sleep(LOOK);
        waiting = self::waiting(traffic, device)?;
    }
    Ok(waiting)
}

fn waiting(traffic: &mut Traffic, device: u32) -> io::Result<u32> {
    let rows = gone_is_none(traffic.qdiscs(device))?;
    Ok(rows.iter().find(|row| row.parent == Handle::ROOT).map_or(0, |row| row.stats().waiting))
}

/// Takes the place away if nobody else uses it.
fn remove_clsact(undo: &TcUndo, armed: &Armed, traffic: &mut Traffic) -> io::Result<Option<String>> {
    let there = gone_is_none(traffic.qdiscs(undo.index))?.iter().any(|row| row.parent == Handle::CLSACT && row.kind == "clsact");
    if !there {
        return Ok(None);
    }
    let others = [Handle::EGRESS, Handle::INGRESS].into_iter().map(|place| Ok(gone_is_none(traffic.filters(undo.index, place))?.len()));
    let others = others.sum::<io::Result<usize>>()?;
    if others > 0 {
        return Ok(Some(format!("left the clsact of {}, which has {others} filters of others", undo.interface)));
    }
    let removed = unless_gone(traffic.remove_qdisc(armed, &Qdisc::clsact(undo.index)))?;
    Ok(removed.then(|| format!("removed the clsact of {}", undo.interface)))
}
