//! A rule's conditions and actions, as what the kernel has. What a condition takes for granted is checked before it: ports
//! only where the protocol has them, addresses only of the family.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Queueing;
use super::operation::{Compare, Header, Operation, Verdict, Within, meta};
use super::table::{Expression, Family, Reject, Side};
use crate::cgroup::Hierarchy;

/// `IFNAMSIZ`: with the zero at the end.
const INTERFACE_NAME: usize = 16;
const TCP: u8 = 6;
/// `ICMPv6`.
const ICMP_V6: u8 = 58;
/// The protocols that have ports in the first four bytes: TCP, UDP, DCCP, SCTP, UDP-Lite.
const WITH_PORTS: [u8; 5] = [TCP, 17, 33, 132, 136];
/// Chances are counted in parts of this: fine enough, and a power of two, so that no value is more likely than another.
const CHANCES: u32 = 1 << 31;

/// What the conditions so far say about every packet that comes further.
#[derive(Debug, Default)]
struct Known {
    family: Option<Family>,
    protocols: Option<Vec<u8>>,
}

/// The operations of a rule. `Err` says what is wrong with it.
pub(super) fn compile(rule: &[Expression], queueing: Queueing) -> Result<Vec<Operation>, String> {
    let mut known = Known::default();
    let mut operations = Vec::new();
    for expression in rule {
        compile_one(expression, queueing, &mut known, &mut operations)?;
    }
    Ok(operations)
}

fn compile_one(expression: &Expression, queueing: Queueing, known: &mut Known, out: &mut Vec<Operation>) -> Result<(), String> {
    use Compare::{Equal, Unequal};
    match expression {
        Expression::CameBy(name) => interface(meta::CAME_BY, name, Equal, out)?,
        Expression::LeavesBy(name) => interface(meta::LEAVES_BY, name, Equal, out)?,
        Expression::NotCameBy(name) => interface(meta::CAME_BY, name, Unequal, out)?,
        Expression::NotLeavesBy(name) => interface(meta::LEAVES_BY, name, Unequal, out)?,
        Expression::Family(family) => known.require_family(*family, out),
        Expression::Protocol(numbers) => known.protocol(numbers, out)?,
        Expression::Address { side, set, family, not } => {
            known.require_family(*family, out);
            out.push(address(*side, *family));
            out.push(Operation::Lookup { within: Within::Set(set.clone()), not: *not });
        }
        Expression::AddressIs(side, ip) => {
            let (family, bytes) = octets(*ip);
            known.require_family(family, out);
            out.extend([address(*side, family), Operation::Compare(Equal, bytes)]);
        }
        Expression::AddressWithin(side, from, to) => {
            let ((family, from), (other, to)) = (octets(*from), octets(*to));
            if family != other {
                return Err("asks for addresses from one family to another".into());
            }
            known.require_family(family, out);
            out.push(address(*side, family));
            out.extend([Operation::Compare(Compare::AtLeast, from), Operation::Compare(Compare::AtMost, to)]);
        }
        Expression::Port { side, set, not } => {
            known.require_protocol(&WITH_PORTS, out);
            out.extend([port(*side), Operation::Lookup { within: Within::Set(set.clone()), not: *not }]);
        }
        Expression::PortIs(side, number) => {
            known.require_protocol(&WITH_PORTS, out);
            out.extend([port(*side), Operation::Compare(Equal, number.to_be_bytes().to_vec())]);
        }
        Expression::TcpFlags { mask, value } => {
            known.require_protocol(&[TCP], out);
            let flags = Operation::Payload { header: Header::Transport, offset: 13, length: 1 };
            out.extend([flags, Operation::And(vec![*mask]), Operation::Compare(Equal, vec![*value])]);
        }
        Expression::Mark(mark) => number(Operation::Meta(meta::MARK), *mark, Equal, out),
        Expression::NotMark(mark) => number(Operation::Meta(meta::MARK), *mark, Unequal, out),
        Expression::MarkBits { mask, value } => {
            out.extend([Operation::Meta(meta::MARK), Operation::And(mask.to_ne_bytes().to_vec())]);
            out.push(Operation::Compare(Equal, value.to_ne_bytes().to_vec()));
        }
        Expression::IcmpV6Types(from, to) => {
            known.require_family(Family::V6, out);
            known.require_protocol(&[ICMP_V6], out);
            let kind = Operation::Payload { header: Header::Transport, offset: 0, length: 1 };
            out.extend([kind, Operation::Compare(Compare::AtLeast, vec![*from]), Operation::Compare(Compare::AtMost, vec![*to])]);
        }
        Expression::SetMark(mark) => out.extend([Operation::Immediate(mark.to_ne_bytes().to_vec()), Operation::SetMeta(meta::MARK)]),
        Expression::User(id) => number(Operation::Meta(meta::SOCKET_USER), *id, Equal, out),
        Expression::NetClass(class) => number(Operation::Meta(meta::NET_CLASS), *class, Equal, out),
        Expression::SocketMark(mark) => number(Operation::SocketMark, *mark, Equal, out),
        Expression::CgroupV2(path) => cgroup(path, out)?,
        Expression::Chance(share) => out.extend(chance(*share)?),
        Expression::Counter => out.push(Operation::Counter),
        Expression::Accept => out.push(Operation::Verdict(Verdict::Accept)),
        Expression::Drop => out.push(Operation::Verdict(Verdict::Drop)),
        Expression::Return => out.push(Operation::Verdict(Verdict::Return)),
        Expression::Jump(chain) => out.push(Operation::Verdict(Verdict::Jump(chain.clone()))),
        Expression::Goto(chain) => out.push(Operation::Verdict(Verdict::Goto(chain.clone()))),
        Expression::Queue { number, bypass } => out.push(match queueing {
            Queueing::Native => Operation::Queue { number: *number, bypass: *bypass },
            Queueing::Target | Queueing::Missing => Operation::QueueTarget { number: *number, bypass: *bypass },
        }),
        Expression::Reject(how) => reject(*how, known, out),
        Expression::Redirect(to) => {
            known.require_protocol(&WITH_PORTS, out);
            out.extend([Operation::Immediate(to.to_be_bytes().to_vec()), Operation::Redirect]);
        }
    }
    Ok(())
}

impl Known {
    fn require_family(&mut self, family: Family, out: &mut Vec<Operation>) {
        if self.family == Some(family) {
            return;
        }
        self.family = Some(family);
        // `NFPROTO_IPV4`, `NFPROTO_IPV6`.
        let number = match family {
            Family::V4 => 2,
            Family::V6 => 10,
        };
        out.extend([Operation::Meta(meta::FAMILY), Operation::Compare(Compare::Equal, vec![number])]);
    }

    /// The protocol is one of these, which the rule says itself.
    fn protocol(&mut self, numbers: &[u8], out: &mut Vec<Operation>) -> Result<(), String> {
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        out.push(Operation::Meta(meta::PROTOCOL));
        out.push(match numbers[..] {
            [] => return Err("asks for one of no protocols; name at least one".into()),
            [one] => Operation::Compare(Compare::Equal, vec![one]),
            _ => Operation::Lookup { within: Within::Bytes(numbers.clone()), not: false },
        });
        self.protocols = Some(numbers);
        Ok(())
    }

    /// The protocol must be one of these for what follows: checked, where the rule has not said so.
    fn require_protocol(&mut self, numbers: &[u8], out: &mut Vec<Operation>) {
        if self.protocols.as_ref().is_some_and(|known| known.iter().all(|k| numbers.contains(k))) {
            return;
        }
        // The list is never empty, so that this cannot fail.
        let _ = self.protocol(numbers, out);
    }
}

fn interface(key: u32, name: &str, compare: Compare, out: &mut Vec<Operation>) -> Result<(), String> {
    if name.is_empty() || name.len() >= INTERFACE_NAME {
        return Err(format!("names the interface `{name}`; a name has 1 to 15 bytes"));
    }
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(INTERFACE_NAME, 0);
    out.extend([Operation::Meta(key), Operation::Compare(compare, bytes)]);
    Ok(())
}

fn octets(ip: IpAddr) -> (Family, Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => (Family::V4, ip.octets().to_vec()),
        IpAddr::V6(ip) => (Family::V6, ip.octets().to_vec()),
    }
}

fn address(side: Side, family: Family) -> Operation {
    let (offset, length) = match (family, side) {
        (Family::V4, Side::Source) => (12, 4),
        (Family::V4, Side::Destination) => (16, 4),
        (Family::V6, Side::Source) => (8, 16),
        (Family::V6, Side::Destination) => (24, 16),
    };
    Operation::Payload { header: Header::Network, offset, length }
}

fn port(side: Side) -> Operation {
    let offset = match side {
        Side::Source => 0,
        Side::Destination => 2,
    };
    Operation::Payload { header: Header::Transport, offset, length: 2 }
}

/// A number of four bytes, in the machine's byte order.
fn number(load: Operation, number: u32, compare: Compare, out: &mut Vec<Operation>) {
    out.extend([load, Operation::Compare(compare, number.to_ne_bytes().to_vec())]);
}

/// The kernel knows a group by its depth and the inode of its directory.
fn cgroup(path: &str, out: &mut Vec<Operation>) -> Result<(), String> {
    let hierarchies = Hierarchy::all().map_err(|e| format!("needs cgroup v2, and the mounts cannot be read: {e}"))?;
    let Some(hierarchy) = hierarchies.iter().find(|h| h.unified) else {
        return Err("needs cgroup v2, which is not mounted here; `mount -t cgroup2 none /sys/fs/cgroup/unified`".into());
    };
    let absolute = Path::new("/").join(path);
    let below = absolute.strip_prefix(&hierarchy.root).unwrap_or(&absolute);
    let below = below.strip_prefix("/").unwrap_or(below);
    let directory = hierarchy.mount_point.join(below);
    let inode = std::fs::metadata(&directory).map_err(|e| format!("needs the cgroup {}: {e}", directory.display()))?.ino();
    let level = u32::try_from(below.components().count()).unwrap_or(u32::MAX);
    out.extend([Operation::SocketCgroup { level }, Operation::Compare(Compare::Equal, inode.to_ne_bytes().to_vec())]);
    Ok(())
}

/// The kernel writes the number in the machine's byte order and compares from the first byte on.
fn chance(share: f64) -> Result<[Operation; 3], String> {
    if !(0.0..=1.0).contains(&share) {
        return Err(format!("has a chance of {share}; it is 0 to 1"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^31, from the check above")]
    let below = (share * f64::from(CHANCES)).round() as u32;
    let compare = Operation::Compare(Compare::Less, below.to_be_bytes().to_vec());
    Ok([Operation::Random { below: CHANCES }, Operation::ToNetworkOrder, compare])
}

fn reject(how: Reject, known: &mut Known, out: &mut Vec<Operation>) {
    // `NFT_REJECT_TCP_RST` is 1, `NFT_REJECT_ICMPX_UNREACH` 2: the kernel picks ICMP or ICMPv6.
    let (kind, code) = match how {
        Reject::TcpReset => (1, 0),
        Reject::NoRoute => (2, 0),
        Reject::PortUnreachable => (2, 1),
        Reject::HostUnreachable => (2, 2),
        Reject::Prohibited => (2, 3),
    };
    if how == Reject::TcpReset {
        known.require_protocol(&[TCP], out);
    }
    out.push(Operation::Reject { kind, code });
}

/// The kernel's modules that a rule needs beyond `nf_tables` itself.
pub(super) fn needs(rule: &[Expression]) -> Vec<&'static str> {
    let mut needs: Vec<&'static str> = rule
        .iter()
        .filter_map(|expression| match expression {
            Expression::CgroupV2(_) | Expression::SocketMark(_) => Some("nft_socket"),
            Expression::Chance(_) => Some("nft_numgen"),
            Expression::Queue { .. } => Some("nft_queue, or nft_compat with xt_NFQUEUE"),
            Expression::Reject(_) => Some("nft_reject_inet"),
            Expression::Redirect(_) => Some("nft_redir"),
            Expression::NetClass(_) => Some("cls_cgroup (CONFIG_CGROUP_NET_CLASSID)"),
            _ => None,
        })
        .collect();
    needs.sort_unstable();
    needs.dedup();
    needs
}
