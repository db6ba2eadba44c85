//! Answers, and how they become HTTP responses.

use std::io;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, HttpResponseBuilder};
use futures::stream::{self, LocalBoxStream};
use serde_json::Value;

use super::stream::Session;
use crate::status::ApiError;

/// One answer.
pub(crate) enum Reply {
    /// A JSON document, with warnings for the client's user.
    Json {
        /// HTTP status.
        code: u16,
        /// The document.
        body: Value,
        /// `Warning` headers.
        warnings: Vec<String>,
        /// A content type other than plain JSON.
        content_type: Option<&'static str>,
    },
    /// A `Status` with its code.
    Error(ApiError),
    /// Plain text.
    Text(&'static str),
    /// Accepted, without a body.
    Accepted,
    /// A stream of watch events.
    Stream(LocalBoxStream<'static, io::Result<Bytes>>),
    /// A console, which takes the connection over.
    Console(Box<Session>),
    /// Half of another answer.
    Truncated(u16, Bytes),
    /// No answer at all; the connection goes away.
    Drop,
}

impl Reply {
    /// 200 with a document.
    pub fn ok(body: Value) -> Self {
        Self::with_code(200, body)
    }

    /// A document with a code.
    pub fn with_code(code: u16, body: Value) -> Self {
        Self::Json {
            code,
            body,
            warnings: Vec::new(),
            content_type: None,
        }
    }

    /// The HTTP status, 0 when there is none.
    pub fn code(&self) -> u16 {
        match self {
            Self::Json { code, .. } | Self::Truncated(code, _) => *code,
            Self::Error(error) => error.code,
            Self::Text(_) | Self::Stream(_) => 200,
            Self::Accepted => 202,
            Self::Console(_) => 101,
            Self::Drop => 0,
        }
    }

    /// The same answer, broken off in the middle of its document.
    pub fn truncated(self) -> Self {
        let (code, body) = match self {
            Self::Json { code, body, .. } => (code, body),
            Self::Error(error) => (error.code, error.to_status()),
            Self::Text(_) | Self::Accepted | Self::Stream(_) | Self::Console(_) | Self::Truncated(..) | Self::Drop => {
                return self;
            }
        };
        let text = body.to_string();
        let mut half = text.len() / 2;
        while !text.is_char_boundary(half) {
            half -= 1;
        }
        Self::Truncated(code, Bytes::copy_from_slice(&text.as_bytes()[..half]))
    }

    /// The HTTP response; a console goes on reading what the client sends.
    pub fn into_response(self, payload: Payload) -> HttpResponse {
        match self {
            Self::Json {
                code,
                body,
                warnings,
                content_type,
            } => {
                let mut response = start(code);
                for warning in warnings {
                    if let Ok(value) = HeaderValue::from_str(&format!("299 - {warning:?}")) {
                        response.append_header((WARNING, value));
                    }
                }
                response.insert_header((CONTENT_TYPE, content_type.unwrap_or("application/json")));
                response.body(body.to_string())
            }
            Self::Error(error) => {
                let mut response = start(error.code);
                if let Some(seconds) = error.retry_after {
                    response.insert_header((RETRY_AFTER, seconds.to_string()));
                }
                response.insert_header((CONTENT_TYPE, "application/json"));
                response.body(error.to_status().to_string())
            }
            Self::Text(text) => HttpResponse::Ok()
                .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
                .body(text),
            Self::Accepted => HttpResponse::Accepted().finish(),
            Self::Stream(events) => HttpResponse::Ok()
                .insert_header((CONTENT_TYPE, "application/json"))
                .streaming(events),
            Self::Console(session) => session.into_response(payload),
            Self::Truncated(code, half) => start(code).insert_header((CONTENT_TYPE, "application/json")).body(half),
            // A body that fails at its first byte makes actix close the connection before the head is sent.
            Self::Drop => HttpResponse::Ok().streaming(stream::once(async { Err::<Bytes, _>(cut()) })),
        }
    }
}

/// The error that makes actix cut a connection.
pub(crate) fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "cut by a simulated fault")
}

fn start(code: u16) -> HttpResponseBuilder {
    HttpResponse::build(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
}
