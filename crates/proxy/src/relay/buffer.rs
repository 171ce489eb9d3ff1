//! Read buffers: one a thread for bytes that go on at once, so that a connection that waits holds none, and blocks from a pool
//! for bytes that toxics keep.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use memmap2::MmapMut;
use tokio::io::ReadBuf;

use crate::socket::End;

/// Bytes that one read may take. Four full ones in a row are a bulk transfer.
pub(super) const SIZE: usize = 64 << 10;

/// A block to keep bytes in: a mapping of its own, so that the kernel has it back the moment it is freed. A read that fills less than half of it is copied out.
const BLOCK: usize = 128 << 10;
/// Free blocks that are kept while bulk goes through its toxics: memory fresh from the kernel costs more than the read
/// that fills it.
const POOLED: usize = 4096;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SIZE].into_boxed_slice());
}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: Vec::new(), unused: 0 });

struct Pool {
    free: Vec<MmapMut>,
    /// Blocks that nobody needed since the last look.
    unused: usize,
}

/// The filled part of a block, which goes back to the pool with the last of its bytes.
struct Filled {
    /// Only taken on the way back to the pool.
    block: Option<MmapMut>,
    count: usize,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.block.as_deref().map_or(&[], |block| &block[..self.count])
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            give_back(block);
        }
    }
}

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take_block() -> io::Result<MmapMut> {
    let pooled = {
        let mut pool = pool();
        let block = pool.free.pop();
        pool.unused = pool.unused.min(pool.free.len());
        block
    };
    pooled.map_or_else(|| MmapMut::map_anon(BLOCK), Ok)
}

fn give_back(block: MmapMut) {
    let mut pool = pool();
    if pool.free.len() < POOLED {
        pool.free.push(block);
    }
}

/// Frees what nobody needed since the last call. To be called now and then.
pub(crate) fn shrink() {
    let mut pool = pool();
    let kept = pool.free.len() - pool.unused.min(pool.free.len());
    let freed = pool.free.split_off(kept);
    pool.unused = kept;
    drop(pool);
    drop(freed);
}

/// Lets `use_it` have the thread's buffer with what was read into it. Zero bytes are the end of the stream.
pub(super) fn poll_read_with<E: End, T>(
    end: &mut E,
    cx: &mut Context<'_>,
    use_it: impl FnOnce(&[u8], &mut Context<'_>) -> T,
) -> Poll<io::Result<T>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut read = ReadBuf::new(buffer);
        ready!(Pin::new(end).poll_read(cx, &mut read))?;
        Poll::Ready(Ok(use_it(read.filled(), cx)))
    })
}

/// Reads bytes to keep. None are the end of the stream.
pub(super) fn poll_read<E: End>(end: &mut E, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    let mut block = take_block()?;
    let mut read = ReadBuf::new(&mut block);
    let result = Pin::new(end).poll_read(cx, &mut read);
    let count = read.filled().len();
    if !matches!(result, Poll::Ready(Ok(()))) || count < BLOCK / 2 {
        let bytes = Bytes::copy_from_slice(&block[..count]);
        give_back(block);
        return result.map_ok(|()| bytes);
    }
    Poll::Ready(Ok(Bytes::from_owner(Filled { block: Some(block), count })))
}
