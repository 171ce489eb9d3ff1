//! TCP: how long a connection takes, and how much goes through it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use squall_sys::cpu_time::monotonic;

use crate::net::{Family, Host};

/// Opens a connection from a host, and says how long that took.
pub fn connect(from: &Host, to: SocketAddr, limit: Duration) -> io::Result<(TcpStream, Duration)> {
    from.within(|| {
        let begin = monotonic();
        let stream = TcpStream::connect_timeout(&to, limit)?;
        Ok((stream, monotonic() - begin))
    })
}

/// As much as goes through one connection.
#[derive(Debug, Clone, Copy)]
pub struct Bulk {
    /// How long.
    pub lasting: Duration,
}

impl Bulk {
    /// Bytes of payload a second that arrive.
    pub fn run(&self, from: &Host, to: &Host, family: Family) -> f64 {
        let listener = to.within(|| TcpListener::bind(to.socket(family, 0)).expect("a listener"));
        let address = listener.local_addr().expect("bound");
        std::thread::scope(|scope| {
            let counted = scope.spawn(move || {
                let (mut stream, _) = listener.accept().expect("a connection");
                let (begin, mut bytes, mut buffer) = (monotonic(), 0_usize, vec![0; 1 << 16]);
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    bytes += length;
                }
                bytes as f64 / (monotonic() - begin).as_secs_f64()
            });
            let (mut stream, _) = connect(from, address, Duration::from_secs(20)).expect("connects");
            // A send that blocks is not to outlast the time.
            stream.set_write_timeout(Some(Duration::from_millis(100))).expect("a time limit");
            let (end, payload) = (monotonic() + self.lasting, vec![0x5a; 1 << 16]);
            while monotonic() < end {
                match stream.write(&payload) {
                    Ok(_) => {}
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                    Err(error) => panic!("the connection broke: {error}"),
                }
            }
            drop(stream);
            counted.join().expect("counts")
        })
    }
}
