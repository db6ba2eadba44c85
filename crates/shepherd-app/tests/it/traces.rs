//! Traces at a receiver of this machine, and the lines of the log that belong to them.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::client::{Caller, send};
use crate::server::{ALL_ROLES, Home, PATIENCE, Replica, SEEDED_PASSWORD, eventually};
use crate::world::{User, World, log_in, text};

/// What a client says of its trace: it was not sampled there, which is nothing to us.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const REQUEST: &str = "the-request-of-this-test";
/// A receiver with this status takes requests and never answers.
const SILENT: u16 = 0;
/// Requests while nobody takes traces.
const MANY: usize = 200;

/// A server that takes OTLP over HTTP and answers with the status of the moment.
struct Receiver {
    url: String,
    status: Arc<AtomicU16>,
    got: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    _serving: JoinSet<()>,
}

impl Receiver {
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}/", listener.local_addr().unwrap().port());
        let status = Arc::new(AtomicU16::new(status));
        let got = Arc::new(Mutex::new(Vec::new()));
        let mut serving = JoinSet::new();
        let (now, taken) = (Arc::clone(&status), Arc::clone(&got));
        serving.spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(request) = read(&mut stream).await else {
                    continue;
                };
                let answered = now.load(Ordering::SeqCst);
                if answered == SILENT {
                    silent.push(stream);
                    continue;
                }
                if answered == 200 {
                    taken.lock().unwrap().push(request);
                }
                let answer = format!("HTTP/1.1 {answered} Because\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self {
            url,
            status,
            got,
            _serving: serving,
        }
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// All spans so far.
    fn spans(&self) -> Vec<Span> {
        let got = self.got.lock().unwrap();
        let resources = got.iter().flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// What is said of the process that spans come from.
    fn resource(&self) -> Vec<KeyValue> {
        let got = self.got.lock().unwrap();
        let resource = got[0].resource_spans[0].resource.clone();
        resource.unwrap().attributes
    }

    fn env(&self) -> (&'static str, String) {
        ("TRACING_OTLP_ENDPOINT", self.url.clone())
    }
}

/// Reads a request to where traces go.
async fn read(stream: &mut TcpStream) -> Option<ExportTraceServiceRequest> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
            assert!(head.contains("content-type: application/x-protobuf"), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
            let body = end + 4..end + 4 + length.parse::<usize>().ok()?;
            if bytes.len() >= body.end {
                return Some(ExportTraceServiceRequest::decode(&bytes[body]).unwrap());
            }
        }
        let read = stream.read(&mut buffer).await.ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute as text; empty when it is absent.
fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Any::StringValue(text)) => text,
        Some(Any::IntValue(number)) => number.to_string(),
        Some(other) => panic!("{key} is {other:?}"),
        None => String::new(),
    }
}

/// The complete lines of a log, each of which has to be a flat object.
fn lines(replica: &Replica) -> Vec<Map<String, Value>> {
    let log = replica.log_text();
    let complete = log.rfind('\n').map_or("", |end| &log[..end]);
    let parsed = complete.lines().map(|line| {
        let object: Map<String, Value> = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for key in ["timestamp", "level", "message", "target"] {
            assert!(
                object.get(key).is_some_and(Value::is_string),
                "{key} is missing: {line}"
            );
        }
        assert!(!object.values().any(Value::is_object), "not flat: {line}");
        object
    });
    parsed.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_is_one_trace_from_its_request_to_its_cluster() {
    let receiver = Receiver::start(200).await;
    let world = World::with(ALL_ROLES, &[receiver.env(), ("LOG_FORMAT", "json".to_owned())]).await;
    let asked = world
        .as_(User::Alice)
        .request(Method::POST, "/vms")
        .header("traceparent", format!("00-{TRACE}-{CALLER}-00"))
        .header("x-request-id", REQUEST)
        .header("user-agent", "a\tforged \" agent")
        .json(&world.vm_body("dev"));
    let ticket = text(&send(asked).await.ok(202)["ticket_id"]);
    world.approve(&ticket).await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    let vm = world.vm_of(&ticket).await;
    world.wait_for_vm_status(&vm, "RUNNING").await;

    let spans = eventually("the trace is complete", PATIENCE, async || {
        let all = receiver.spans();
        let ours: Vec<Span> = all.into_iter().filter(|span| hex(&span.trace_id) == TRACE).collect();
        let has = |name: &str| ours.iter().any(|span| span.name == name);
        (has("POST /api/v1/vms") && has("job CREATE_VM")).then_some(ours)
    })
    .await;
    let event = world.event_of(&ticket).await;
    let request = the_request(&world, &spans, &event).await;
    let job = the_job(&spans, &request, &ticket, &event);
    the_calls(&spans, &request, &job);
    assert_eq!(attribute(&receiver.resource(), "service.name"), "shepherd");
    assert!(!attribute(&receiver.resource(), "service.instance.id").is_empty());
    probes_are_not_exported(&receiver);
    lines_say_what_they_are_about(&world, &ticket, &event).await;
}

async fn the_request(world: &World, spans: &[Span], event: &str) -> Span {
    let requests: Vec<&Span> = spans
        .iter()
        .filter(|span| span.kind == SpanKind::Server as i32)
        .collect();
    let [request] = requests.as_slice() else {
        panic!("the approval is a trace of its own: {requests:?}");
    };
    assert_eq!(hex(&request.parent_span_id), CALLER);
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/api/v1/vms"),
        ("http.response.status_code", "202"),
        ("request_id", REQUEST),
        ("user_id", world.id(User::Alice)),
    ] {
        assert_eq!(attribute(&request.attributes, key), value, "{key}");
    }
    let stored = world
        .home
        .texts(&format!("SELECT trace_parent FROM domain_events WHERE id = '{event}'"))
        .await;
    assert_eq!(stored, [format!("00-{TRACE}-{}-01", hex(&request.span_id))]);
    (*request).clone()
}

fn the_job(spans: &[Span], request: &Span, ticket: &str, event: &str) -> Span {
    let jobs = spans.iter().filter(|span| span.name == "job CREATE_VM");
    let jobs: Vec<&Span> = jobs
        .inspect(|job| assert_eq!(job.parent_span_id, request.span_id))
        .collect();
    let job = jobs.last().unwrap();
    for (key, value) in [("ticket_id", ticket), ("event_id", event), ("operation", "CREATE_VM")] {
        assert_eq!(attribute(&job.attributes, key), value, "{key}");
    }
    assert_eq!(attribute(&job.attributes, "attempt"), jobs.len().to_string());
    (*job).clone()
}

fn the_calls(spans: &[Span], request: &Span, job: &Span) {
    let calls: Vec<&Span> = spans
        .iter()
        .filter(|span| span.kind == SpanKind::Client as i32)
        .collect();
    for call in &calls {
        for key in ["cluster", "verb", "resource", "http.request.method"] {
            assert!(!attribute(&call.attributes, key).is_empty(), "{key}: {call:?}");
        }
        let is_below = |span: &Span| span.span_id == call.parent_span_id;
        assert!(is_below(request) || is_below(job), "{call:?}");
    }
    let made = calls.iter().any(|call| {
        call.parent_span_id == job.span_id
            && attribute(&call.attributes, "resource") == "virtualmachines"
            && ["create", "patch"].contains(&attribute(&call.attributes, "verb").as_str())
            && attribute(&call.attributes, "http.response.status_code").starts_with('2')
    });
    assert!(made, "the job makes the machine: {calls:?}");
}

fn probes_are_not_exported(receiver: &Receiver) {
    let spans = receiver.spans();
    assert!(spans.iter().all(|span| !span.name.contains("/health/")), "{spans:?}");
}

async fn lines_say_what_they_are_about(world: &World, ticket: &str, event: &str) {
    // Whatever is asked for, a line stays a line.
    for path in ["/vms/%0a%1b[2K", "/vms/a%22b", "/nothing%0d%0aforged"] {
        let reply = world.as_(User::Alice).get(path).await;
        assert!((400..500).contains(&reply.status), "{path}");
    }
    let lines = lines(&world.server);
    let about = |key: &str, value: &str| -> Vec<Map<String, Value>> {
        let has = |line: &&Map<String, Value>| line.get(key).is_some_and(|found| found == value);
        lines.iter().filter(has).cloned().collect()
    };
    let request = about("request_id", REQUEST);
    assert!(!request.is_empty(), "no line of the request");
    for line in &request {
        assert_eq!(line["user_id"], world.id(User::Alice), "{line:?}");
        assert_eq!(line["trace_id"], TRACE, "{line:?}");
        assert!(line["span_id"].is_string(), "{line:?}");
    }
    let done: Vec<Map<String, Value>> = about("ticket_id", ticket)
        .into_iter()
        .filter(|line| line["message"] == "the job is done")
        .collect();
    assert!(!done.is_empty(), "no line of the job");
    assert_eq!(
        (&done[0]["event_id"], &done[0]["trace_id"]),
        (&json!(event), &json!(TRACE))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_takes_nothing_costs_nothing() {
    let receiver = Receiver::start(SILENT).await;
    let home = Home::new().await;
    home.seed().await;
    let env = [receiver.env(), ("LOG_FORMAT", "json".to_owned())];
    let server = Replica::start(&home, "api", &env).await;
    let anybody = Caller::new(&home.client, &server, None);
    let token = log_in(&anybody, "admin", SEEDED_PASSWORD).await;
    let admin = Caller::new(&home.client, &server, Some(token));
    for _ in 0..MANY {
        admin.get("/auth/me").await.ok(200);
    }
    let told = |words: &str| -> usize {
        let of_receiver = |line: &&Map<String, Value>| line["message"].as_str().unwrap_or_default().contains(words);
        lines(&server).iter().filter(of_receiver).count()
    };
    let once = async |words: &str| {
        eventually(words, PATIENCE, async || {
            admin.get("/auth/me").await.ok(200);
            (told(words) > 0).then_some(())
        })
        .await;
    };
    once("traces are not taken").await;
    receiver.answer(500);
    for _ in 0..MANY {
        admin.get("/auth/me").await.ok(200);
    }
    receiver.answer(200);
    once("traces are taken by their receiver again").await;
    assert_eq!(told("traces are not taken"), 1, "the log is told once");
    assert!(receiver.spans().iter().any(|span| span.name == "GET /api/v1/auth/me"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_traced_last_is_sent_before_the_end() {
    let receiver = Receiver::start(200).await;
    let home = Home::new().await;
    home.seed().await;
    // The process waits for a few seconds only, which a busy machine may need for other things.
    for _ in 0..3 {
        if is_sent_at_the_end(&home, &receiver).await {
            return;
        }
    }
    panic!("the last spans were not sent: {:?}", receiver.spans());
}

async fn is_sent_at_the_end(home: &Home, receiver: &Receiver) -> bool {
    // Shorter than spans wait for others.
    let env = [receiver.env(), ("SERVER_SHUTDOWN_TIMEOUT", "1s".to_owned())];
    let mut server = Replica::start_stoppable(home, "api", &env).await;
    let anybody = Caller::new(&home.client, &server, None);
    let last = "the-last-request";
    let asked = anybody.request(Method::GET, "/auth/me").header("x-request-id", last);
    assert_eq!(send(asked).await.status, 401);
    server.ask_to_stop();
    assert_eq!(server.exit_code().await, Some(0), "{}", server.log_text());
    let is_last = |span: &Span| attribute(&span.attributes, "request_id") == last;
    receiver.spans().iter().any(is_last)
}
