//! As much HTTP and framing as the load generator needs.

use memchr::memmem;

/// How frames look on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Wire {
    Sse,
    Ws,
}

impl Wire {
    pub(crate) const ALL: [Self; 2] = [Self::Sse, Self::Ws];

    /// The response that makes a connection a subscriber. The accept header answers the key of RFC
    /// 6455's example, which the load generator sends.
    pub(crate) fn welcome(self) -> &'static [u8] {
        match self {
            Self::Sse => {
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
            }
            Self::Ws => {
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            }
        }
    }

    /// Appends the frame of one message.
    pub(crate) fn frame(self, body: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Sse => {
                out.extend(b"data: ");
                out.extend(body);
                out.extend(b"\n\n");
            }
            Self::Ws => {
                out.push(0x81);
                match body.len() {
                    short @ 0..=125 => out.push(short as u8),
                    middle @ 126..=0xffff => {
                        out.push(126);
                        out.extend((middle as u16).to_be_bytes());
                    }
                    long => {
                        out.push(127);
                        out.extend((long as u64).to_be_bytes());
                    }
                }
                out.extend(body);
            }
        }
    }
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Subscribe(Wire, String),
    Publish(String, Vec<u8>),
    Unknown,
}

impl Request {
    /// Takes a whole request from the front of a buffer.
    pub(crate) fn take(buffer: &mut Vec<u8>) -> Option<Self> {
        let head = memmem::find(buffer, b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&buffer[..head]);
        let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        if buffer.len() < head + length {
            return None;
        }
        let body = buffer[head..head + length].to_vec();
        buffer.drain(..head + length);
        let channel = |prefix| path.strip_prefix(prefix).map(str::to_owned);
        Some(if let Some(channel) = channel("/sse/") {
            Self::Subscribe(Wire::Sse, channel)
        } else if let Some(channel) = channel("/ws/") {
            Self::Subscribe(Wire::Ws, channel)
        } else if let Some(channel) = channel("/pub/") {
            Self::Publish(channel, body)
        } else {
            Self::Unknown
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_when_they_are_whole() {
        let text = b"POST /pub/a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /ws/b HTTP/1.1\r\n\r\n";
        let mut part = text[..40].to_vec();
        assert_eq!(Request::take(&mut part), None);
        let mut all = text.to_vec();
        assert_eq!(Request::take(&mut all), Some(Request::Publish("a".into(), b"hi".to_vec())));
        assert_eq!(Request::take(&mut all), Some(Request::Subscribe(Wire::Ws, "b".into())));
        assert_eq!((Request::take(&mut all), all.len()), (None, 0));
    }
}
