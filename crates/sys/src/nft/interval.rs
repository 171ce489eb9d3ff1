//! The elements of a set: single values, or ranges, merged, and written as the points where they begin and end.

use std::collections::BTreeSet;

use super::table::{Element, SetKind};
use super::wire::attribute::{self, data, elements};
use super::wire::{ELEMENT_END, message, request};
use crate::netlink::{Message, flags};

/// An attribute holds less than 64 KiB: so many points at the most in one message, each up to 44 bytes.
const POINTS_AT_ONCE: usize = 1000;
/// `NFTNL_UDATA_SET_ELEM_FLAGS`, four bytes, `SET_ELEM_F_INTERVAL_OPEN`: how nft remembers that a range has no end.
const OPEN_ENDED: [u8; 6] = {
    let [a, b, c, d] = 1_u32.to_ne_bytes();
    [1, 4, a, b, c, d]
};

/// Where a range begins, or the first value after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    key: Vec<u8>,
    end: bool,
    open: bool,
}

impl SetKind {
    /// nft's number of the type (it shows values by it), and bytes of a value.
    pub(super) fn key(self) -> (u32, u8) {
        match self {
            Self::Ipv4 => (7, 4),
            Self::Ipv6 => (8, 16),
            Self::Port => (13, 2),
        }
    }

    fn of(element: &Element) -> Self {
        match element {
            Element::Ipv4(..) => Self::Ipv4,
            Element::Ipv6(..) => Self::Ipv6,
            Element::Port(..) => Self::Port,
        }
    }
}

fn ends(element: &Element) -> (u128, u128) {
    match *element {
        Element::Ipv4(from, to) => (from.to_bits().into(), to.to_bits().into()),
        Element::Ipv6(from, to) => (from.to_bits(), to.to_bits()),
        Element::Port(from, to) => (from.into(), to.into()),
    }
}

/// How a set is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// Of what it is.
    pub kind: SetKind,
    /// Of single values, without ranges.
    pub exact: bool,
}

impl Form {
    /// Of a set that begins with these elements. One that is empty may be given ranges later.
    pub(super) fn of(kind: SetKind, elements: &[Element]) -> Self {
        Self { kind, exact: !elements.is_empty() && elements.iter().map(ends).all(|(from, to)| from == to) }
    }

    /// What is added to fill it. `Err` with the first element that does not fit: of another kind, ending before it begins, or a range
    /// among single values.
    pub(super) fn points(self, elements: &[Element]) -> Result<Vec<Point>, Element> {
        if !self.exact {
            return Ok(points(self.kind, &merged(self.kind, elements)?));
        }
        let wrong = |e: &&Element| SetKind::of(e) != self.kind || ends(e).0 != ends(e).1;
        if let Some(element) = elements.iter().find(wrong) {
            return Err(*element);
        }
        let values: BTreeSet<u128> = elements.iter().map(|e| ends(e).0).collect();
        Ok(values.into_iter().map(|value| Point { key: key(self.kind, value), end: false, open: false }).collect())
    }
}

/// A value as the kernel has it.
fn key(kind: SetKind, value: u128) -> Vec<u8> {
    value.to_be_bytes()[16 - usize::from(kind.key().1)..].to_vec()
}

/// Sorted ranges that neither overlap nor touch and hold the same values. `Err` with the first element that is of another
/// kind, or ends before it begins.
fn merged(kind: SetKind, elements: &[Element]) -> Result<Vec<(u128, u128)>, Element> {
    let wrong = |e: &&Element| SetKind::of(e) != kind || ends(e).0 > ends(e).1;
    if let Some(element) = elements.iter().find(wrong) {
        return Err(*element);
    }
    let mut ranges: Vec<(u128, u128)> = elements.iter().map(ends).collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (from, to) in ranges {
        match merged.last_mut() {
            Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    Ok(merged)
}

/// The points of merged ranges, in the form that nft sends: what lies before the first range is marked as well.
fn points(kind: SetKind, merged: &[(u128, u128)]) -> Vec<Point> {
    let largest = u128::MAX >> (128 - 8 * usize::from(kind.key().1));
    let mut points = Vec::with_capacity(merged.len() * 2 + 1);
    if merged.first().is_some_and(|first| first.0 > 0) {
        points.push(Point { key: key(kind, 0), end: true, open: false });
    }
    for &(from, to) in merged {
        points.push(Point { key: key(kind, from), end: false, open: to == largest });
        if to < largest {
            points.push(Point { key: key(kind, to + 1), end: true, open: false });
        }
    }
    points
}

/// The messages that add points to a set.
pub(super) fn add(table: &str, set: &str, points: &[Point]) -> Vec<Message> {
    points
        .chunks(POINTS_AT_ONCE)
        .map(|chunk| {
            let mut add = request(message::NEW_ELEMENTS, flags::CREATE);
            add.put_text(elements::TABLE, table).put_text(elements::SET, set).put_nested(elements::ELEMENTS, |list| {
                for point in chunk {
                    list.put_nested(attribute::ELEMENT, |element| point.put(element));
                }
            });
            add
        })
        .collect()
}

impl Point {
    fn put(&self, element: &mut Message) {
        element.put_nested(elements::KEY, |key| {
            key.put(data::VALUE, &self.key);
        });
        if self.end {
            element.put_be32(elements::FLAGS, ELEMENT_END);
        }
        if self.open {
            element.put(elements::USER_DATA, &OPEN_ENDED);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn element() -> impl Strategy<Value = Element> {
        let port = prop_oneof![0_u16..60, 65_500_u16..=u16::MAX];
        (port.clone(), port).prop_map(|(a, b)| Element::Port(a.min(b), a.max(b)))
    }

    proptest! {
        #[test]
        fn merged_ranges_hold_the_same_values_and_never_touch(elements in prop::collection::vec(element(), 0..12)) {
            let merged = merged(SetKind::Port, &elements).expect("all are ports");
            prop_assert!(merged.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            for value in 0..=u128::from(u16::MAX) {
                let before = elements.iter().any(|e| (ends(e).0..=ends(e).1).contains(&value));
                prop_assert_eq!(before, merged.iter().any(|r| (r.0..=r.1).contains(&value)), "{}", value);
            }
        }

        #[test]
        fn a_value_is_in_the_set_exactly_where_the_last_point_before_it_begins_a_range(
            elements in prop::collection::vec(element(), 0..12),
            value in prop_oneof![0_u16..70, 65_490_u16..=u16::MAX],
        ) {
            let points = points(SetKind::Port, &merged(SetKind::Port, &elements).expect("all are ports"));
            let last = points.iter().rev().find(|p| p.key.as_slice() <= value.to_be_bytes().as_slice());
            let inside = elements.iter().any(|e| (ends(e).0..=ends(e).1).contains(&value.into()));
            prop_assert_eq!(inside, last.is_some_and(|p| !p.end));
        }
    }

    #[test]
    fn the_whole_of_ipv6_is_one_open_range() {
        let all = Element::Ipv6(0.into(), u128::MAX.into());
        let points = points(SetKind::Ipv6, &merged(SetKind::Ipv6, &[all, all]).expect("all are IPv6"));
        assert_eq!(points, [Point { key: vec![0; 16], end: false, open: true }]);
    }

    #[test]
    fn single_values_are_added_as_they_are_and_ranges_to_none_of_them() {
        let [one, two] = [1, 2].map(|port| Element::Port(port, port));
        let form = Form::of(SetKind::Port, &[two, one, two]);
        assert!(form.exact && !Form::of(SetKind::Port, &[]).exact && !Form::of(SetKind::Port, &[one, Element::Port(3, 4)]).exact);
        let points = form.points(&[two, one, two]).expect("fits");
        assert_eq!(points, [1, 2].map(|port| Point { key: vec![0, port], end: false, open: false }));
        assert_eq!(form.points(&[one, Element::Port(3, 4)]), Err(Element::Port(3, 4)));
        let address = Element::Ipv4([10, 0, 0, 1].into(), [10, 0, 0, 1].into());
        assert_eq!(form.points(&[one, address]), Err(address));
    }

    #[test]
    fn an_element_of_another_kind_or_backwards_is_named() {
        let backwards = Element::Port(2, 1);
        assert_eq!(merged(SetKind::Port, &[Element::Port(1, 2), backwards]), Err(backwards));
        assert_eq!(merged(SetKind::Ipv4, &[Element::Port(1, 2)]), Err(Element::Port(1, 2)));
    }
}
