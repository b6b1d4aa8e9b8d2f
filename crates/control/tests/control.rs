//! The control task: questions get their answers, and DNS changes become snapshots.

mod common;

use std::{sync::Arc, time::Duration};

use common::{SOON, fast, host, loopback, settings, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};
use trunkline_control::{
    Control, ControlSettings, LineFormat, NetCounts,
    testdns::{Fault, TestDns},
};
use trunkline_proxy::{
    AskId, Question, Routing,
    event::Batch,
    question::{Answer, HttpFailure, HttpMethod, HttpRequest},
    settings::{Place, PlaceId},
};

struct Running {
    dns: TestDns,
    questions: mpsc::Sender<(AskId, Box<Question>)>,
    answers: mpsc::UnboundedReceiver<(AskId, Answer)>,
    snapshots: mpsc::UnboundedReceiver<Arc<Routing>>,
    _events: mpsc::Sender<Batch>,
}

async fn running(places: &[Place]) -> Running {
    let dns = TestDns::start(loopback(1)).await.unwrap();
    dns.a("edge.test", 0, &[[127, 0, 1, 1].into()]);
    dns.a("other.test", 600, &[[127, 0, 1, 2].into()]);
    let control = ControlSettings {
        admin: None,
        dns_servers: vec![dns.addr()],
        dns_timeout: Duration::from_millis(300),
        pace: fast(),
        line_format: LineFormat::default(),
    };
    let (control, _) = soon(Control::new(control, settings(places))).await.unwrap();
    let (questions, asked) = mpsc::channel(8);
    let (events, told) = mpsc::channel(8);
    let (answer, answers) = mpsc::unbounded_channel();
    let (snapshot, snapshots) = mpsc::unbounded_channel();
    tokio::spawn(control.run(
        asked,
        told,
        move |ask, said| drop(answer.send((ask, said))),
        move |routing| drop(snapshot.send(routing)),
        drop,
        NetCounts::default,
    ));
    Running {
        dns,
        questions,
        answers,
        snapshots,
        _events: events,
    }
}

impl Running {
    async fn ask(&mut self, id: u64, question: Question) -> Answer {
        self.questions
            .send((AskId(id), Box::new(question)))
            .await
            .unwrap();
        let (ask, answer) = soon(self.answers.recv()).await.unwrap();
        assert_eq!(ask, AskId(id));
        answer
    }
}

fn addresses(answer: &Answer) -> Vec<String> {
    match answer {
        Answer::Resolved { candidates, .. } => {
            candidates.iter().map(|c| c.addr.to_string()).collect()
        }
        Answer::ResolveFailed | Answer::Http { .. } | Answer::HttpFailed(_) => {
            vec![format!("{answer:?}")]
        }
    }
}

#[tokio::test]
async fn a_name_in_the_file_is_answered_from_what_is_known_even_while_dns_is_silent() {
    let mut running = running(&[host("edge.test")]).await;
    running.dns.fault_all(Some(Fault::Silence));
    let answer = running.ask(1, Question::Resolve(host("edge.test"))).await;
    assert_eq!(addresses(&answer), ["127.0.1.1:5060"]);
}

#[tokio::test]
async fn a_name_from_a_message_is_looked_up_once_and_remembered() {
    let mut running = running(&[]).await;
    for id in 0..3 {
        let answer = running.ask(id, Question::Resolve(host("other.test"))).await;
        assert_eq!(addresses(&answer), ["127.0.1.2:5060"]);
    }
    assert_eq!(running.dns.asked().len(), 1);
    let answer = running.ask(9, Question::Resolve(host("nobody.test"))).await;
    assert_eq!(
        addresses(&answer),
        [] as [String; 0],
        "no such name is an answer"
    );
}

#[tokio::test]
async fn in_an_outage_of_dns_all_who_ask_hear_so_after_one_timeout() {
    let mut running = running(&[]).await;
    running.dns.fault_all(Some(Fault::Silence));
    let began = std::time::Instant::now();
    for id in 0..50 {
        let question = Box::new(Question::Resolve(host("other.test")));
        running.questions.send((AskId(id), question)).await.unwrap();
    }
    for _ in 0..50 {
        assert_eq!(
            soon(running.answers.recv()).await.unwrap().1,
            Answer::ResolveFailed
        );
    }
    assert!(
        // One after the other they would take fifteen seconds.
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_change_in_dns_becomes_a_snapshot_and_no_change_none() {
    let mut running = running(&[host("edge.test")]).await;
    running.dns.a(
        "edge.test",
        0,
        &[[127, 0, 1, 1].into(), [127, 0, 1, 9].into()],
    );
    let routing = soon(running.snapshots.recv()).await.unwrap();
    assert_eq!(routing.resolved(PlaceId(0)).candidates.len(), 2);
    let before = running.dns.asked().len();
    soon(async {
        while running.dns.asked().len() < before + 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(running.snapshots.try_recv().is_err(), "nothing has changed");
}

#[tokio::test]
async fn a_webhook_is_asked_and_a_slow_one_holds_up_nobody() {
    let mut running = running(&[]).await;
    let slow = TcpListener::bind(loopback(1)).await.unwrap();
    let good = TcpListener::bind(loopback(1)).await.unwrap();
    let port = good.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = good.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        // Kept open: the client is done with it when it has the length it was told.
        let _ = stream.read(&mut request).await;
    });
    let request = |url: String, timeout| {
        Question::Http(HttpRequest {
            method: HttpMethod::Post,
            connect_timeout: SOON,
            timeout,
            ..HttpRequest::get(&url)
        })
    };
    let url = format!("http://{}/", slow.local_addr().unwrap());
    running
        .questions
        .send((AskId(1), Box::new(request(url, Duration::from_secs(3)))))
        .await
        .unwrap();
    running.dns.a("dr.test", 60, &[[127, 0, 0, 1].into()]);
    let answer = running
        .ask(2, request(format!("http://dr.test:{port}/"), SOON))
        .await;
    assert!(
        matches!(answer, Answer::Http { status: 200, .. }),
        "{answer:?}"
    );
    let late = soon(running.answers.recv()).await.unwrap();
    assert_eq!(late, (AskId(1), Answer::HttpFailed(HttpFailure::Timeout)));
}
