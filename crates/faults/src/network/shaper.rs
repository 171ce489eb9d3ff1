//! A line in user space: packets come from a queue of `nfnetlink_queue`, wait for what an [`Emulator`] decides, and go on.
//! netem's equal where the kernel has no `sch_netem`.
//!
//! # Where packets are held
//! One that is on its way in, or forwarded, waits in the kernel for its verdict. One that a local socket sends would count
//! against that socket's send buffer all the while: UDP would block after some 270 packets, and TCP would keep no more than a
//! millisecond's worth on the way (`tcp_small_queue_check`), so that 100 ms of delay would leave about 1 Mbit/s. netem orphans
//! such packets for this reason. A verdict cannot; so they are dropped at once, which nobody is told, and an identical packet is
//! sent when it is time ([`RawSender`]). Hence, for outgoing packets:
//! - The queue's chain stands before destination NAT (a priority below -100), so that what is sent again has the addresses that
//!   the application used, and is translated and filtered as it would have been.
//! - What is sent again has a mark that says which faults it has passed (see [`super::pass`]), and their chains let it pass.
//! - To later rules and BPF programs that ask for user, cgroup or socket mark, the sender is this process.
//! - What is longer than the interface's MTU (UDP datagrams before they are cut into fragments) waits in the kernel.
//!
//! Copies are sent the same way, those of incoming packets by the loopback interface with their own source address, where
//! the local socket takes them as any other.
//!
//! # Corruption
//! The kernel completes the checksum of a packet before it is queued, and takes a changed packet's for unverified. A flipped
//! bit therefore meets a checksum that says so, at the receiver's stack, as on a real line: UDP and TCP drop and count it
//! (`InCsumErrors`). On a bridge, veth or loopback as well.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use serde::{Deserialize, Serialize};
use squall_sys::cpu_time::monotonic;
use squall_sys::prompt::be_prompt;
use squall_sys::queue::{self, Inbox, MOST_COPIED, Queue, Settings};
use squall_sys::raw_packet::RawSender;
use squall_undo::Armed;

use super::Shape;
use super::emulate::{Counts, Emulator, Fate, Packet, Released};

/// Enough for every network header and the ports behind it.
const HEADERS: u16 = 128;
/// Packets that may wait to be read, beyond those that are held.
const UNREAD: u32 = 8192;
/// How long what is known of an interface is believed, and how often the kernel's counters are read.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// At the end: how long to go on letting packets pass that come in all the while.
const DRAIN_FOR: Duration = Duration::from_millis(100);

/// What has happened to packets so far. Written by the shaper's thread, read by any.
#[derive(Debug, Default)]
pub struct ShaperCounters([AtomicU64; 11]);

/// [`ShaperCounters`] at one moment. `seen + duplicated = lost + overLimit + held +` those that went on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShaperCount {
    /// Packets that came.
    pub seen: u64,
    /// Thrown away as lost.
    pub lost: u64,
    /// Held for longer than no time.
    pub delayed: u64,
    /// Copies made.
    pub duplicated: u64,
    /// With a bit flipped.
    pub corrupted: u64,
    /// Sent past others.
    pub reordered: u64,
    /// Dropped because too many were held.
    pub over_limit: u64,
    /// Held now.
    pub held: u64,
    /// Held at the most at any time.
    pub most_held: u64,
    /// Dropped by the kernel before they were seen, as this process did not keep up.
    pub kernel_dropped: u64,
    /// Due and not sent: refused by a later rule, too long for a copy, or the interface gone or full.
    pub unsent: u64,
}

impl ShaperCounters {
    /// All of them. Each is true; between two of them a packet may have come.
    pub fn read(&self) -> ShaperCount {
        let [seen, lost, delayed, duplicated, corrupted, reordered, over_limit, held, most_held, kernel_dropped, unsent] =
            std::array::from_fn(|index| self.0[index].load(Ordering::Relaxed));
        ShaperCount { seen, lost, delayed, duplicated, corrupted, reordered, over_limit, held, most_held, kernel_dropped, unsent }
    }

    fn set(&self, counts: Counts, kernel_dropped: u64, unsent: u64) {
        let c = counts;
        let from_emulator = [c.seen, c.lost, c.delayed, c.duplicated, c.corrupted, c.reordered, c.over_limit, c.held, c.most_held];
        for (counter, value) in self.0.iter().zip(from_emulator.into_iter().chain([kernel_dropped, unsent])) {
            counter.store(value, Ordering::Relaxed);
        }
    }
}

/// Binds the queue for a shape, in this thread's network namespace. What comes before [`run`] is at work waits for it.
pub fn open(armed: &Armed, number: u16, shape: &Shape) -> io::Result<Queue> {
    Queue::bind(armed, settings(number, shape))
}

/// How the queue must be bound for a shape.
fn settings(number: u16, shape: &Shape) -> Settings {
    let holds = shape.delay.is_some() || shape.rate.is_some();
    // What may be sent again must be known to its end.
    let whole = holds || shape.corrupt.is_some() || shape.duplicate.is_some();
    let held = if holds { shape.limit } else { 0 };
    Settings { number, length: held.saturating_add(UNREAD), copy: if whole { MOST_COPIED } else { HEADERS } }
}

/// Carries a shape on the calling thread, which must be in the network namespace of the queue, until `stop` is readable or
/// closed at its other end. Then everything that is held goes on at once. By then no rule should feed the queue any more, but the
/// chain still be there ([`squall_sys::nft::Owned::disarm`]): when a chain is taken from its hook, this one or anybody's, the
/// kernel drops whatever waits in any queue of the namespace. What is sent from here has the mark that `passed` makes of the one
/// it came with.
pub fn run(
    armed: &Armed,
    queue: Queue,
    shape: &Shape,
    passed: &dyn Fn(u32) -> u32,
    stop: BorrowedFd<'_>,
    counters: &ShaperCounters,
) -> Result<(), String> {
    let sender = RawSender::open(armed).map_err(|e| format!("a raw socket cannot be opened: {e}"))?;
    // Where it is refused, the fault is as exact as the host's load allows.
    let _ = be_prompt();
    let mut inbox = queue.inbox();
    let mut shaper = Shaper::new(armed, queue, sender, shape, passed, counters);
    loop {
        let more = shaper.take(&mut inbox)?;
        shaper.release(monotonic())?;
        shaper.publish();
        let wait = if more { Some(Duration::ZERO) } else { shaper.emulator.next_due().map(|due| due.saturating_sub(monotonic())) };
        if is_stopped(stop, &shaper.queue, wait).map_err(|e| format!("the shaper cannot wait: {e}"))? {
            break;
        }
    }
    shaper.let_go(&mut inbox)
}

/// Waits for a packet, or for so long. Whether it is to end.
fn is_stopped(stop: BorrowedFd<'_>, queue: &Queue, wait: Option<Duration>) -> io::Result<bool> {
    // Beyond what a `timespec` holds is for ever.
    let timeout = wait.and_then(|wait| wait.try_into().ok());
    let mut fds = [PollFd::new(&stop, PollFlags::IN), PollFd::new(queue, PollFlags::IN)];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => Ok(!fds[0].revents().is_empty()),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A packet of which something is still to leave.
#[derive(Debug)]
struct Slot {
    /// Its identity in the queue, while it waits there.
    queued: Option<u32>,
    /// All of it, where it is sent from here or changed.
    bytes: Vec<u8>,
    /// The one to send it by.
    interface: u32,
    /// The mark to send it with.
    mark: u32,
    /// The mark that one has to have which goes on in the kernel: what this host sends may meet the faults again.
    passes: Option<u32>,
    /// How often it is still to leave.
    left: u8,
}

/// The loop's state.
struct Shaper<'a> {
    armed: &'a Armed,
    queue: Queue,
    sender: RawSender,
    passed: &'a dyn Fn(u32) -> u32,
    emulator: Emulator,
    counters: &'a ShaperCounters,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// MTUs, and when they were read.
    links: HashMap<u32, (Option<u32>, Duration)>,
    /// Whether a verdict waits to be sent that must not be overtaken.
    pending: bool,
    unsent: u64,
    dropped: u64,
    looked: Duration,
}

impl<'a> Shaper<'a> {
    fn new(
        armed: &'a Armed,
        queue: Queue,
        sender: RawSender,
        shape: &Shape,
        passed: &'a dyn Fn(u32) -> u32,
        counters: &'a ShaperCounters,
    ) -> Self {
        let emulator = Emulator::new(shape);
        let (slots, free, links) = (Vec::new(), Vec::new(), HashMap::new());
        let looked = Duration::ZERO;
        Self { armed, queue, sender, passed, emulator, counters, slots, free, links, pending: false, unsent: 0, dropped: 0, looked }
    }

    /// Takes what has come. Whether there may be more.
    fn take(&mut self, inbox: &mut Inbox) -> Result<bool, String> {
        let more = self.queue.receive(inbox).map_err(|e| format!("the queue cannot be read: {e}"))?;
        for packet in inbox.packets() {
            self.arrive(inbox.at, packet).map_err(verdict_failed)?;
        }
        Ok(more)
    }

    fn arrive(&mut self, now: Duration, packet: queue::Packet<'_>) -> io::Result<()> {
        let place = self.free.pop().unwrap_or(self.slots.len());
        let header = network_header(packet.payload);
        let fates = self.emulator.arrive(now, Packet { id: place as u64, length: packet.length, header });
        let leaves = |fate: Fate| matches!(fate, Fate::Leaves { .. });
        let left = u8::from(leaves(fates.original)) + u8::from(fates.copy.is_some_and(leaves));
        if left == 0 {
            self.free_place(place);
            return self.queue.discard(self.armed, packet.id);
        }
        let interface = if packet.hook.is_local_output() { packet.leaves_by } else { 0 };
        let (mut queued, mut needs_bytes) = (Some(packet.id), fates.copy.is_some_and(leaves));
        match fates.original {
            Fate::Leaves { at, corrupt } => {
                needs_bytes |= corrupt.is_some();
                if at > now && packet.hook.is_local_output() && self.can_send(&packet) {
                    needs_bytes = true;
                    queued = None;
                    self.queue.discard(self.armed, packet.id)?;
                }
            }
            Fate::Lost | Fate::OverLimit => {
                queued = None;
                self.queue.discard(self.armed, packet.id)?;
            }
        }
        // One of more than 65531 bytes comes cut. It goes on whole; a copy of it cannot be sent.
        let is_whole = packet.payload.len() == packet.length as usize;
        let bytes = if needs_bytes && is_whole { packet.payload.to_vec() } else { Vec::new() };
        let mark = (self.passed)(packet.mark);
        let passes = packet.hook.is_local_output().then_some(mark);
        let slot = Slot { queued, bytes, interface, mark, passes, left };
        if place == self.slots.len() {
            self.slots.push(Some(slot));
        } else {
            self.slots[place] = Some(slot);
        }
        Ok(())
    }

    fn free_place(&mut self, place: usize) {
        if place < self.slots.len() {
            self.free.push(place);
        }
    }

    /// Whether an identical packet can be sent from here: all of it is known, and the interface takes it in one piece.
    fn can_send(&mut self, packet: &queue::Packet<'_>) -> bool {
        let now = monotonic();
        let (sender, interface) = (&mut self.sender, packet.leaves_by);
        let known = self.links.entry(interface).or_insert_with(|| (sender.mtu(interface), now));
        if now > known.1 + LOOK_EVERY {
            *known = (sender.mtu(interface), now);
        }
        packet.payload.len() == packet.length as usize && known.0.is_some_and(|mtu| packet.length <= mtu)
    }

    /// Lets go what is due.
    fn release(&mut self, now: Duration) -> Result<(), String> {
        loop {
            let next = self.emulator.due(now).next();
            let Some(released) = next else { break };
            self.leave(released).map_err(verdict_failed)?;
        }
        self.flush().map_err(verdict_failed)
    }

    fn leave(&mut self, released: Released) -> io::Result<()> {
        let Ok(place) = usize::try_from(released.id) else { return Ok(()) };
        let Some(mut slot) = self.slots.get_mut(place).and_then(Option::take) else { return Ok(()) };
        flip(&mut slot.bytes, released.corrupt);
        if let Some(id) = slot.queued.filter(|_| !released.copy) {
            self.pending = true;
            match released.corrupt.filter(|_| !slot.bytes.is_empty()) {
                Some(_) => self.queue.accept_as(self.armed, id, slot.passes, &slot.bytes)?,
                None => self.queue.accept(self.armed, id, slot.passes)?,
            }
        } else {
            // In the order in which they leave.
            if self.pending {
                self.flush()?;
            }
            self.unsent += u64::from(self.sender.send(self.armed, &slot.bytes, slot.interface, slot.mark).is_err());
        }
        slot.left -= 1;
        if slot.left == 0 {
            self.free_place(place);
        } else {
            // The other one is not changed by what happened to this.
            flip(&mut slot.bytes, released.corrupt);
            self.slots[place] = Some(slot);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pending = false;
        self.queue.flush(self.armed)
    }

    fn publish(&mut self) {
        let now = monotonic();
        if now > self.looked + LOOK_EVERY {
            self.looked = now;
            self.count_drops();
        }
        self.counters.set(self.emulator.counts(), self.dropped, self.unsent);
    }

    fn count_drops(&mut self) {
        // What cannot be read now is read later; the kernel's counters only grow.
        if let Ok(drops) = queue::drops(self.queue.settings().number) {
            self.dropped = drops.full + drops.unread;
        }
    }

    /// Everything that is held goes on now, and whatever still waits in the queue, untouched.
    fn let_go(&mut self, inbox: &mut Inbox) -> Result<(), String> {
        self.release(Duration::MAX)?;
        let end = monotonic() + DRAIN_FOR;
        loop {
            let more = self.queue.receive(inbox).map_err(|e| format!("the queue cannot be read: {e}"))?;
            let mut any = false;
            for packet in inbox.packets() {
                any = true;
                self.queue.accept(self.armed, packet.id, None).map_err(verdict_failed)?;
            }
            self.flush().map_err(verdict_failed)?;
            if !more && !any || monotonic() > end {
                break;
            }
        }
        self.count_drops();
        self.counters.set(self.emulator.counts(), self.dropped, self.unsent);
        Ok(())
    }
}

fn verdict_failed(error: io::Error) -> String {
    format!("verdicts cannot be given: {error}")
}

/// Length of a packet's network header in bytes: IPv4 with its options, IPv6 without extension headers.
fn network_header(payload: &[u8]) -> u32 {
    match payload.first() {
        Some(first) if first >> 4 == 4 => u32::from(first & 15) * 4,
        _ => 40,
    }
}

/// Flips a bit; twice is not at all.
fn flip(bytes: &mut [u8], bit: Option<u32>) {
    let Some(bit) = bit else { return };
    if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|index| bytes.get_mut(index)) {
        *byte ^= 0x80 >> (bit % 8);
    }
}
