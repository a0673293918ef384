//! Connections: accepts them, speaks HTTP/1.1 on them, and spoils them where a fault asks for it.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::engine::Engine;
use crate::server;

/// The first byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// A fatal TLS alert, `handshake_failure`, which is all the TLS that is spoken here.
const TLS_ALERT: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28];
/// How long answers under way may take once the emulator is asked to stop.
const GRACE: Duration = Duration::from_secs(2);
/// How long the last bytes may take where no answer is under way. Connections on which nobody ever
/// asked anything do not close by themselves.
const IDLE_GRACE: Duration = Duration::from_millis(50);
/// A pause after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until asked to stop.
pub(crate) async fn serve(
    listener: TcpListener,
    engine: Arc<Engine>,
    mut stop: oneshot::Receiver<()>,
) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let under_way = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _stopped = &mut stop => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (engine, under_way) = (Arc::clone(&engine), Arc::clone(&under_way));
        let watcher = graceful.watcher();
        connections.spawn(async move {
            if let Some(stream) = without_tls(stream).await {
                let line = Arc::new(Line::default());
                let answering = Arc::clone(&line);
                let service = service_fn(move |request| {
                    let (engine, line) = (Arc::clone(&engine), Arc::clone(&answering));
                    let under_way = UnderWay::begin(&under_way);
                    async move {
                        let answer = server::answer(engine, line, request).await;
                        drop(under_way);
                        answer
                    }
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
    let busy = under_way.load(Ordering::Acquire) > 0;
    let grace = if busy { GRACE } else { IDLE_GRACE };
    let _grace = tokio::time::timeout(grace, graceful.shutdown()).await;
    // Whoever comes back on a connection kept open finds it closed.
    connections.shutdown().await;
}

/// Counts an answer while it is under way.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
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
