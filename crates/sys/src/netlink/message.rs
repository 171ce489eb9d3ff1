//! Writing messages: `struct nlmsghdr`, a fixed header of the family, then attributes.

/// `NLM_F_*` (`netlink(7)`).
pub mod flags {
    /// It is a request.
    pub const REQUEST: u16 = 0x1;
    /// Wait for an answer, also where it went well.
    pub const ACK: u16 = 0x4;
    /// Everything there is.
    pub const DUMP: u16 = 0x300;
    /// Fail if it exists.
    pub const EXCL: u16 = 0x200;
    /// Replace what exists.
    pub const REPLACE: u16 = 0x100;
    /// Make it if it does not exist.
    pub const CREATE: u16 = 0x400;
    /// Add it at the end.
    pub const APPEND: u16 = 0x800;
}

/// `NLA_F_NESTED`.
const NESTED: u16 = 1 << 15;
/// Length of `struct nlmsghdr`.
const HEAD: usize = 16;

/// A message being written. The sequence number is the socket's to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message of that type (`nlmsg_type`) with these flags and the family's own fixed header.
    pub fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = vec![0; HEAD];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(header);
        let mut message = Self { bytes };
        message.pad();
        message
    }

    /// The same, with an answer also where it went well.
    #[must_use]
    pub fn acknowledged(mut self) -> Self {
        let set = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | flags::ACK;
        self.bytes[6..8].copy_from_slice(&set.to_ne_bytes());
        self
    }

    /// Bytes so far.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Adds an attribute.
    pub fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&value[..usize::from(length) - 4]);
        self.pad();
        self
    }

    /// Adds a number of four bytes in the machine's byte order.
    pub fn put_u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_ne_bytes())
    }

    /// Adds a number of four bytes in network byte order.
    pub fn put_be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// Adds text, with a zero at its end.
    pub fn put_text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes)
    }

    /// Adds an attribute that holds attributes, marked as nested.
    pub fn put_nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.put_holding(kind | NESTED, fill)
    }

    /// Adds an attribute that holds bytes and attributes, with its type as given (older interfaces do not mark nesting).
    pub fn put_holding(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Adds bytes as they are, padded: the fixed part of an attribute that is being filled.
    pub fn put_raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// The whole message as it is sent, with its length and this sequence number.
    pub fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Attributes;
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let mut message = Message::new(7, flags::REQUEST, &[9]);
        message.put_text(1, "abc").put_nested(2, |m| {
            m.put_be32(3, 5).put(4, &[1, 2, 3]);
        });
        let bytes = message.finish(11);
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(u32::from_ne_bytes(bytes[0..4].try_into().expect("4")) as usize, bytes.len());
        let attributes = Attributes(&bytes[HEAD + 4..]);
        assert_eq!(attributes.find(1).expect("text").text(), "abc");
        let nested = attributes.find(2).expect("nested").nested();
        assert_eq!(nested.find(3).expect("number").network_number(), Some(5));
        assert_eq!(nested.find(4).expect("bytes").bytes, [1, 2, 3]);
    }

    #[test]
    fn a_cut_attribute_ends_the_row() {
        assert_eq!(Attributes(&[8, 0, 1, 0, 1]).into_iter().count(), 0);
        assert_eq!(Attributes(&[2, 0, 1, 0]).into_iter().count(), 0);
    }
}
