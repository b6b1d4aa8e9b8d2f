//! A web server that does to each path what its table says, one thread a connection: slow, broken,
//! endless, or right.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::{Asked, Lab, wait::until};

/// Stacks of its threads, in bytes: there may be thousands of them.
const STACK: usize = 128 * 1024;

/// What a path does once it has been asked.
#[derive(Clone, Debug)]
pub enum Page {
    /// Waits, then says this: content type and body.
    Says(Duration, &'static str, String),
    /// A status, further header lines, and no body.
    Status(u16, &'static str),
    /// These bytes as they are, then the end of the connection.
    Raw(Vec<u8>),
    /// These bytes, one every so often, for ever.
    Drips(&'static str, Duration),
    /// A head that promises so many bytes, and as many of them as somebody reads.
    Pours(u64),
    /// The end of the connection, without a byte.
    Closes,
}

impl Page {
    /// TwiML at once.
    pub fn twiml(verbs: &str) -> Page {
        let text = format!("<Response>{verbs}</Response>");
        Page::Says(Duration::ZERO, "text/xml", text)
    }
}

/// The server. It answers to the end of the process.
#[derive(Debug)]
pub struct Faulty {
    asked: Arc<Mutex<Vec<(Instant, Asked)>>>,
    open: Arc<Mutex<(usize, usize)>>,
}

impl Faulty {
    /// Starts one; paths that are not in the table are 404. `@7` in a body is an address.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn start(lab: &Lab, at: &str, pages: &[(&str, Page)]) -> Faulty {
        let listener = TcpListener::bind(lab.addr(at)).expect("the address is free");
        let fill = |page: &Page| match page {
            Page::Says(after, kind, body) => Page::Says(*after, kind, lab.text(body)),
            other => other.clone(),
        };
        let pages: Vec<(String, Page)> = pages
            .iter()
            .map(|(path, page)| ((*path).to_owned(), fill(page)))
            .collect();
        let pages = Arc::new(pages);
        let server = Faulty {
            asked: Arc::default(),
            open: Arc::default(),
        };
        let (asked, open) = (Arc::clone(&server.asked), Arc::clone(&server.open));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (pages, asked, open) = (pages.clone(), asked.clone(), open.clone());
                let serve = move || {
                    let _gone = serve(stream, &pages, &asked, &open);
                };
                // A machine out of threads refuses the connection, as a server does.
                let _ = thread::Builder::new().stack_size(STACK).spawn(serve);
            }
        });
        server
    }

    /// Every request so far, with its time.
    ///
    /// # Panics
    /// Never, unless a server thread has.
    pub fn asked(&self) -> Vec<(Instant, Asked)> {
        self.asked.lock().expect("nobody panicked").clone()
    }

    /// Waits for the first request for a path.
    ///
    /// # Panics
    /// When none comes.
    pub fn asked_for(&self, path: &str) -> Asked {
        until(&format!("{path} is asked for"), || {
            let asked = self.asked();
            let mut all = asked.into_iter().map(|(_, asked)| asked);
            all.find(|asked| asked.path.split('?').next() == Some(path))
        })
    }

    /// The most requests that waited for an answer at once. Connections may be more: a kept one can
    /// be idle while another is being made.
    ///
    /// # Panics
    /// Never, unless a server thread has.
    pub fn most_open(&self) -> usize {
        self.open.lock().expect("nobody panicked").1
    }
}

/// A request that waits for its answer: how many there are, and were at most.
struct Waiting<'o>(&'o Mutex<(usize, usize)>);

impl<'o> Waiting<'o> {
    fn begin(open: &'o Mutex<(usize, usize)>) -> Self {
        let mut counts = open.lock().expect("nobody panicked");
        counts.0 += 1;
        counts.1 = counts.1.max(counts.0);
        drop(counts);
        Waiting(open)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().expect("nobody panicked").0 -= 1;
    }
}

/// One connection to its end. `None`: the peer went away.
fn serve(
    stream: TcpStream,
    pages: &[(String, Page)],
    asked: &Mutex<Vec<(Instant, Asked)>>,
    open: &Mutex<(usize, usize)>,
) -> Option<()> {
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let request = read(&mut reader)?;
        let waiting = Waiting::begin(open);
        let path = request
            .path
            .split('?')
            .next()
            .unwrap_or_default()
            .to_owned();
        asked
            .lock()
            .expect("nobody panicked")
            .push((Instant::now(), request));
        let page = pages.iter().find(|(known, _)| *known == path);
        let out = reader.get_mut();
        match page.map(|(_, page)| page) {
            Some(Page::Says(after, kind, body)) => {
                thread::sleep(*after);
                // Who has the answer asks again at once.
                drop(waiting);
                let length = body.len();
                write!(
                    out,
                    "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
                )
                .ok()?;
            }
            Some(Page::Status(status, lines)) => {
                write!(
                    out,
                    "HTTP/1.1 {status} X\r\n{lines}Content-Length: 0\r\n\r\n"
                )
                .ok()?;
            }
            Some(Page::Raw(bytes)) => {
                out.write_all(bytes).ok()?;
                return out.shutdown(Shutdown::Write).ok();
            }
            Some(Page::Drips(text, gap)) => loop {
                for byte in text.bytes() {
                    out.write_all(&[byte]).ok()?;
                    thread::sleep(*gap);
                }
            },
            Some(Page::Pours(length)) => {
                write!(
                    out,
                    "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\n\r\n"
                )
                .ok()?;
                let piece = vec![b' '; 64 * 1024];
                for _ in 0..length / piece.len() as u64 {
                    out.write_all(&piece).ok()?;
                }
                return None;
            }
            Some(Page::Closes) => return None,
            None => write!(out, "HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n").ok()?,
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
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
    let body = String::from_utf8_lossy(&body).into_owned();
    let from = reader.get_ref().peer_addr().ok()?.ip();
    Some(Asked {
        method,
        path,
        body,
        from,
    })
}
