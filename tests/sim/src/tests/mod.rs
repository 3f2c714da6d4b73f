//! What the simulator does over sockets, held by a client of a few lines.

mod api;
mod cdn;
mod faults;
mod preview;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Builder, Content, Rates, Settings, Sim};

/// An answer as it came.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    fn header(&self, name: &str) -> Option<String> {
        let field = |line: &str| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then(|| value.to_owned())
        };
        self.head.lines().find_map(field)
    }
}

/// Sends a request head and body, leaving the connection open.
async fn open(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, target) = rest.split_at(rest.find('/').unwrap());
    let mut stream = TcpStream::connect(host).await.unwrap();
    let mut head =
        format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
    stream
}

/// Reads a head, byte by byte so that the body stays.
async fn head_of(stream: &mut TcpStream) -> std::io::Result<Reply> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Reply { status, head, body: Vec::new() })
}

/// One request on a connection of its own. An early end of the body is an error.
async fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> std::io::Result<Reply> {
    let mut stream = open(method, url, headers, body).await;
    let mut reply = head_of(&mut stream).await?;
    let len: usize = reply.header("content-length").unwrap().parse().unwrap();
    if method != "HEAD" {
        reply.body = vec![0; len];
        stream.read_exact(&mut reply.body).await?;
    }
    Ok(reply)
}

async fn get(url: &str, headers: &[(&str, &str)]) -> Reply {
    send("GET", url, headers, "").await.unwrap()
}

/// A client of the API with an access token.
struct User {
    sim: Sim,
    access: String,
}

impl User {
    async fn new(sim: Sim) -> Self {
        let reply = refresh(&sim, &sim.refresh_token()).await;
        let access = reply.json()["access_token"].as_str().unwrap().to_owned();
        Self { sim, access }
    }

    async fn call(&self, path: &str, body: Value) -> Reply {
        let bearer = format!("Bearer {}", self.access);
        let headers =
            [("Authorization", bearer.as_str()), ("User-Agent", "t"), ("Content-Type", "application/json")];
        send("POST", &format!("{}{path}", self.sim.api_base()), &headers, &body.to_string()).await.unwrap()
    }

    /// A call below `openFile/` on the resource drive.
    async fn file_call(&self, name: &str, mut body: Value) -> Reply {
        body["drive_id"] = json!("222000222");
        self.call(&format!("/adrive/v1.0/openFile/{name}"), body).await
    }

    async fn link(&self, path: &str) -> String {
        let id = self.sim.file_id(path).unwrap();
        let reply = self.file_call("getDownloadUrl", json!({"file_id": id})).await;
        reply.json()["url"].as_str().unwrap().to_owned()
    }
}

async fn refresh(sim: &Sim, token: &str) -> Reply {
    let body = json!({"client_id": sim.client_id(), "client_secret": sim.client_secret(),
        "grant_type": "refresh_token", "refresh_token": token});
    send("POST", &format!("{}/oauth/access_token", sim.api_base()), &[], &body.to_string()).await.unwrap()
}

/// A simulator without rate limits.
fn unlimited() -> Builder {
    Sim::builder().settings(|settings: &mut Settings| settings.rates = Rates::OFF)
}

fn virtual_file(len: u64) -> Content {
    Content::Virtual { len, seed: 7 }
}
