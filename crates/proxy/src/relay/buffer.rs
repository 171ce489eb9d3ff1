//! One read buffer a thread, so that a connection that waits holds none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::ReadBuf;
use tokio_util::io::poll_read_buf;

use crate::socket::End;

/// Bytes that one read may take. Four full ones in a row are a bulk transfer.
pub(super) const SIZE: usize = 64 << 10;

/// A read of at least so much keeps its part of the buffer; a smaller one is copied out of it.
const KEPT: usize = SIZE / 4;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SIZE].into_boxed_slice());
    static BLOCK: RefCell<BytesMut> = RefCell::new(BytesMut::new());
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
    BLOCK.with_borrow_mut(|block| {
        if block.capacity() < SIZE {
            // Several reads share a block, which lives as long as any of them.
            *block = BytesMut::with_capacity(4 * SIZE);
        }
        let count = ready!(poll_read_buf(Pin::new(end), cx, block))?;
        Poll::Ready(Ok(if count >= KEPT {
            block.split_to(count).freeze()
        } else {
            let bytes = Bytes::copy_from_slice(block);
            block.clear();
            bytes
        }))
    })
}
