//! Queries by hand, for what `dig` cannot do: sockets that are kept, pipelines, and what is no DNS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use squall_testkit::net::Host;

/// Longer than any answer takes here, faults apart.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A query for the addresses of a name: type A, recursion desired.
pub fn query(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a short label"));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
    bytes
}

/// Id, code and number of answers.
pub fn head(answer: &[u8]) -> (u16, u8, u16) {
    (u16::from_be_bytes([answer[0], answer[1]]), answer[3] & 15, u16::from_be_bytes([answer[6], answer[7]]))
}

/// A socket on a host that talks to one server only, and stays the same.
pub struct Kept(UdpSocket);

impl Kept {
    pub fn new(host: &Host, server: SocketAddr) -> Self {
        let socket = host.within(|| {
            let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).expect("bound");
            socket.connect(server).expect("connected");
            socket
        });
        Self(socket)
    }

    pub fn send(&self, bytes: &[u8]) {
        self.0.send(bytes).expect("sent");
    }

    /// Code and number of answers to one query; none if no answer comes in time.
    pub fn ask(&self, id: u16, name: &str) -> Option<(u8, u16)> {
        self.ask_within(id, name, ANSWER_WITHIN)
    }

    /// The same, with a limit of one's own.
    pub fn ask_within(&self, id: u16, name: &str, within: Duration) -> Option<(u8, u16)> {
        self.0.send(&query(id, name)).ok()?;
        self.answer(id, within)
    }

    fn answer(&self, id: u16, within: Duration) -> Option<(u8, u16)> {
        self.0.set_read_timeout(Some(within)).expect("set");
        let mut buffer = [0; 4096];
        loop {
            let length = self.0.recv(&mut buffer).ok()?;
            let (of, code, answers) = head(&buffer[..length]);
            if of == id {
                return Some((code, answers));
            }
        }
    }
}

/// A connection from a host.
pub fn connect(host: &Host, server: SocketAddr) -> TcpStream {
    let stream = host.within(|| TcpStream::connect(server).expect("connected"));
    stream.set_read_timeout(Some(ANSWER_WITHIN)).expect("set");
    stream
}

/// A message with its length before it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).expect("short").to_be_bytes()[..], message].concat()
}

/// The head of the next message.
pub fn next(stream: &mut TcpStream) -> std::io::Result<(u16, u8, u16)> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    Ok(head(&message))
}

/// Sends all of it.
pub fn put(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("sent");
    stream.flush().expect("sent");
}
