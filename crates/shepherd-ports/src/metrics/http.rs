//! Requests to the API.

use std::time::Duration;

use ::metrics::{counter, histogram};

/// The methods that exist; anybody can send others.
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "CONNECT"];
const OTHER_METHOD: &str = "OTHER";
/// The route of requests that go to none.
const UNMATCHED: &str = "unmatched";

/// A request was answered. The route is the pattern it matched, as `/api/v1/vms/{vm_id}`, never the path itself.
pub fn http_request(method: &str, route: Option<String>, status: u16, took: Duration) {
    let method = known(method);
    let route = route.unwrap_or_else(|| UNMATCHED.to_owned());
    counter!("http_requests_total", "method" => method, "route" => route.clone(), "status" => status.to_string())
        .increment(1);
    histogram!("http_request_duration_seconds", "method" => method, "route" => route).record(took);
}

fn known(method: &str) -> &'static str {
    METHODS
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or(OTHER_METHOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_somebody_invents_are_one() {
        assert_eq!(known("PATCH"), "PATCH");
        for invented in ["BREW", "get", "", "PROPFIND"] {
            assert_eq!(known(invented), "OTHER");
        }
    }
}
