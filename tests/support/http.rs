//! The smallest HTTP that a test needs: a client for the admin server, a server for webhooks.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crate::{Lab, wait::until};

/// No test's exchange takes longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer: what a server gave, or what a webhook is to give.
#[derive(Clone, Debug)]
pub struct Reply {
    /// 200 and so on.
    pub status: u16,
    /// All of it.
    pub body: String,
}

/// Asks an HTTP server for a page; `None` when it does not answer.
pub fn get(server: SocketAddr, path: &str) -> Option<Reply> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut whole = String::new();
    stream.read_to_string(&mut whole).ok()?;
    let (head, body) = whole.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Reply {
        status,
        body: body.to_owned(),
    })
}

/// One request that a webhook got.
#[derive(Clone, Debug)]
pub struct Asked {
    /// "POST".
    pub method: String,
    /// With what stands behind "?".
    pub path: String,
    /// As sent, form-encoded.
    pub body: String,
    /// Where it came from.
    pub from: IpAddr,
}

impl Asked {
    /// The value of one form field, decoded.
    pub fn field(&self, name: &str) -> Option<String> {
        let fields = self.body.split('&').filter_map(|pair| pair.split_once('='));
        fields
            .filter(|(key, _)| decode(key) == name)
            .map(|(_, value)| decode(value))
            .next()
    }
}

/// A web server that answers each path with one fixed document, 404 for the others.
#[derive(Debug)]
pub struct Webhook {
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Webhook {
    /// Starts one. It answers to the end of the process.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn start(lab: &Lab, at: &str, pages: &[(&str, u16, &str)]) -> Webhook {
        let listener = TcpListener::bind(lab.addr(at)).expect("the address is free");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let pages: Vec<(String, Reply)> = pages
            .iter()
            .map(|(path, status, body)| {
                (
                    (*path).to_owned(),
                    Reply {
                        status: *status,
                        body: lab.text(body),
                    },
                )
            })
            .collect();
        let heard = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _gone = serve(stream, &pages, &heard);
            }
        });
        Webhook { asked }
    }

    /// Every request so far.
    ///
    /// # Panics
    /// Never, unless a server thread has.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("nobody panicked").clone()
    }

    /// Waits for the first request for a path.
    ///
    /// # Panics
    /// When none comes.
    pub fn asked_for(&self, path: &str) -> Asked {
        until(&format!("the webhook is asked for {path}"), || {
            self.asked()
                .into_iter()
                .find(|asked| asked.path.split('?').next() == Some(path))
        })
    }
}

/// One request, one answer, and the connection closes. `None`: the peer went away.
fn serve(stream: TcpStream, pages: &[(String, Reply)], asked: &Mutex<Vec<Asked>>) -> Option<()> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let from = stream.peer_addr().ok()?.ip();
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok()?
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let reply = pages
        .iter()
        .find(|(page, _)| Some(page.as_str()) == path.split('?').next());
    let (status, text) = reply.map_or((404, ""), |(_, reply)| (reply.status, reply.body.as_str()));
    let body = String::from_utf8_lossy(&body).into_owned();
    asked.lock().expect("nobody panicked").push(Asked {
        method,
        path,
        body,
        from,
    });
    write!(
        reader.get_mut(),
        "HTTP/1.1 {status} Test\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
    .ok()
}

/// A form-encoded text in the clear; what is no escape stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut clear = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = text
            .get(at + 1..at + 3)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], escaped) {
            (b'%', Some(byte)) => {
                clear.push(byte);
                at += 2;
            }
            (b'+', _) => clear.push(b' '),
            (other, _) => clear.push(other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&clear).into_owned()
}
