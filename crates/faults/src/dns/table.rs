//! The rules that bring queries to the resolver.

use std::net::{IpAddr, Ipv6Addr};

use squall_sys::nft::{Base, Chain, ChainKind, Element, Expression, Family, Hook, Rule, Set, SetKind, Side, Table};

use squall_engine::marks::RESOLVER_MARK;

use super::job::{DnsJob, PLACE, PLACES, WHOSE, mark};
use crate::network::owner::Owner;

/// Before the destination NAT of others (-100): of a container runtime's own resolver, say, which has to be redirected as well.
/// Translation is done once for a flow, by the first chain that does it, so faults stand in a row by their places.
const PRIORITY: i32 = -140;
/// UDP and TCP.
const PROTOCOLS: [u8; 2] = [17, 6];
/// The chain that redirects.
const REDIRECT: &str = "redirect";

/// The table of the resolver in that place.
///
/// A query that passes several faults is in the hands of their resolvers one after another, and each time it is sent it meets all
/// tables again. What a resolver of this place or a later one sends was here before, and goes on. What one of an earlier place
/// sends is the owner's if it took it from the same owner.
pub(crate) fn table(marker: &str, job: &DnsJob, place: u32, with_v6: bool) -> Table {
    let everybody = matches!(job.owner, Owner::Everything);
    let mut rules: Vec<Rule> = (place..PLACES)
        .map(|later| {
            rule(vec![Expression::MarkBits { mask: WHOSE | PLACE, value: RESOLVER_MARK | later }, Expression::Accept], "passed here")
        })
        .collect();
    // An answer from the loopback interface could not be sent to an address that is only good on one link.
    let link_local = Expression::Address { side: Side::Destination, set: "link-local".into(), family: Family::V6, not: false };
    rules.push(rule(vec![link_local, Expression::Accept], "link-local"));
    let redirect = || Expression::Jump(REDIRECT.into());
    if !everybody {
        let earlier = (0..place).map(|earlier| vec![Expression::Mark(mark(earlier, &job.owner)), redirect()]);
        rules.extend(earlier.map(|expressions| rule(expressions, "the owner's, by way of another fault")));
        // To the kernel it is Squall's own, which may be of the same user.
        let others = Expression::MarkBits { mask: WHOSE, value: RESOLVER_MARK };
        rules.push(rule(vec![others, Expression::Accept], "other owners'"));
    }
    rules.push(rule(job.owner.conditions(true).into_iter().chain([redirect()]).collect(), "the owner's"));
    let base = Base { hook: Hook::Output, priority: PRIORITY + i32::try_from(place).unwrap_or_default(), kind: ChainKind::Nat };
    let elements = vec![Element::Ipv6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), Ipv6Addr::from((0xfec0_u128 << 112) - 1))];
    Table {
        name: marker.to_owned(),
        sets: vec![Set { name: "link-local".into(), kind: SetKind::Ipv6, elements }],
        chains: vec![
            Chain { name: REDIRECT.into(), base: None, rules: redirections(job, with_v6) },
            Chain { name: "queries".into(), base: Some(base), rules },
        ],
    }
}

fn rule(expressions: Vec<Expression>, comment: &str) -> Rule {
    Rule { expressions, comment: comment.into() }
}

/// A rule for each family, server, protocol and port.
fn redirections(job: &DnsJob, with_v6: bool) -> Vec<Rule> {
    let mut rules = Vec::new();
    let families: &[Family] = if with_v6 { &[Family::V4, Family::V6] } else { &[Family::V4] };
    for family in families {
        let of_family = job.servers.iter().filter(|server| server.is_ipv4() == (*family == Family::V4));
        let servers: Vec<Option<IpAddr>> = if job.servers.is_empty() { vec![None] } else { of_family.copied().map(Some).collect() };
        for server in servers {
            for (protocol, port) in PROTOCOLS.iter().flat_map(|protocol| job.ports.iter().map(move |port| (*protocol, *port))) {
                let mut conditions = vec![Expression::Family(*family)];
                conditions.extend(server.map(|address| Expression::AddressIs(Side::Destination, address)));
                conditions.extend([Expression::Protocol(vec![protocol]), Expression::PortIs(Side::Destination, port)]);
                conditions.extend([Expression::Counter, Expression::Redirect(job.port)]);
                rules.push(rule(conditions, "redirected"));
            }
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::super::job::Treatment;
    use super::super::tests::job;
    use super::*;

    #[test]
    fn each_server_port_protocol_and_family_has_a_rule() {
        let servers = vec!["10.0.0.1".parse().expect("v4"), "fd00::1".parse().expect("v6")];
        let job = DnsJob { servers, ports: vec![53, 8600], ..job(Treatment::Silence) };
        assert_eq!(table("squall-r-1", &job, 3, true).chains[0].rules.len(), 8);
        assert_eq!(table("squall-r-1", &DnsJob { servers: Vec::new(), ..job }, 0, false).chains[0].rules.len(), 4);
    }

    #[test]
    fn what_a_later_resolver_sends_passes_and_what_an_earlier_one_sends_is_taken_if_it_is_the_same_owner_s() {
        let of = |owner: Owner| table("squall-r-1", &DnsJob { owner, ..job(Treatment::Silence) }, 3, true).chains.remove(1).rules;
        let count = |rules: &[Rule], comment: &str| rules.iter().filter(|rule| rule.comment == comment).count();
        let (all, one) = (of(Owner::Everything), of(Owner::User(7)));
        assert_eq!([&all, &one].map(|rules| count(rules, "passed here")), [(PLACES - 3) as usize; 2]);
        assert_eq!([&all, &one].map(|rules| count(rules, "the owner's, by way of another fault")), [0, 3]);
        let earlier = Expression::Mark(mark(2, &Owner::User(7)));
        assert!(one.iter().any(|rule| rule.expressions.contains(&earlier)));
        assert_ne!(mark(2, &Owner::User(7)), mark(2, &Owner::User(8)));
    }

    #[test]
    fn a_mark_says_whose_it_is_and_in_which_place_and_leaves_the_bits_of_kube_proxy_alone() {
        for (place, uid) in (0..PLACES).zip(1000..) {
            let mark = mark(place, &Owner::User(uid));
            assert_eq!((mark & WHOSE, mark & PLACE, mark & 0xc000), (RESOLVER_MARK, place, 0));
        }
    }
}
