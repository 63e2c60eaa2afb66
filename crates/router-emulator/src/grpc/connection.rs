//! A connection of HTTP/2. Its faults are those of HTTP/1.1, and each strikes all its calls.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::dispatch::serve;
use crate::faults::{ConnectionFault, FaultSwitch};
use crate::server::listener::{Accepted, GARBAGE};

/// Serves one connection until it, the server or a fault ends it.
pub(crate) async fn run(accepted: Accepted) {
    let Accepted { server, stream, mut listen, crashes, stop } = accepted;
    let switch = FaultSwitch::default();
    let stream = SwitchedStream { stream, switch: switch.clone() };
    let service = {
        let switch = switch.clone();
        service_fn(move |request| serve(server.clone(), switch.clone(), request))
    };
    // SGLang's server has no limit of its own on the calls of a connection.
    let mut conn = pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(None)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut closing = pin!(switch.closing());
    let mut is_closing = false;
    loop {
        tokio::select! {
            // First, so that what was sent before a fault is written before it strikes.
            biased;
            _ = &mut conn => break,
            () = switch.struck() => break,
            _ = listen.wait_for(|listen| listen.crashes > crashes) => {
                switch.set(ConnectionFault::Reset);
                break;
            }
            () = stop.cancelled() => break,
            () = &mut closing, if !is_closing => {
                is_closing = true;
                conn.as_mut().graceful_shutdown();
            }
        }
    }
}

/// A socket that ends as its fault says, since hyper keeps it to the end of an HTTP/2 connection.
#[derive(Debug)]
struct SwitchedStream {
    stream: TcpStream,
    switch: FaultSwitch,
}

impl Drop for SwitchedStream {
    fn drop(&mut self) {
        match self.switch.get() {
            // Dropping a socket with zero linger sends RST.
            Some(ConnectionFault::Reset) => {
                let _ = self.stream.set_zero_linger();
            }
            Some(ConnectionFault::Garbage) => {
                let _ = self.stream.try_write(GARBAGE);
            }
            Some(ConnectionFault::Close) | None => {}
        }
    }
}

impl AsyncRead for SwitchedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for SwitchedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
