//! One DNS server: a UDP socket and a TCP listener, each answering from the shared zone.
//!
//! Sockets are handed in, so it must not know in which network they are. Upstream counterpart: CoreDNS' server.

use crate::{
    wire::{answer_tcp, answer_udp},
    zone::Zone,
};
use std::{
    io,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

/// The zone that all servers of a cluster answer from.
pub type SharedZone = Arc<RwLock<Zone>>;

/// Largest UDP request accepted, bytes: requests are one question.
const UDP_REQUEST: usize = 4096;
/// TCP clients served at once by one server; more wait in the listener's queue.
const TCP_CLIENTS: usize = 128;
/// A TCP client that says nothing for so long is disconnected.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Pause after an error of the listener (out of descriptors), instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until dropped. The sockets come from `std` since they are made inside a node's
/// namespace; must be called within a tokio runtime.
pub async fn serve(
    zone: SharedZone,
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
) -> io::Result<()> {
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    let (udp, tcp) = (UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?);
    tokio::join!(serve_udp(&zone, &udp), serve_tcp(&zone, &tcp));
    Ok(())
}

async fn serve_udp(zone: &SharedZone, socket: &UdpSocket) {
    let mut request = vec![0; UDP_REQUEST];
    loop {
        // Errors here are those of earlier answers (the client is gone): the next request is fine.
        let Ok((length, client)) = socket.recv_from(&mut request).await else {
            sleep(Duration::from_millis(1)).await;
            continue;
        };
        let response = answer_udp(&read(zone), &request[..length]);
        if let Some(response) = response {
            // A client that cannot be reached asks again or not; nobody else cares.
            let _ = socket.send_to(&response, client).await;
        }
    }
}

async fn serve_tcp(zone: &SharedZone, listener: &TcpListener) {
    let places = Arc::new(Semaphore::new(TCP_CLIENTS));
    // Dropping the set ends its connections together with the server.
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let zone = zone.clone();
                clients.spawn(async move {
                    let _place = place;
                    // The client sees its connection end; there is nothing else to tell it.
                    let _ = serve_client(&zone, stream).await;
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve_client(zone: &SharedZone, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let length = timeout(TCP_IDLE, stream.read_u16()).await??;
        let mut request = vec![0; length.into()];
        timeout(TCP_IDLE, stream.read_exact(&mut request)).await??;
        let Some(response) = answer_tcp(&read(zone), &request) else {
            return Ok(());
        };
        let mut framed = (response.len() as u16).to_be_bytes().to_vec();
        framed.extend(response);
        timeout(TCP_IDLE, stream.write_all(&framed)).await??;
    }
}

fn read(zone: &SharedZone) -> std::sync::RwLockReadGuard<'_, Zone> {
    // A poisoned zone is one change behind at worst.
    zone.read().unwrap_or_else(PoisonError::into_inner)
}
