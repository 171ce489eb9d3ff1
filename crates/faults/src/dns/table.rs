//! The rules that bring queries to the resolver.

use std::net::{IpAddr, Ipv6Addr};

use squall_sys::nft::{Base, Chain, ChainKind, Element, Expression, Family, Hook, Rule, Set, SetKind, Side, Table};

use super::job::{DnsJob, PLACES, mark};

/// Before the destination NAT of others (-100): of a container runtime's own resolver, say, which has to be redirected as well.
/// Translation is done once for a flow, by the first chain that does it, so faults stand in a row by their places.
const PRIORITY: i32 = -140;
/// UDP and TCP.
const PROTOCOLS: [u8; 2] = [17, 6];

/// The table of the resolver in that place. What a resolver of a later place (or this one) sends itself passes: it was here before.
pub(crate) fn table(marker: &str, job: &DnsJob, place: u32, with_v6: bool) -> Table {
    let rule = |expressions: Vec<Expression>, comment: &str| Rule { expressions, comment: comment.into() };
    let mut rules: Vec<Rule> =
        (place..PLACES).map(|later| rule(vec![Expression::Mark(mark(later)), Expression::Accept], "Squall's own")).collect();
    // An answer from the loopback interface could not be sent to an address that is only good on one link.
    let link_local = Expression::Address { side: Side::Destination, set: "link-local".into(), family: Family::V6, not: false };
    rules.push(rule(vec![link_local, Expression::Accept], "link-local"));
    let families: Vec<Family> = if with_v6 { vec![Family::V4, Family::V6] } else { vec![Family::V4] };
    for family in families {
        let mut servers: Vec<Option<IpAddr>> =
            job.servers.iter().filter(|s| s.is_ipv4() == (family == Family::V4)).map(|s| Some(*s)).collect();
        if job.servers.is_empty() {
            servers.push(None);
        }
        for (server, protocol, port) in
            servers.iter().flat_map(|s| PROTOCOLS.iter().flat_map(move |p| job.ports.iter().map(move |d| (s, p, d))))
        {
            let mut conditions = vec![Expression::Family(family)];
            conditions.extend(server.map(|address| Expression::AddressIs(Side::Destination, address)));
            conditions.extend([Expression::Protocol(vec![*protocol]), Expression::PortIs(Side::Destination, *port)]);
            conditions.extend(job.owner.conditions(true));
            conditions.extend([Expression::Counter, Expression::Redirect(job.port)]);
            rules.push(rule(conditions, "redirected"));
        }
    }
    let base = Base { hook: Hook::Output, priority: PRIORITY + i32::try_from(place).unwrap_or_default(), kind: ChainKind::Nat };
    let elements = vec![Element::Ipv6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), Ipv6Addr::from((0xfec0_u128 << 112) - 1))];
    Table {
        name: marker.to_owned(),
        sets: vec![Set { name: "link-local".into(), kind: SetKind::Ipv6, elements }],
        chains: vec![Chain { name: "queries".into(), base: Some(base), rules }],
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::Treatment;
    use super::super::tests::job;
    use super::*;

    #[test]
    fn each_server_port_protocol_and_family_has_a_rule_and_marks_of_later_places_pass() {
        let servers = vec!["10.0.0.1".parse().expect("v4"), "fd00::1".parse().expect("v6")];
        let job = DnsJob { servers, ports: vec![53, 8600], ..job(Treatment::Silence) };
        let made = table("squall-r-1", &job, 3, true);
        let rules = &made.chains[0].rules;
        let of = |comment: &str| rules.iter().filter(|rule| rule.comment == comment).count();
        assert_eq!((of("redirected"), of("Squall's own")), (8, (PLACES - 3) as usize));
        assert!(!rules.iter().any(|rule| rule.expressions.contains(&Expression::Mark(mark(2)))), "an earlier place's is not ours to pass");
        let v4 = table("squall-r-1", &DnsJob { servers: Vec::new(), ..job }, 0, false);
        assert_eq!(v4.chains[0].rules.iter().filter(|rule| rule.comment == "redirected").count(), 4);
    }
}
