//! One request to an API server, as traces show it: which cluster, what is done to what, and how it was answered.

use hyper::{Method, StatusCode, Uri};
use shepherd_domain::ids::ClusterId;
use tracing::Span;
use tracing::field::Empty;

use super::client::is_watch;

/// What a request is about, in the words of Kubernetes: `patch` `virtualmachines`, `update` `virtualmachines/start`.
#[derive(Debug, PartialEq, Eq)]
struct Described {
    verb: &'static str,
    resource: String,
}

/// The span of a request that is made for the span that is current. One that is made for nobody, as those of health
/// checks and watches, is in no trace: there would be a trace of a single span every few seconds for ever.
pub(super) fn span(cluster: ClusterId, method: &Method, uri: &Uri) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    let Described { verb, resource } = describe(method, uri);
    tracing::info_span!(
        "cluster call",
        otel.name = format_args!("{verb} {resource}"),
        otel.kind = "client",
        otel.status_code = Empty,
        %cluster,
        verb,
        resource,
        http.request.method = method.as_str(),
        http.response.status_code = Empty,
    )
}

/// Notes how a request was answered, or that it was not.
pub(super) fn answered(span: &Span, status: Option<StatusCode>) {
    if let Some(status) = status {
        // Traces know signed numbers only, and would show others as text.
        span.record("http.response.status_code", i64::from(status.as_u16()));
    }
    if status.is_none_or(|status| status.is_client_error() || status.is_server_error()) {
        span.record("otel.status_code", "ERROR");
    }
}

/// `/api/{version}` or `/apis/{group}/{version}`, then perhaps `namespaces/{name}`, then the resource, its name and its
/// subresource. What is no resource is named by the first part of its path: `version`, `openapi`.
fn describe(method: &Method, uri: &Uri) -> Described {
    let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let below = match parts.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => &[],
    };
    let below = match below {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        other => other,
    };
    let is_one = below.len() > 1;
    let resource = match below {
        [] => (*parts.first().unwrap_or(&"")).to_owned(),
        [resource] | [resource, _] => (*resource).to_owned(),
        [resource, _, subresource, ..] => format!("{resource}/{subresource}"),
    };
    Described {
        verb: verb(method, uri, is_one || below.is_empty()),
        resource,
    }
}

fn verb(method: &Method, uri: &Uri, is_one: bool) -> &'static str {
    match method.as_str() {
        "GET" if is_watch(uri) => "watch",
        "GET" if is_one => "get",
        "GET" => "list",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_as_kubernetes_names_them() {
        for (method, uri, verb, resource) in [
            (Method::GET, "/version", "get", "version"),
            (Method::GET, "/apis/kubevirt.io/v1", "get", "apis"),
            (Method::GET, "/api/v1/namespaces", "list", "namespaces"),
            (Method::GET, "/api/v1/namespaces/shop", "get", "namespaces"),
            (
                Method::GET,
                "/apis/kubevirt.io/v1/virtualmachines?&watch=true&timeoutSeconds=290",
                "watch",
                "virtualmachines",
            ),
            (
                Method::PATCH,
                "/apis/kubevirt.io/v1/namespaces/shop/virtualmachines/web-1?fieldManager=x",
                "patch",
                "virtualmachines",
            ),
            (
                Method::PUT,
                "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachines/web-1/start",
                "update",
                "virtualmachines/start",
            ),
            (Method::POST, "/api/v1/namespaces/shop/secrets", "create", "secrets"),
            (Method::OPTIONS, "/", "other", ""),
        ] {
            let described = describe(&method, &uri.parse().unwrap());
            assert_eq!((described.verb, described.resource.as_str()), (verb, resource), "{uri}");
        }
    }
}
