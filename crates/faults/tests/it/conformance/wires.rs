//! Two hosts with a line between them: what the faults on the network break.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use squall_engine::Target;
use squall_testkit::conformance::World;
use squall_testkit::net::{Family, Host, Lab};

/// How long an answer may take on a line that is whole. Nothing is judged by it that is slow alone.
const WHOLE: Duration = Duration::from_secs(5);
/// How long is waited for an answer that must not come.
const CUT: Duration = Duration::from_millis(300);
const PORT: u16 = 7777;

/// A host that is broken, and one that it talks to, which sends everything back.
pub struct Wire {
    here: Host,
    there: Host,
    args: Json,
    broken: fn(&Wire) -> Result<(), String>,
    before: String,
    end: Arc<AtomicBool>,
    _lab: Lab,
}

impl Wire {
    fn new(args: Json, broken: fn(&Wire) -> Result<(), String>) -> Self {
        let lab = Lab::new();
        let (here, there) = (lab.host("here"), lab.host("there"));
        let end = Arc::new(AtomicBool::new(false));
        for family in Family::BOTH {
            let at = there.socket(family, PORT);
            let (udp, tcp) = there.within(|| (UdpSocket::bind(at).expect("a socket"), TcpListener::bind(at).expect("a listener")));
            echo(udp, tcp, &end);
        }
        let mut args = args;
        args["scope"]["peers"] = json!([there.v4(), there.v6()]);
        let mut wire = Self { here, there, args, broken, before: String::new(), end, _lab: lab };
        wire.whole().expect("a whole line");
        wire.before = wire.look();
        wire
    }

    /// What is set on the network of the host, as the usual tools show it.
    fn look(&self) -> String {
        ["nft list ruleset", "tc qdisc show", "ip -o link", "ip -o addr", "ip rule", "ip route show table all"]
            .map(|line| self.here.run(line))
            .join("\n")
    }

    /// Sends a datagram and waits for it to come back: how long it took.
    fn round_trip(&self, family: Family, within: Duration) -> Option<Duration> {
        self.here.within(|| {
            let socket = UdpSocket::bind((family.unspecified(), 0)).expect("a socket");
            socket.set_read_timeout(Some(within)).expect("set");
            #[expect(clippy::disallowed_methods, reason = "the bench measures from outside")]
            let start = Instant::now();
            socket.send_to(b"there and back", self.there.socket(family, PORT)).ok()?;
            let mut buffer = [0; 64];
            let (length, _) = socket.recv_from(&mut buffer).ok()?;
            (buffer[..length] == *b"there and back").then(|| start.elapsed())
        })
    }

    /// Sends so many numbered datagrams of that size, and gives the numbers of those that come back, as they come.
    fn burst(&self, family: Family, count: u16, size: usize, within: Duration) -> Vec<u16> {
        self.here.within(|| {
            let socket = UdpSocket::bind((family.unspecified(), 0)).expect("a socket");
            socket.set_read_timeout(Some(within)).expect("set");
            for number in 0..count {
                let mut bytes = vec![0; size];
                bytes[..2].copy_from_slice(&number.to_be_bytes());
                socket.send_to(&bytes, self.there.socket(family, PORT)).expect("sent");
            }
            let mut buffer = [0; 2048];
            std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|_| u16::from_be_bytes([buffer[0], buffer[1]]))).collect()
        })
    }

    /// A word by TCP and back.
    fn talk(&self, family: Family) -> Result<(), ErrorKind> {
        let to: SocketAddr = self.there.socket(family, PORT);
        self.here.within(|| {
            let mut stream = TcpStream::connect_timeout(&to, WHOLE).map_err(|e| e.kind())?;
            stream.set_read_timeout(Some(WHOLE)).expect("set");
            stream.write_all(b"word").map_err(|e| e.kind())?;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).map_err(|e| e.kind())?;
            if answer == *b"word" { Ok(()) } else { Err(ErrorKind::InvalidData) }
        })
    }

    fn whole(&self) -> Result<(), String> {
        for family in Family::BOTH {
            self.round_trip(family, WHOLE).ok_or_else(|| format!("{family:?}: no datagram comes back"))?;
            self.talk(family).map_err(|error| format!("{family:?}: TCP: {error}"))?;
        }
        Ok(())
    }

    pub fn slow() -> Self {
        Self::new(json!({ "delay": "120ms" }), |wire| {
            each(|family| match wire.round_trip(family, WHOLE) {
                Some(took) if took >= Duration::from_millis(119) => Ok(()),
                took => Err(format!("a round trip takes {took:?}")),
            })
        })
    }

    fn silent(&self) -> Result<(), String> {
        each(|family| self.round_trip(family, CUT).map_or(Ok(()), |took| Err(format!("answered after {took:?}"))))
    }

    pub fn lossy() -> Self {
        Self::new(json!({ "percent": "100%" }), Self::silent)
    }

    pub fn lossy_in_bursts() -> Self {
        Self::new(json!({ "bursts": { "enter": "100%", "leave": "0.001%" } }), |wire| {
            each(|family| {
                let back = wire.burst(family, 100, 32, CUT).len();
                if back < 20 { Ok(()) } else { Err(format!("{back} of 100 came back")) }
            })
        })
    }

    pub fn cut() -> Self {
        Self::new(json!({}), Self::silent)
    }

    pub fn doubled() -> Self {
        Self::new(json!({ "percent": "100%" }), |wire| {
            each(|family| {
                let back = wire.burst(family, 10, 32, CUT).len();
                // Where two faults do it, each packet comes four times.
                if back == 20 || back == 40 { Ok(()) } else { Err(format!("{back} of 10 came back")) }
            })
        })
    }

    pub fn garbled() -> Self {
        Self::new(json!({ "percent": "100%" }), |wire| {
            each(|family| {
                // A flipped bit of a port or length is as good as one of the checksum or the data: it does not come back as it was.
                let answered = (0..5).filter(|_| wire.round_trip(family, CUT / 3).is_some()).count();
                // Two faults may flip the same bit back.
                if answered <= 1 { Ok(()) } else { Err(format!("{answered} of 5 came back as they were")) }
            })
        })
    }

    pub fn shuffled() -> Self {
        Self::new(json!({ "percent": "30%", "delay": "50ms" }), |wire| {
            each(|family| {
                let back = wire.burst(family, 50, 32, CUT);
                if back.len() == 50 && !back.is_sorted() { Ok(()) } else { Err(format!("came back as {back:?}")) }
            })
        })
    }

    pub fn narrow() -> Self {
        Self::new(json!({ "rate": "400kbit/s" }), |wire| {
            each(|family| {
                #[expect(clippy::disallowed_methods, reason = "the bench measures from outside")]
                let start = Instant::now();
                let back = wire.burst(family, 50, 1000, CUT * 2).len();
                // 50 packets of 1028 bytes at 50,000 bytes/s are 1 s.
                let took = start.elapsed().saturating_sub(CUT * 2);
                if took > Duration::from_millis(700) { Ok(()) } else { Err(format!("{back} of 50 were back within {took:?}")) }
            })
        })
    }

    /// To somebody on this side who answers otherwise.
    pub fn led_elsewhere() -> Self {
        let args = json!({ "to": PORT + 1, "scope": { "remotePorts": [PORT] } });
        let wire = Self::new(args, |wire| {
            each(|family| match wire.talk(family) {
                Err(ErrorKind::InvalidData) => Ok(()),
                other => Err(format!("TCP: {other:?}")),
            })
        });
        let other = wire.here.within(|| TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, PORT + 1)).expect("a listener"));
        other.set_nonblocking(true).expect("set");
        let ended = Arc::clone(&wire.end);
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                match other.accept() {
                    Ok((mut stream, _)) => drop(stream.write_all(b"oh!!")),
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        wire
    }

    pub fn refusing() -> Self {
        Self::new(json!({}), |wire| {
            each(|family| match wire.talk(family) {
                Err(ErrorKind::ConnectionRefused) => Ok(()),
                other => Err(format!("TCP: {other:?}")),
            })
        })
    }

    pub fn resetting() -> Self {
        Self::new(json!({}), |wire| {
            each(|family| match wire.talk(family) {
                Err(ErrorKind::ConnectionReset) => Ok(()),
                other => Err(format!("TCP: {other:?}")),
            })
        })
    }
}

/// Over IPv4 and IPv6.
fn each(check: impl Fn(Family) -> Result<(), String>) -> Result<(), String> {
    Family::BOTH.into_iter().try_for_each(|family| check(family).map_err(|error| format!("{family:?}: {error}")))
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
    }
}

/// Sends everything back, by UDP and TCP, until the end.
fn echo(udp: UdpSocket, tcp: TcpListener, end: &Arc<AtomicBool>) {
    udp.set_read_timeout(Some(CUT)).expect("set");
    let ended = Arc::clone(end);
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while !ended.load(Ordering::Relaxed) {
            if let Ok((length, from)) = udp.recv_from(&mut buffer) {
                let _ = udp.send_to(&buffer[..length], from);
            }
        }
    });
    tcp.set_nonblocking(true).expect("set");
    let ended = Arc::clone(end);
    std::thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            let Ok((mut stream, _)) = tcp.accept() else {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            };
            let _ = stream.set_nonblocking(false);
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(WHOLE));
                let mut buffer = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                }
            });
        }
    });
}

impl World for Wire {
    fn target(&self) -> Target {
        let namespace = self.here.namespace();
        Target {
            kind: "namespace".into(),
            id: format!("namespace:{}", namespace.inode),
            label: format!("namespace {}", self.here.name_of_namespace()),
            facts: json!({ "namespace": namespace }),
        }
    }

    fn args(&self) -> Json {
        self.args.clone()
    }

    fn untouched(&self) -> Result<(), String> {
        let now = self.look();
        if now == self.before { self.whole() } else { Err(format!("it was\n{}\nand is\n{now}", self.before)) }
    }

    fn broken(&self) -> Result<(), String> {
        (self.broken)(self)
    }

    fn restored(&self) -> Result<(), String> {
        self.untouched()
    }
}
