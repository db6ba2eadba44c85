//! Just enough HTTP/1.1 to put a server on the same machine under load: one connection, one request at a time.
//!
//! The generator shares its processors with what it measures, so requests are bytes made in advance and answers are
//! read by their length.

use std::net::Ipv4Addr;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const END_OF_HEAD: &[u8] = b"\r\n\r\n";
const RECEIVE_AT_ONCE: usize = 32 * 1024;

/// A connection that stays open between requests.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// The body of an answer with the wanted status.
    pub(super) fn json(&self, wanted: u16) -> anyhow::Result<Value> {
        if self.status != wanted {
            bail!(
                "answered {} instead of {wanted}: {}",
                self.status,
                String::from_utf8_lossy(&self.body)
            );
        }
        serde_json::from_slice(&self.body).context("the answer is JSON")
    }
}

impl Connection {
    pub(super) async fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .context("connect to shepherd")?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::with_capacity(RECEIVE_AT_ONCE),
        })
    }

    /// Sends a request made by [`request`] and reads the whole answer.
    pub(super) async fn send(&mut self, request: &[u8]) -> anyhow::Result<Reply> {
        self.stream.write_all(request).await.context("send a request")?;
        self.received.clear();
        let body_at = loop {
            let end = self
                .received
                .windows(END_OF_HEAD.len())
                .position(|window| window == END_OF_HEAD);
            match end {
                Some(end) => break end + END_OF_HEAD.len(),
                None => self.receive().await?,
            }
        };
        let head = parse_head(std::str::from_utf8(&self.received[..body_at])?)?;
        while self.received.len() < body_at + head.length {
            self.receive().await?;
        }
        Ok(Reply {
            status: head.status,
            body: self.received[body_at..body_at + head.length].to_vec(),
        })
    }

    async fn receive(&mut self) -> anyhow::Result<()> {
        match self.stream.read_buf(&mut self.received).await {
            Ok(0) => bail!("shepherd closed the connection"),
            Ok(_) => Ok(()),
            Err(error) => Err(error).context("read an answer"),
        }
    }
}

/// The bytes of a request to `path` below `/api/v1`.
pub(super) fn request(method: &str, path: &str, token: Option<&str>, body: Option<&str>) -> Vec<u8> {
    let mut text = format!("{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\n");
    if let Some(token) = token {
        text.push_str("Authorization: Bearer ");
        text.push_str(token);
        text.push_str("\r\n");
    }
    if let Some(body) = body {
        text.push_str("Content-Type: application/json\r\nContent-Length: ");
        text.push_str(&body.len().to_string());
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.push_str(body.unwrap_or_default());
    text.into_bytes()
}

#[derive(Debug, PartialEq)]
struct Head {
    status: u16,
    length: usize,
}

fn parse_head(head: &str) -> anyhow::Result<Head> {
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .context("an answer begins with its status")?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok());
    match (status, length) {
        (_, Some(length)) => Ok(Head { status, length }),
        (204 | 304, None) => Ok(Head { status, length: 0 }),
        (_, None) => bail!("an answer does not tell its length:\n{head}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_tells_status_and_length() {
        let head = "HTTP/1.1 202 Accepted\r\nContent-Length: 17\r\ndate: today\r\n\r\n";
        assert_eq!(
            parse_head(head).unwrap(),
            Head {
                status: 202,
                length: 17
            }
        );
        let empty = "HTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(parse_head(empty).unwrap(), Head { status: 204, length: 0 });
        assert!(parse_head("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn a_body_comes_with_its_length() {
        let text = String::from_utf8(request("POST", "/vms", Some("t"), Some("{}"))).unwrap();
        assert!(text.starts_with("POST /api/v1/vms HTTP/1.1\r\n"));
        assert!(text.contains("Authorization: Bearer t\r\n"));
        assert!(text.ends_with("Content-Length: 2\r\n\r\n{}"));
    }
}
