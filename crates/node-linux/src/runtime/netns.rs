//! Sockets that live in another network namespace, opened on threads of their own: a thread that
//! changed its namespace is never reused.

use crate::sys;
use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpStream},
    os::fd::AsFd,
    path::Path,
    thread,
    time::Duration,
};

/// Connects from within a namespace. Blocks.
pub fn connect(namespace: &Path, address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let namespace = File::open(namespace)?;
    let connect = move || {
        sys::set_namespace(namespace.as_fd(), libc::CLONE_NEWNET)?;
        TcpStream::connect_timeout(&address, timeout)
    };
    let thread = thread::Builder::new()
        .name("netns-connect".into())
        .spawn(connect)?;
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the connecting thread panicked")))
}

/// Connects without blocking the caller's executor.
pub async fn connect_async(
    namespace: &Path,
    address: SocketAddr,
    timeout: Duration,
) -> io::Result<tokio::net::TcpStream> {
    let namespace = namespace.to_owned();
    let connect = move || connect(&namespace, address, timeout);
    let stream = tokio::task::spawn_blocking(connect)
        .await
        .map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    tokio::net::TcpStream::from_std(stream)
}
