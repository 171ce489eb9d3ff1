//! The toxics of one direction of one connection, in a row. The row changes while bytes are in it.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::Bytes;

use super::Over;
use super::Pipe;
use crate::server::{Connection, Table};
use crate::toxic::{Direction, Ending, Out, Stage};

/// Bytes that may wait for the receiver before the last stage is held back.
const WAITING: usize = 256 << 10;

struct Link {
    name: String,
    /// Which version of the toxic this is.
    generation: u64,
    stage: Box<dyn Stage>,
    /// Whether the end of the stream has come in, and gone out.
    ended: (bool, bool),
    retired: bool,
}

/// What the receiver gets.
pub(super) enum Parcel {
    Bytes(Bytes),
    Pipe(Pipe),
}

impl Parcel {
    /// Makes bytes of it, for a receiver that is no socket.
    pub(super) fn read_pipe(&mut self) -> io::Result<()> {
        if let Self::Pipe(pipe) = self {
            *self = Self::Bytes(pipe.read_all()?.into());
        }
        Ok(())
    }
}

/// A row of stages, and what has come out of it.
#[derive(Default)]
pub(super) struct Chain {
    links: Vec<Link>,
    /// Past all toxics, for the receiver.
    pub(super) out: VecDeque<Parcel>,
    waiting: usize,
    source_ended: bool,
    /// The end of the stream has come out.
    pub(super) ended: bool,
    over: Option<Over>,
}

/// What the row waits for.
#[derive(Debug)]
pub(super) enum Waits {
    /// Nothing but bytes, or room at the receiver.
    Idle,
    /// A time.
    At(Duration),
    /// It is over, as soon as `out` is empty.
    Close,
    /// It is over at once.
    Reset,
}

impl Chain {
    /// Whether it does nothing any more, and holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.out.is_empty() && self.over.is_none() && !self.source_ended
    }

    /// Brings the row into line with the toxics of the proxy.
    pub(super) fn apply(&mut self, table: &Table, direction: Direction, connection: &Connection, now: Duration) {
        let wanted: Vec<_> = table.entries(direction).collect();
        for link in &mut self.links {
            let entry = wanted.iter().find(|entry| entry.spec.name == link.name);
            let Some(entry) = entry else {
                retire(link, &mut self.over, now);
                continue;
            };
            if link.retired || entry.generation == link.generation {
                continue;
            }
            link.generation = entry.generation;
            if !entry.applies(connection) || !link.stage.update(&entry.spec.toxic, now) {
                retire(link, &mut self.over, now);
            }
        }
        let mut at = 0;
        for entry in wanted {
            match self.links.iter().skip(at).position(|link| link.name == entry.spec.name && !link.retired) {
                Some(found) => at += found + 1,
                None if entry.applies(connection) => {
                    self.insert(
                        at,
                        Link {
                            name: entry.spec.name.clone(),
                            generation: entry.generation,
                            stage: entry.spec.toxic.stage(entry.seed(connection)),
                            ended: (false, false),
                            retired: false,
                        },
                    );
                    at += 1;
                }
                None => {}
            }
        }
    }

    fn insert(&mut self, at: usize, link: Link) {
        let at = at.min(self.links.len());
        // Behind the end of the stream there is nothing left to work on.
        let ended = if at == 0 { self.source_ended && self.links.first().is_none_or(|l| l.ended.0) } else { self.links[at - 1].ended.1 };
        if !ended {
            self.links.insert(at, link);
        }
    }

    /// Bytes that may be read into it now.
    pub(super) fn room(&self) -> usize {
        if self.source_ended || self.over.is_some() {
            return 0;
        }
        self.links.first().map_or(WAITING.saturating_sub(self.waiting), |link| link.stage.room())
    }

    pub(super) fn push(&mut self, bytes: Bytes, now: Duration) {
        match self.links.first_mut() {
            Some(link) => link.stage.push(bytes, now),
            None => self.emit(bytes),
        }
    }

    /// Whether it has one stage, which never looks at the bytes.
    pub(super) fn takes_pipes(&self) -> bool {
        self.links.len() == 1 && self.links[0].stage.takes_pipes()
    }

    /// Takes what is in the pipe in.
    pub(super) fn push_pipe(&mut self, pipe: Pipe, now: Duration) -> io::Result<()> {
        let Some(link) = self.links.first_mut() else {
            self.emit_pipe(pipe);
            return Ok(());
        };
        match link.stage.push_pipe(pipe, now) {
            Ok(()) => {}
            Err(mut pipe) => link.stage.push(pipe.read_all()?.into(), now),
        }
        Ok(())
    }

    /// The sender has closed its side.
    pub(super) fn end(&mut self, now: Duration) {
        self.source_ended = true;
        match self.links.first_mut() {
            Some(link) => {
                link.ended.0 = true;
                link.stage.end(now);
            }
            None => self.ended = true,
        }
    }

    /// So many bytes of the first waiting piece were written.
    pub(super) fn written(&mut self, count: usize) {
        self.waiting -= count.min(self.waiting);
        let done = match self.out.front_mut() {
            Some(Parcel::Bytes(bytes)) => {
                bytes::Buf::advance(bytes, count);
                bytes.is_empty()
            }
            Some(Parcel::Pipe(pipe)) => pipe.held() == 0,
            None => false,
        };
        if done {
            self.out.pop_front();
        }
    }

    pub(super) fn take_over(&mut self) -> Option<Over> {
        self.over.take()
    }

    fn emit(&mut self, bytes: Bytes) {
        self.waiting += bytes.len();
        self.out.push_back(Parcel::Bytes(bytes));
    }

    fn emit_pipe(&mut self, pipe: Pipe) {
        self.waiting += pipe.held();
        self.out.push_back(Parcel::Pipe(pipe));
    }

    /// The pipe that a stage has announced goes on, as bytes if another stage comes next.
    fn pass_pipe(&mut self, i: usize, now: Duration) {
        let Some(mut pipe) = self.links[i].stage.take_pipe() else { return };
        match self.links.get_mut(i + 1) {
            None => self.emit_pipe(pipe),
            Some(receiver) => match pipe.read_all() {
                Ok(bytes) => receiver.stage.push(bytes.into(), now),
                // Bytes are missing: the connection cannot go on.
                Err(error) => self.over = Some(Over::Close(error.to_string())),
            },
        }
    }

    /// Moves everything as far as it goes now.
    pub(super) fn pump(&mut self, now: Duration) -> Waits {
        let mut next = None;
        loop {
            let mut moved = false;
            for i in (0..self.links.len()).rev() {
                let (more, at) = self.pump_link(i, now);
                moved |= more;
                next = match (next, at) {
                    (Some(a), Some(b)) => Some(Duration::min(a, b)),
                    (a, b) => a.or(b),
                };
            }
            match self.over {
                Some(Over::Close(_)) => return Waits::Close,
                Some(Over::Reset(_)) => return Waits::Reset,
                None if moved => next = None,
                None => break,
            }
        }
        next.map_or(Waits::Idle, Waits::At)
    }

    /// Whether something moved, and the time that the stage waits for.
    fn pump_link(&mut self, i: usize, now: Duration) -> (bool, Option<Duration>) {
        let mut moved = false;
        loop {
            let room = self.links.get(i + 1).map_or(WAITING.saturating_sub(self.waiting), |link| link.stage.room());
            let Some(link) = self.links.get_mut(i).filter(|_| room > 0) else { return (moved, None) };
            match link.stage.pull(now) {
                Out::Bytes(bytes) => match self.links.get_mut(i + 1) {
                    Some(receiver) => receiver.stage.push(bytes, now),
                    None => self.emit(bytes),
                },
                Out::Pipe => self.pass_pipe(i, now),
                Out::End => {
                    link.ended.1 = true;
                    match self.links.get_mut(i + 1) {
                        Some(receiver) => {
                            receiver.ended.0 = true;
                            receiver.stage.end(now);
                        }
                        None => self.ended = true,
                    }
                }
                Out::At(at) => return (moved, Some(at)),
                Out::Idle => {
                    if link.retired {
                        self.links.remove(i);
                    }
                    return (moved, None);
                }
                Out::Close => {
                    self.over = Some(Over::Close(link.name.clone()));
                    return (true, None);
                }
                Out::Reset => {
                    self.over = Some(Over::Reset(link.name.clone()));
                    return (true, None);
                }
            }
            moved = true;
        }
    }
}

fn retire(link: &mut Link, over: &mut Option<Over>, now: Duration) {
    if !std::mem::replace(&mut link.retired, true) && link.stage.retire(now) == Ending::Close {
        over.get_or_insert_with(|| Over::Close(format!("{} was removed", link.name)));
    }
}
