//! Putting BPF programs together (the instruction set of RFC 9669).

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// One instruction as the kernel takes it (`struct bpf_insn`): operation, registers, offset, immediate.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    operation: u8,
    /// Destination in the lower four bits, source in the upper.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// A register: 0 has results, 1 to 5 arguments, 6 to 9 outlive calls, 10 is the end of the stack.
pub(super) type Register = u8;

/// A program that is being put together. Jumps name their labels, which stand after them.
#[derive(Debug, Default)]
pub(super) struct Program {
    instructions: Vec<Instruction>,
    jumps: Vec<(usize, &'static str)>,
    labels: HashMap<&'static str, usize>,
}

/// Helpers of the kernel by number (`enum bpf_func_id`).
pub(super) mod helper {
    pub const MAP_LOOKUP: i32 = 1;
    pub const MAP_UPDATE: i32 = 2;
    pub const CURRENT_PID_TGID: i32 = 14;
    pub const CURRENT_UID_GID: i32 = 15;
    pub const READ_KERNEL: i32 = 113;
    pub const NETNS_COOKIE: i32 = 122;
}

impl Program {
    fn push(&mut self, operation: u8, to: Register, from: Register, offset: i16, immediate: i32) -> &mut Self {
        self.instructions.push(Instruction { operation, registers: to | from << 4, offset, immediate });
        self
    }

    /// `to = from`.
    pub fn copy(&mut self, to: Register, from: Register) -> &mut Self {
        self.push(0xbf, to, from, 0, 0)
    }

    /// `to = value`.
    pub fn set(&mut self, to: Register, value: i32) -> &mut Self {
        self.push(0xb7, to, 0, 0, value)
    }

    /// `to += value`.
    pub fn add(&mut self, to: Register, value: i32) -> &mut Self {
        self.push(0x07, to, 0, 0, value)
    }

    /// `to >>= bits`, without a sign.
    pub fn shift_right(&mut self, to: Register, bits: i32) -> &mut Self {
        self.push(0x77, to, 0, 0, bits)
    }

    /// `to = *(u32 *)(from + offset)`.
    pub fn load32(&mut self, to: Register, from: Register, offset: i16) -> &mut Self {
        self.push(0x61, to, from, offset, 0)
    }

    /// `to = *(u64 *)(from + offset)`.
    pub fn load64(&mut self, to: Register, from: Register, offset: i16) -> &mut Self {
        self.push(0x79, to, from, offset, 0)
    }

    /// `*(u32 *)(to + offset) = from`.
    pub fn store32(&mut self, to: Register, offset: i16, from: Register) -> &mut Self {
        self.push(0x63, to, from, offset, 0)
    }

    /// `*(u32 *)(to + offset) = value`.
    pub fn store32_value(&mut self, to: Register, offset: i16, value: i32) -> &mut Self {
        self.push(0x62, to, 0, offset, value)
    }

    /// `to =` the map.
    pub fn map(&mut self, to: Register, map: &impl AsFd) -> &mut Self {
        // BPF_LD_IMM64 takes two places; its source says that the number is a descriptor (BPF_PSEUDO_MAP_FD).
        self.push(0x18, to, 1, 0, map.as_fd().as_raw_fd()).push(0, 0, 0, 0, 0)
    }

    /// `to = value`, of 64 bits.
    pub fn set64(&mut self, to: Register, value: u64) -> &mut Self {
        let half = |shift: u32| u32::try_from(value >> shift & u64::from(u32::MAX)).unwrap_or_default().cast_signed();
        self.push(0x18, to, 0, 0, half(0)).push(0, 0, 0, 0, half(32))
    }

    /// Calls a helper.
    pub fn call(&mut self, helper: i32) -> &mut Self {
        self.push(0x85, 0, 0, 0, helper)
    }

    /// Goes on at the label if the register is this.
    pub fn jump_if(&mut self, register: Register, is: i32, label: &'static str) -> &mut Self {
        self.jumps.push((self.instructions.len(), label));
        self.push(0x15, register, 0, 0, is)
    }

    /// Goes on at the label if the register is not this.
    pub fn jump_unless(&mut self, register: Register, is: i32, label: &'static str) -> &mut Self {
        self.jumps.push((self.instructions.len(), label));
        self.push(0x55, register, 0, 0, is)
    }

    /// Goes on at the label if the registers differ.
    pub fn jump_unless_same(&mut self, register: Register, other: Register, label: &'static str) -> &mut Self {
        self.jumps.push((self.instructions.len(), label));
        self.push(0x5d, register, other, 0, 0)
    }

    /// The label stands here.
    pub fn label(&mut self, label: &'static str) -> &mut Self {
        self.labels.insert(label, self.instructions.len());
        self
    }

    /// Ends with what register 0 has.
    pub fn exit(&mut self) -> &mut Self {
        self.push(0x95, 0, 0, 0, 0)
    }

    /// The program with its jumps filled in.
    pub fn finish(mut self) -> io::Result<Vec<Instruction>> {
        for (at, label) in &self.jumps {
            let to = self.labels.get(label).ok_or_else(|| io::Error::other(format!("label {label} is nowhere")))?;
            // A jump is counted from the instruction after it.
            let distance = to.checked_sub(at + 1).ok_or_else(|| io::Error::other(format!("label {label} stands before its jump")))?;
            self.instructions[*at].offset = i16::try_from(distance).map_err(io::Error::other)?;
        }
        Ok(self.instructions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_lead_to_their_labels() {
        let mut program = Program::default();
        program.set(0, 1).jump_if(0, 1, "end").set(0, 2).label("end").exit();
        let instructions = program.finish().expect("put together");
        assert_eq!(instructions[1], Instruction { operation: 0x15, registers: 0, offset: 1, immediate: 1 });
        let mut wrong = Program::default();
        wrong.jump_if(0, 1, "nowhere").exit();
        assert!(wrong.finish().is_err());
    }
}
