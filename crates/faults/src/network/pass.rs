//! How a packet passes several faults, each once.
//!
//! A carrier that holds a packet of a local socket drops it and later sends an equal one (see [`super::shaper`]), which meets all
//! tables of the namespace again. Its mark says which of them it has passed: [`PASS_MARK`] and a bit for each. A carrier has its
//! bit for as long as it lives, by the name of a socket (`unix(7)`, abstract names belong to the network namespace).
//!
//! To later rules such a packet is the carrier's, and no longer its sender's. So a carrier that starts later, on the same
//! owner's packets, also takes those with the bits of the ones before it.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use squall_engine::marks::PASS_MARK;
use squall_sys::nft::Expression;

use super::owner::Owner;

/// The bits, and so the faults that can hold packets of one namespace at the same time. Those between are kube-proxy's (14 and 15),
/// and others'.
const BITS: [u32; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23];
/// The part of a mark that says that it is one of these.
const PREFIX: u32 = 0xff00_0000;

/// A bit that is this carrier's.
#[derive(Debug)]
pub(super) struct PassBit {
    bit: u32,
    before: Vec<u32>,
    _names: [UnixDatagram; 2],
}

impl PassBit {
    /// Takes a free one, in the namespace of the calling thread.
    pub(super) fn take(owner: &Owner) -> io::Result<Self> {
        let before = others(owner)?;
        let name = |text: String| UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(text)?);
        for bit in BITS {
            match name(format!("squall-pass-{bit}")) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                taken => {
                    let names = [taken?, name(format!("{}{bit}", name_of(owner)))?];
                    return Ok(Self { bit, before, _names: names });
                }
            }
        }
        Err(io::Error::other(format!("{} faults hold packets of this network namespace already", BITS.len())))
    }

    /// The mark of a packet that has passed this one too; `mark` is what it came with.
    pub(super) fn passed(&self, mark: u32) -> u32 {
        let others = if mark & PREFIX == PASS_MARK { mark } else { PASS_MARK };
        others | 1 << self.bit
    }

    /// A packet has passed this one.
    pub(super) fn has_passed(&self) -> Expression {
        has_bit(self.bit)
    }

    /// A packet is the owner's, though it is another carrier that sends it: a condition for each.
    pub(super) fn sent_on(&self) -> Vec<Expression> {
        self.before.iter().map(|bit| has_bit(*bit)).collect()
    }
}

fn has_bit(bit: u32) -> Expression {
    Expression::MarkBits { mask: PREFIX | 1 << bit, value: PASS_MARK | 1 << bit }
}

fn name_of(owner: &Owner) -> String {
    let text = serde_json::to_string(owner).unwrap_or_default();
    format!("squall-passes-{:06x}-", super::job::number_of(&text))
}

/// Bits of carriers on the same owner's packets.
fn others(owner: &Owner) -> io::Result<Vec<u32>> {
    // Everybody's packets are told by their addresses, whoever sends them.
    if matches!(owner, Owner::Everything) {
        return Ok(Vec::new());
    }
    // Abstract names have an @ for the zero that they begin with.
    let name = format!("@{}", name_of(owner));
    let text = std::fs::read_to_string("/proc/thread-self/net/unix")?;
    Ok(text.lines().filter_map(|line| line.split_whitespace().nth(7)?.strip_prefix(&name)?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carriers_have_different_bits_and_know_those_before_them_on_the_same_packets() {
        let owner = Owner::User(4_000_000_000);
        let first = PassBit::take(&owner).expect("a bit");
        let second = PassBit::take(&owner).expect("another");
        assert_ne!(first.bit, second.bit);
        assert_eq!(second.before, [first.bit]);
        assert!(PassBit::take(&Owner::Everything).expect("a third").before.is_empty());
        let mark = second.passed(first.passed(7));
        assert_eq!(mark, PASS_MARK | 1 << first.bit | 1 << second.bit);
        drop(first);
        assert!(PassBit::take(&owner).expect("again").before.contains(&second.bit));
    }
}
