//! A chat on this machine: it does not take the first message, and takes all others.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A message as it came in.
#[derive(Clone)]
pub struct Got {
    pub authorization: String,
    pub body: Value,
}

pub struct Chat {
    pub url: String,
    got: Arc<Mutex<Vec<Got>>>,
    _serving: JoinSet<()>,
}

impl Chat {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let got = Arc::new(Mutex::new(Vec::new()));
        let mut serving = JoinSet::new();
        let seen = Arc::clone(&got);
        serving.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                answer(stream, &seen).await;
            }
        });
        Self {
            url,
            got,
            _serving: serving,
        }
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

async fn answer(mut stream: TcpStream, seen: &Mutex<Vec<Got>>) {
    let Some(got) = read(&mut stream).await else { return };
    let is_first = {
        let mut seen = seen.lock().unwrap();
        seen.push(got);
        seen.len() == 1
    };
    let status = if is_first { "503 Away" } else { "200 OK" };
    let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    // Whoever is gone by now does not need it.
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// Reads a request with a body of a given length.
async fn read(stream: &mut TcpStream) -> Option<Got> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length: usize = header(head, "content-length")?.parse().ok()?;
            if body.len() >= length {
                return Some(Got {
                    authorization: header(head, "authorization").unwrap_or_default(),
                    body: serde_json::from_str(body).ok()?,
                });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(found.1.to_owned())
}
