//! Connections: accepts them, speaks HTTP/1.1 on them, and spoils them where a fault asks for it.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::server;

/// The first byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// A fatal TLS alert, `handshake_failure`, which is all the TLS that is spoken here.
const TLS_ALERT: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28];
/// How long answers under way may take once the emulator is asked to stop.
const GRACE: Duration = Duration::from_secs(2);
/// A pause after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until asked to stop.
pub(crate) async fn serve(
    listener: TcpListener,
    engine: Arc<Engine>,
    mut stop: oneshot::Receiver<()>,
) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _stopped = &mut stop => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let engine = Arc::clone(&engine);
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            if let Some(stream) = without_tls(stream).await {
                let line = Arc::new(Line::default());
                let answering = Arc::clone(&line);
                let service = service_fn(move |request| {
                    let (engine, line) = (Arc::clone(&engine), Arc::clone(&answering));
                    async move { server::answer(engine, line, request).await }
                });
                let io = TokioIo::new(Spoilable { stream, line });
                let connection =
                    http1::Builder::new().timer(TokioTimer::new()).serve_connection(io, service);
                // A connection that a fault cuts ends in an error; that is its purpose.
                let _ended = watcher.watch(connection).await;
            }
        });
    }
    drop(listener);
    let _grace = tokio::time::timeout(GRACE, graceful.shutdown()).await;
}

/// Answers a TLS handshake with an alert; anything else is let through.
async fn without_tls(mut stream: TcpStream) -> Option<TcpStream> {
    let mut first = [0; 1];
    let peeked = stream.peek(&mut first).await.ok()?;
    if peeked == 1 && first[0] == TLS_HANDSHAKE {
        let _told = stream.write_all(&TLS_ALERT).await;
        let _closed = stream.shutdown().await;
        return None;
    }
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

/// Closes the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault cuts the connection")]
pub(crate) struct Cut;

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// What a fault can do to the line itself.
#[derive(Debug, Default)]
pub(crate) struct Line {
    alert: AtomicBool,
}

impl Line {
    /// From now on a TLS alert goes out in place of what is written.
    pub(crate) fn answer_with_alert(&self) {
        self.alert.store(true, Ordering::Release);
    }
}

struct Spoilable {
    stream: TcpStream,
    line: Arc<Line>,
}

impl AsyncRead for Spoilable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Spoilable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.line.alert.load(Ordering::Acquire) {
            return Pin::new(&mut self.stream).poll_write(context, bytes);
        }
        ready!(Pin::new(&mut self.stream).poll_write(context, &TLS_ALERT))?;
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
