//! Many streams in one WebSocket: the first byte of a message names the channel.
//!
//! It must not know what the channels mean. Upstream counterpart: `apiserver/pkg/util/wsstream`.

use super::{LINGER, upgrade::Socket};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio_tungstenite::tungstenite::{
    Message, Utf8Bytes,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

/// How a channel and its bytes stand in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A byte, then the bytes.
    Binary,
    /// A digit, then base64.
    Base64,
}

impl Framing {
    /// That of a subprotocol.
    pub fn of(protocol: &str) -> Self {
        if protocol.contains("base64.") {
            Framing::Base64
        } else {
            Framing::Binary
        }
    }

    /// A message for a channel.
    pub fn message(self, channel: u8, data: &[u8]) -> Message {
        match self {
            Framing::Binary => {
                let mut message = Vec::with_capacity(data.len() + 1);
                message.push(channel);
                message.extend(data);
                Message::Binary(message.into())
            }
            Framing::Base64 => {
                let digit = char::from(b'0'.saturating_add(channel));
                Message::Text(format!("{digit}{}", BASE64.encode(data)).into())
            }
        }
    }

    /// The channel and bytes of a message; `None` if it carries none.
    pub fn read(self, message: Message) -> Option<(u8, Bytes)> {
        let mut bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            _ => return None,
        };
        if bytes.is_empty() {
            return None;
        }
        let channel = bytes.split_to(1)[0];
        match self {
            Framing::Binary => Some((channel, bytes)),
            Framing::Base64 => {
                let bytes = BASE64.decode(&bytes).ok()?;
                Some((channel.checked_sub(b'0')?, bytes.into()))
            }
        }
    }
}

/// The server's side of the channels.
pub struct Sender(SplitSink<Socket, Message>, Framing);
/// The client's side of the channels.
pub struct Receiver(SplitStream<Socket>, Framing);

/// Takes a socket apart.
pub fn channels(socket: Socket, framing: Framing) -> (Sender, Receiver) {
    let (sender, receiver) = socket.split();
    (Sender(sender, framing), Receiver(receiver, framing))
}

impl Sender {
    /// Sends bytes. False if the client has gone.
    pub async fn send(&mut self, channel: u8, data: &[u8]) -> bool {
        self.0.send(self.1.message(channel, data)).await.is_ok()
    }

    /// Ends everything in peace: clients take a close without a code for a broken connection.
    pub async fn close(mut self, receiver: Receiver) {
        goodbye(&mut self.0, receiver.0).await;
    }
}

impl Receiver {
    /// The next channel and bytes; `None` when the client has gone.
    pub async fn next(&mut self) -> Option<(u8, Bytes)> {
        loop {
            match self.0.next().await? {
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(message) => {
                    if let Some(found) = self.1.read(message) {
                        return Some(found);
                    }
                }
            }
        }
    }
}

/// Sends a close and waits a little for the client's, so that it can read what was sent before.
pub async fn goodbye(sender: &mut SplitSink<Socket, Message>, mut receiver: SplitStream<Socket>) {
    let close = CloseFrame {
        code: CloseCode::Normal,
        reason: Utf8Bytes::default(),
    };
    if sender.send(Message::Close(Some(close))).await.is_err() {
        return;
    }
    let rest = async { while let Some(Ok(_)) = receiver.next().await {} };
    // A client that does not answer has had its time.
    let _ = tokio::time::timeout(LINGER, rest).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_both_framings() {
        for protocol in ["v5.channel.k8s.io", "base64.channel.k8s.io", ""] {
            let framing = Framing::of(protocol);
            for (channel, data) in [(0, &b"abc"[..]), (3, b""), (1, &[0, 255, 10])] {
                let message = framing.message(channel, data);
                assert_eq!(
                    framing.read(message),
                    Some((channel, Bytes::copy_from_slice(data)))
                );
            }
        }
        let text = Framing::Base64.message(1, b"hello");
        assert_eq!(text, Message::Text("1aGVsbG8=".into()));
    }

    #[test]
    fn nonsense_is_no_message() {
        assert_eq!(Framing::Binary.read(Message::Binary(Bytes::new())), None);
        assert_eq!(Framing::Base64.read(Message::Text("0?".into())), None);
        assert_eq!(Framing::Base64.read(Message::Text("#aGk=".into())), None);
    }
}
