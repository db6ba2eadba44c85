//! What Shepherd calls: a ticket, a question about one, a withdrawal. Whatever is not signed is refused before it is
//! read.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use chrono::{DateTime, Datelike, Utc};
use serde_json::{Value, json};

use crate::Desk;
use crate::rule::{self, Ticket};

pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config.service(take).service(tell).service(withdraw);
}

#[expect(
    clippy::disallowed_methods,
    reason = "this program is no part of the platform, and has no port for a clock"
)]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// A ticket, or a test of the connection. It may be sent again, and gets the same answer then.
#[post("/board")]
async fn take(desk: web::Data<Desk>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    if !is_signed(&desk, &request, &body) {
        return unsigned();
    }
    let document: Value = serde_json::from_slice(&body).unwrap_or_default();
    if document["test"] == true {
        println!("a test of the connection");
        return HttpResponse::Ok().json(json!({}));
    }
    let Ok(ticket) = serde_json::from_value::<Ticket>(document) else {
        return HttpResponse::BadRequest().json(json!({"error": "this is no ticket"}));
    };
    let now = now();
    let ruling = rule::decide(&ticket, now.weekday());
    let case = desk.board.take(ticket, ruling, now);
    let (number, id) = (&case.ticket.ticket_number, &case.external_id);
    let standing = case.status();
    match standing.comments {
        Some(comment) => println!("{id} is {number}: {}, {comment}", standing.status),
        None => println!("{id} is {number}: {}, left to people", standing.status),
    }
    HttpResponse::Ok().json(json!({"external_id": id}))
}

/// How a ticket stands. A decision is found here too when the callback did not get through.
#[get("/board/{id}")]
async fn tell(desk: web::Data<Desk>, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    if !is_signed(&desk, &request, b"") {
        return unsigned();
    }
    match desk.board.status(&id) {
        Some(status) => HttpResponse::Ok().json(status),
        None => unknown(),
    }
}

/// The ticket was decided by somebody else, or called off.
#[post("/board/{id}/cancel")]
async fn withdraw(
    desk: web::Data<Desk>,
    request: HttpRequest,
    id: web::Path<String>,
    body: web::Bytes,
) -> HttpResponse {
    if !is_signed(&desk, &request, &body) {
        return unsigned();
    }
    let id = id.into_inner();
    if !desk.board.withdraw(&id) {
        return unknown();
    }
    println!("{id} is withdrawn");
    HttpResponse::Ok().json(json!({}))
}

fn is_signed(desk: &Desk, request: &HttpRequest, body: &[u8]) -> bool {
    let timestamp = header(request, "x-shepherd-timestamp");
    let signature = header(request, "x-signature-256");
    desk.secret.believes(timestamp, signature, body, now())
}

fn header<'a>(request: &'a HttpRequest, name: &str) -> &'a str {
    let value = request.headers().get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

fn unsigned() -> HttpResponse {
    HttpResponse::Unauthorized().json(json!({"error": "the signature is not valid"}))
}

/// Shepherd takes 404 for an answer: this system does not know the ticket, and says nothing about it.
fn unknown() -> HttpResponse {
    HttpResponse::NotFound().json(json!({"error": "not on this board"}))
}

#[cfg(test)]
mod tests {
    use actix_web::App;
    use actix_web::http::Method;
    use actix_web::test::{TestRequest, call_service, init_service, read_body};

    use super::*;
    use crate::board::Board;
    use crate::signature::Secret;

    const SECRET: &str = "a secret of the board";

    fn desk() -> web::Data<Desk> {
        web::Data::new(Desk {
            secret: Secret::new(SECRET),
            board: Board::default(),
        })
    }

    fn request(method: Method, path: &str, body: &str, secret: &str) -> TestRequest {
        let timestamp = now().timestamp().to_string();
        let signature = Secret::new(secret).sign(&timestamp, body.as_bytes());
        TestRequest::default()
            .method(method)
            .uri(path)
            .insert_header(("x-shepherd-timestamp", timestamp))
            .insert_header(("x-signature-256", signature))
            .set_payload(body.to_owned())
    }

    /// Sends requests in their order; answers the status and the body of each.
    async fn sent(requests: Vec<TestRequest>) -> Vec<(u16, Value)> {
        let service = init_service(App::new().app_data(desk()).configure(routes)).await;
        let mut answers = Vec::new();
        for request in requests {
            let answer = call_service(&service, request.to_request()).await;
            let status = answer.status().as_u16();
            let body = serde_json::from_slice(&read_body(answer).await).unwrap_or_default();
            answers.push((status, body));
        }
        answers
    }

    fn ticket() -> String {
        let ticket = json!({
            "shepherd_ticket_id": "01983f0e-7c1e-7aa0-8000-2f6d2c1d9a10", "ticket_number": "TKT-000007",
            "type": "CREATE", "environment": "test", "callback_url": "http://127.0.0.1:9/callback",
            "requester": {"username": "rita"}, "request_details": {"reason": "a first machine"},
            "resource_summary": {"cpu_cores": 1, "memory_mb": 1024, "disk_gb": 20},
            "created_at": "2026-11-21T12:00:00Z",
        });
        ticket.to_string()
    }

    #[actix_web::test]
    async fn a_ticket_is_taken_once_asked_for_and_withdrawn() {
        let submit = || request(Method::POST, "/board", &ticket(), SECRET);
        let cancel = r#"{"event": "cancel"}"#;
        let answers = sent(vec![
            submit(),
            submit(),
            request(Method::GET, "/board/BOARD-1", "", SECRET),
            request(Method::POST, "/board/BOARD-1/cancel", cancel, SECRET),
            request(Method::GET, "/board/BOARD-2", "", SECRET),
        ])
        .await;
        let taken = (200, json!({"external_id": "BOARD-1"}));
        assert_eq!(answers[..2], [taken.clone(), taken]);
        let (asked, status) = &answers[2];
        assert_eq!((*asked, &status["status"]), (200, &json!("approved")));
        assert_eq!(status["approver"], "the rule of the board");
        assert_eq!((answers[3].0, answers[4].0), (200, 404));
    }

    #[actix_web::test]
    async fn what_is_not_signed_is_refused() {
        let unsigned = TestRequest::post().uri("/board").set_payload(ticket());
        let other = "another secret of nobody";
        let answers = sent(vec![
            unsigned,
            request(Method::POST, "/board", &ticket(), other),
            request(Method::GET, "/board/BOARD-1", "", other),
            request(Method::POST, "/board/BOARD-1/cancel", "{}", other),
        ])
        .await;
        assert!(answers.iter().all(|(status, _)| *status == 401), "{answers:?}");
    }

    #[actix_web::test]
    async fn a_test_is_answered_and_nonsense_refused() {
        let answers = sent(vec![
            request(Method::POST, "/board", r#"{"test":true}"#, SECRET),
            request(Method::POST, "/board", "{}", SECRET),
            request(Method::POST, "/board", "no JSON", SECRET),
        ])
        .await;
        let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
        assert_eq!(statuses, [200, 400, 400]);
    }
}
