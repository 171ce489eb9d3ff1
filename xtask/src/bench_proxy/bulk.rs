//! Bytes as fast as they come: how many, and when.

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::backend::BULK;
use crate::shell;

/// Bits a second, from the source to here, over so many connections, into so much memory for each.
pub fn rate(address: SocketAddr, streams: usize, into: usize, warm: f64, seconds: f64) -> Result<f64> {
    let bytes = Arc::new(AtomicU64::new(0));
    let stopped = Arc::new(AtomicBool::new(false));
    let mut open = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..streams {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        open.push(stream.try_clone()?);
        let (bytes, stopped) = (bytes.clone(), stopped.clone());
        readers.push(std::thread::spawn(move || -> std::io::Result<()> {
            let mut memory = vec![0; into];
            let mut at = 0;
            loop {
                let piece = &mut memory[at..];
                let most = piece.len().min(BULK);
                match stream.read(&mut piece[..most]) {
                    _ if stopped.load(Ordering::Relaxed) => return Ok(()),
                    Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                    Ok(count) => {
                        at = (at + count) % into;
                        bytes.fetch_add(count as u64, Ordering::Relaxed)
                    }
                    Err(error) => return Err(error),
                };
            }
        }));
    }
    std::thread::sleep(Duration::from_secs_f64(warm));
    let (from, before) = (shell::now(), bytes.load(Ordering::Relaxed));
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let (to, after) = (shell::now(), bytes.load(Ordering::Relaxed));
    stopped.store(true, Ordering::Relaxed);
    for stream in open {
        // One that the other side has closed already says so: its reader tells below.
        let _ = stream.shutdown(Shutdown::Both);
    }
    for reader in readers {
        reader.join().ok().context("a reader ended early")??;
    }
    Ok((after - before) as f64 * 8.0 / (to - from))
}

/// Whole tenths of a second.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few seconds, from a start that lies before")]
fn tenths(seconds: f64) -> usize {
    (seconds * 10.0 + 1e-9) as usize
}

/// When bytes came on one connection.
pub struct Arrival {
    /// Bytes a second over the whole time.
    pub rate: f64,
    /// Bytes in each 100 ms.
    pub bins: Vec<u64>,
}

/// Reads for so many seconds, from the connect on.
pub fn arrivals(address: SocketAddr, seconds: f64) -> Result<Arrival> {
    let mut stream = TcpStream::connect(address)?;
    let start = shell::now();
    let mut bins = vec![0_u64; tenths(seconds)];
    let mut buffer = vec![0; BULK];
    loop {
        let left = start + seconds - shell::now();
        if left <= 0.0 {
            break;
        }
        stream.set_read_timeout(Some(Duration::from_secs_f64(left.max(1e-4))))?;
        match stream.read(&mut buffer) {
            Ok(0) => anyhow::bail!("the source ended"),
            Ok(count) => {
                let bin = tenths(shell::now() - start);
                if let Some(bin) = bins.get_mut(bin) {
                    *bin += count as u64;
                }
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let rate = bins.iter().sum::<u64>() as f64 / seconds;
    Ok(Arrival { rate, bins })
}
