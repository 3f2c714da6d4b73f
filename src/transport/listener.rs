//! What connections come in by.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

use super::tls::Certificates;

/// A socket that is listened on, and whether TLS is spoken there.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    certificates: Option<Certificates>,
}

// === impl Listener ===

impl Listener {
    /// Has it speak TLS with what `certificates` holds at the time of each connection.
    #[must_use]
    pub fn with_tls(self, certificates: Certificates) -> Self {
        Self { certificates: Some(certificates), ..self }
    }

    /// What to connect to, with the real port: `https://127.0.0.1:8470`.
    ///
    /// # Errors
    /// Where the system does not know.
    pub fn url(&self) -> io::Result<String> {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        Ok(format!("{scheme}://{}", self.socket.local_addr()?))
    }

    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.socket.accept().await
    }

    pub(super) fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self { socket, certificates: None }
    }
}
