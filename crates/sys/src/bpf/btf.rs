//! Where the fields of the running kernel's structures are: its own type information (BTF, `/sys/kernel/btf/vmlinux`).

use std::io;

/// Where the kernel shows it.
const PATH: &str = "/sys/kernel/btf/vmlinux";
/// `struct btf_header` begins with this.
const MAGIC: u16 = 0xeb9f;
/// `BTF_KIND_STRUCT` and `BTF_KIND_UNION`.
const STRUCT: u32 = 4;
const UNION: u32 = 5;

/// Type information, as bytes.
pub(super) struct Btf {
    bytes: Vec<u8>,
    strings: usize,
    /// Where each type begins; the first has number 1.
    types: Vec<usize>,
}

impl Btf {
    /// Of the running kernel. `NotFound` where it has none.
    pub fn of_kernel() -> io::Result<Self> {
        Self::parse(std::fs::read(PATH)?).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{PATH} is not understood")))
    }

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        let mut btf = Self { bytes, strings: 0, types: Vec::new() };
        let magic = u16::from_ne_bytes(btf.bytes.get(..2)?.try_into().ok()?);
        if magic != MAGIC {
            return None;
        }
        let head = btf.word(4)?;
        let (mut at, length) = (head + btf.word(8)?, btf.word(12)?);
        btf.strings = head + btf.word(16)?;
        let end = at + length;
        while at < end {
            btf.types.push(at);
            let info = btf.word(at + 4)?;
            let (kind, members) = ((info >> 24) & 0x1f, info & 0xffff);
            // What follows `struct btf_type` (Documentation/bpf/btf.rst).
            at += 12
                + match kind {
                    1 | 14 | 17 => 4,
                    3 => 12,
                    4 | 5 | 15 | 19 => members * 12,
                    6 | 13 => members * 8,
                    2 | 7..=12 | 16 | 18 => 0,
                    _ => return None,
                };
        }
        Some(btf)
    }

    fn word(&self, at: usize) -> Option<usize> {
        let bytes = self.bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_ne_bytes(bytes)).ok()
    }

    fn text(&self, offset: usize) -> &[u8] {
        let rest = self.bytes.get(self.strings + offset..).unwrap_or_default();
        &rest[..rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len())]
    }

    /// How many bytes a field is from the beginning of a structure, also within unnamed structures in it.
    pub fn offset(&self, of: &str, field: &str) -> Option<usize> {
        let is = |at: &&usize| {
            let kind = self.word(**at + 4).map(|info| (info >> 24) & 0x1f);
            kind == usize::try_from(STRUCT).ok() && self.word(**at).is_some_and(|name| self.text(name) == of.as_bytes())
        };
        let bits = self.types.iter().filter(is).find_map(|at| self.within(*at, field, 0))?;
        (bits % 8 == 0).then_some(bits / 8)
    }

    fn within(&self, at: usize, field: &str, depth: usize) -> Option<usize> {
        let info = self.word(at + 4)?;
        let (kind, members, with_sizes) = (u32::try_from((info >> 24) & 0x1f).ok()?, info & 0xffff, info >> 31 == 1);
        if !matches!(kind, STRUCT | UNION) || depth > 8 {
            return None;
        }
        (0..members).find_map(|index| {
            let member = at + 12 + index * 12;
            let (name, kind, offset) = (self.word(member)?, self.word(member + 4)?, self.word(member + 8)?);
            // With sizes of bit fields, those are in the upper eight bits.
            let offset = if with_sizes { offset & 0x00ff_ffff } else { offset };
            match self.text(name) {
                b"" => Some(offset + self.within(*self.types.get(kind.checked_sub(1)?)?, field, depth + 1)?),
                name => (name == field.as_bytes()).then_some(offset),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_running_kernel_are_found() {
        let btf = Btf::of_kernel().expect("a kernel with type information");
        let (pid, tgid) = (btf.offset("task_struct", "pid").expect("pid"), btf.offset("task_struct", "tgid").expect("tgid"));
        assert_eq!(tgid, pid + 4, "they stand side by side in every kernel so far");
        assert_eq!(btf.offset("list_head", "prev"), Some(size_of::<usize>()));
        // In an unnamed union of `struct sk_buff`.
        assert!(btf.offset("sk_buff", "prev").is_some());
        assert_eq!(btf.offset("task_struct", "nobody_has_this"), None);
        assert_eq!(btf.offset("nobody_has_this", "pid"), None);
    }

    #[test]
    fn what_is_no_type_information_is_refused() {
        assert!(Btf::parse(vec![]).is_none());
        assert!(Btf::parse(vec![0; 64]).is_none());
        let mut cut = std::fs::read(PATH).expect("a kernel with type information");
        cut.truncate(1000);
        assert!(Btf::parse(cut).is_none());
    }
}
