//! What connections come in by.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::tls::Certificates;
#[cfg(unix)]
use super::unix::UnixSocket;

/// A socket that is listened on, and whether TLS is spoken there.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    certificates: Option<Certificates>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixSocket),
}

/// One connection, whichever way it came.
#[cfg(unix)]
pub(super) type Stream = tokio_util::either::Either<TcpStream, tokio::net::UnixStream>;
/// One connection.
#[cfg(not(unix))]
pub(super) type Stream = TcpStream;

// === impl Listener ===

impl Listener {
    /// A socket at `address`.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // So that a restart need not wait for what is left of old connections; elsewhere than on Unix it would let two listen.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG).map(Self::from)
    }

    /// A Unix socket at `path`, for the programs of our user and group. The file is removed when this is dropped.
    ///
    /// # Errors
    /// `AddrInUse` where another program listens there, `AlreadyExists` where the file is no socket, and what the system says.
    #[cfg(unix)]
    pub async fn bind_unix(path: &std::path::Path) -> io::Result<Self> {
        Ok(Self { socket: Socket::Unix(UnixSocket::bind(path).await?), certificates: None })
    }

    /// Has it speak TLS with what `certificates` holds at the time of each connection.
    #[must_use]
    pub fn with_tls(self, certificates: Certificates) -> Self {
        Self { certificates: Some(certificates), ..self }
    }

    /// What to connect to, with the real port: `https://127.0.0.1:8470`, or `unix:/run/sluice.sock`.
    ///
    /// # Errors
    /// Where the system does not know.
    pub fn url(&self) -> io::Result<String> {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        match &self.socket {
            Socket::Tcp(socket) => Ok(format!("{scheme}://{}", socket.local_addr()?)),
            #[cfg(unix)]
            Socket::Unix(socket) => Ok(format!("unix:{}", socket.path().display())),
        }
    }

    /// The next connection, and whom it comes from: who comes by a Unix socket is on this machine.
    ///
    /// Dropping the future loses no connection.
    pub(super) async fn accept(&self) -> io::Result<(Stream, IpAddr)> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                prepare(&stream);
                Ok((tcp(stream), peer.ip()))
            }
            #[cfg(unix)]
            Socket::Unix(socket) => {
                let stream = socket.accept().await?;
                Ok((Stream::Right(stream), std::net::Ipv4Addr::LOCALHOST.into()))
            }
        }
    }

    pub(super) fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self { socket: Socket::Tcp(socket), certificates: None }
    }
}

#[cfg(unix)]
fn tcp(stream: TcpStream) -> Stream {
    Stream::Left(stream)
}

#[cfg(not(unix))]
fn tcp(stream: TcpStream) -> Stream {
    stream
}

fn prepare(stream: &TcpStream) {
    // Small answers and the tail of a body must not wait for an acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a socket option could not be set");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT) {
        tracing::debug!(%error, "a socket option could not be set");
    }
}

/// Bytes that the system keeps for a connection beyond what is under way to the client. By itself it keeps up to 4 MiB for
/// one that reads nothing, and what is written would say little of what is taken. Chosen: what 1 Gbit/s takes in 2 ms, in
/// which a task is woken.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 256 * 1024;
/// Connections that wait to be accepted. As many as Linux allows by default (`net.core.somaxconn`): where they are more, a viewer's
/// is dropped with those of a flood, and tries again after a second (RFC 6298 §2.1).
const BACKLOG: u32 = 4096;
