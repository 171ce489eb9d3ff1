//! Where pieces of bytes end.

/// Where pieces end: after each byte, in one, or anywhere.
pub struct Cuts {
    at: usize,
    length: usize,
    state: u64,
    size: u8,
}

impl Cuts {
    pub fn of(length: usize, how: u8) -> Self {
        Self { at: 0, length, state: u64::from(how) | 1 << 40, size: how }
    }
}

impl Iterator for Cuts {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.at == self.length {
            return None;
        }
        // xorshift64 (Marsaglia, 2003).
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let step = match self.size {
            // Byte by byte as long as that is not a matter of seconds.
            0..=63 if self.length <= 4096 => 1,
            255 => self.length,
            _ => 1 + usize::try_from(self.state % (1 + u64::from(self.size))).expect("small"),
        };
        self.at = (self.at + step).min(self.length);
        Some(self.at)
    }
}
