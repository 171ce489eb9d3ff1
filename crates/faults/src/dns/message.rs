//! Queries and the answers that Squall gives itself. What it only passes on is never taken apart and put together again.

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::IpAddr;

/// What an answer over UDP may have where the client does not say (RFC 1035, section 4.2.1).
const SMALLEST: usize = 512;
/// What this server offers to take: what passes every path in one piece (DNS Flag Day 2020).
const OFFERED: u16 = 1232;

/// A question with one name: what every client sends.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    message: Message,
    /// Without the dot at the end, as it was sent.
    pub(crate) name: String,
    /// The number of the type of records.
    pub(crate) kind: u16,
}

/// By what an answer goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

impl Asked {
    /// Reads a query. None for everything else: updates, notifications, answers, and what is no DNS at all.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let message = Message::from_vec(bytes).ok()?;
        let is_query = message.metadata.message_type == MessageType::Query && message.metadata.op_code == OpCode::Query;
        let [query] = message.queries.as_slice() else { return None };
        let name = query.name().to_ascii();
        let (name, kind) = (name.strip_suffix('.').unwrap_or(&name).to_owned(), u16::from(query.query_type()));
        is_query.then_some(Self { message, name, kind })
    }

    /// The name and type, as one key for all ways to write it.
    pub(crate) fn key(&self) -> (String, u16) {
        (self.name.to_ascii_lowercase(), self.kind)
    }

    /// Whether it is Squall itself that asks for the resolver's counters.
    pub(crate) fn is_for_counters(&self) -> bool {
        self.name == COUNTERS && self.message.queries.iter().all(|query| query.query_class() == DNSClass::CH)
    }

    /// An answer without records.
    pub(crate) fn with_code(&self, code: u8, transport: Transport) -> Vec<u8> {
        self.answer(ResponseCode::from(0, code), Vec::new(), transport)
    }

    /// An answer with those of the addresses that are of the type that was asked for.
    pub(crate) fn with_addresses(&self, addresses: &[IpAddr], ttl: u32, transport: Transport) -> Vec<u8> {
        let wanted = RecordType::from(self.kind);
        let data = addresses.iter().filter_map(|address| match (address, wanted) {
            (IpAddr::V4(address), RecordType::A) => Some(RData::A(A(*address))),
            (IpAddr::V6(address), RecordType::AAAA) => Some(RData::AAAA(AAAA(*address))),
            _ => None,
        });
        let records = data.filter_map(|data| Some(Record::from_rdata(self.message.queries.first()?.name().clone(), ttl, data)));
        let records = records.collect();
        self.answer(ResponseCode::NoError, records, transport)
    }

    /// An answer with a text.
    pub(crate) fn with_text(&self, text: String, transport: Transport) -> Vec<u8> {
        let name = self.message.queries.first().map(|query| query.name().clone()).unwrap_or_default();
        let mut record = Record::from_rdata(name, 0, RData::TXT(TXT::new(vec![text])));
        record.dns_class = DNSClass::CH;
        self.answer(ResponseCode::NoError, vec![record], transport)
    }

    /// Without an SOA record, so that an error is not kept (RFC 2308, section 5).
    fn answer(&self, code: ResponseCode, records: Vec<Record>, transport: Transport) -> Vec<u8> {
        let query = &self.message;
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.metadata = Metadata::response_from_request(&query.metadata);
        answer.metadata.recursion_available = true;
        answer.metadata.response_code = code;
        answer.queries.clone_from(&query.queries);
        answer.answers = records;
        answer.edns = query.edns.as_ref().map(|theirs| {
            let mut edns = Edns::new();
            edns.set_max_payload(OFFERED).set_dnssec_ok(theirs.flags().dnssec_ok);
            edns
        });
        let limit = match transport {
            Transport::Udp => usize::from(query.max_payload()).max(SMALLEST),
            Transport::Tcp => usize::from(u16::MAX),
        };
        // What was read can be written; if it could not, silence is what is left.
        match answer.to_vec() {
            Ok(bytes) if bytes.len() <= limit => bytes,
            Ok(_) => answer.truncate().to_vec().unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }
}

/// The name by which the resolver is asked for its counters, in the class CH (as `version.bind` is).
pub(crate) const COUNTERS: &str = "counters.squall";

/// A query to be sent.
pub(crate) fn query(name: &str, kind: u16, class: DNSClass, id: u16) -> Result<Vec<u8>, String> {
    let name = Name::from_ascii(name).map_err(|e| format!("`{name}`: {e}"))?;
    let mut query = Query::query(name, RecordType::from(kind));
    query.set_query_class(class);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(query);
    message.to_vec().map_err(|e| e.to_string())
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) id: u16,
    pub(crate) code: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) text: String,
}

/// Reads an answer.
pub(crate) fn answered(bytes: &[u8]) -> Option<Answered> {
    let message = Message::from_vec(bytes).ok().filter(|m| m.metadata.message_type == MessageType::Response)?;
    let data = || message.answers.iter().map(|record| &record.data);
    let text = data().filter_map(|data| if let RData::TXT(text) = data { Some(text.to_string()) } else { None });
    Some(Answered {
        id: message.metadata.id,
        code: squall_model::dns_code_name(message.metadata.response_code.into()),
        addresses: data().filter_map(RData::ip_addr).collect(),
        text: text.collect(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(name: &str, kind: u16) -> Asked {
        Asked::read(&query(name, kind, DNSClass::IN, 7).expect("a query")).expect("read")
    }

    #[test]
    fn an_answer_repeats_the_question_letter_by_letter() {
        let asked = asked("wWw.ExAmple.com.", 1);
        let bytes = asked.with_code(3, Transport::Udp);
        assert_eq!((asked.name.as_str(), asked.key()), ("wWw.ExAmple.com", ("www.example.com".into(), 1)));
        assert!(bytes.windows(7).any(|w| w == b"ExAmple"), "randomised case (0x20) is kept");
        let answered = answered(&bytes).expect("an answer");
        assert_eq!((answered.id, answered.code.as_str(), answered.addresses.len()), (7, "NXDOMAIN", 0));
    }

    #[test]
    fn only_addresses_of_the_type_that_was_asked_for_are_given() {
        let all: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1"].iter().map(|a| a.parse().expect("an address")).collect();
        let given = |kind| answered(&asked("a.b", kind).with_addresses(&all, 1, Transport::Udp)).expect("an answer").addresses;
        assert_eq!((given(1), given(28), given(65)), (vec![all[0]], vec![all[1]], Vec::new()));
    }

    #[test]
    fn an_answer_that_does_not_fit_is_cut_over_udp_and_whole_over_tcp() {
        let many: Vec<IpAddr> = (0..=255).map(|n| IpAddr::from([192, 0, 2, n])).collect();
        let asked = asked("a.b", 1);
        let (udp, tcp) = (asked.with_addresses(&many, 1, Transport::Udp), asked.with_addresses(&many, 1, Transport::Tcp));
        assert!(udp.len() <= SMALLEST && udp[2] & 2 != 0, "TC is set");
        assert!(answered(&tcp).expect("an answer").addresses.len() == 256 && tcp[2] & 2 == 0);
    }

    #[test]
    fn what_is_not_a_query_is_not_read_as_one() {
        let bytes = query("a.b", 1, DNSClass::IN, 7).expect("a query");
        let changed = |at: usize, to: u8| [&bytes[..at], &[to], &bytes[at + 1..]].concat();
        assert!(Asked::read(&bytes).is_some());
        assert!(Asked::read(&changed(2, 0x80)).is_none(), "an answer");
        assert!(Asked::read(&changed(2, 0x28)).is_none(), "an update");
        assert!(Asked::read(&changed(5, 2)).is_none(), "two questions, one of them missing");
        assert!(Asked::read(b"GET / HTTP/1.1\r\n").is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_is_read_can_be_answered(mut bytes in prop::collection::vec(any::<u8>(), 0..200), head in any::<bool>()) {
            if head && bytes.len() >= 12 {
                // The head of a query with one question and one additional record: so that the rest is looked at.
                bytes[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
            }
            if let Some(asked) = Asked::read(&bytes) {
                let answer = asked.with_code(2, Transport::Udp);
                prop_assert!(answer.len() >= 12 && answer[..2] == bytes[..2]);
            }
            let _ = answered(&bytes);
        }

        #[test]
        fn a_query_that_was_changed_somewhere_makes_no_panic(at in 0_usize..40, to in any::<u8>()) {
            let mut bytes = query("some.name.example.com", 28, DNSClass::IN, 7).expect("a query");
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            if let Some(asked) = Asked::read(&bytes) {
                let _ = asked.with_addresses(&[IpAddr::from([0; 16])], 1, Transport::Udp);
            }
        }
    }
}
