//! Reading attributes: `struct nlattr`, a length, a type, and bytes padded to four.

/// The type's upper two bits say "nested" and "network byte order"; the rest is the type.
const TYPE_MASK: u16 = 0x3fff;

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its type, without flags.
    pub kind: u16,
    /// Its bytes.
    pub bytes: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The attributes within it.
    pub fn nested(&self) -> Attributes<'a> {
        Attributes(self.bytes)
    }

    /// A number in the machine's byte order: 1, 2, 4 or 8 bytes.
    pub fn number(&self) -> Option<u64> {
        Some(match *self.bytes {
            [a] => a.into(),
            [a, b] => u16::from_ne_bytes([a, b]).into(),
            [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
            _ => u64::from_ne_bytes(self.bytes.try_into().ok()?),
        })
    }

    /// A number in network byte order: 1, 2, 4 or 8 bytes.
    pub fn network_number(&self) -> Option<u64> {
        (self.bytes.len() <= 8 && !self.bytes.is_empty()).then(|| self.bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    /// Text that ends with a zero.
    pub fn text(&self) -> String {
        let end = self.bytes.iter().position(|b| *b == 0).unwrap_or(self.bytes.len());
        String::from_utf8_lossy(&self.bytes[..end]).into_owned()
    }
}

/// A row of attributes. Ends at the first that is cut.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Attributes<'a> {
    /// The first with that type.
    pub fn find(self, kind: u16) -> Option<Attribute<'a>> {
        self.into_iter().find(|attribute| attribute.kind == kind)
    }
}

impl<'a> IntoIterator for Attributes<'a> {
    type Item = Attribute<'a>;
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        Iter(self.0)
    }
}

/// Walks a row of attributes.
#[derive(Debug)]
pub struct Iter<'a>(&'a [u8]);

impl<'a> Iterator for Iter<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let (head, _) = self.0.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & TYPE_MASK;
        let bytes = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { kind, bytes })
    }
}
