//! Why there is no answer, told from what the layers below say.
//!
//! Causes are named by a code and a sentence of our own. What the layers say themselves may hold addresses and names
//! of the cluster's network, and says "client error" where an administrator has to know which certificate to renew.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsError};

use crate::registry::Oversize;

const CONNECT_CAUSES: [(io::ErrorKind, &str); 8] = [
    (
        io::ErrorKind::ConnectionRefused,
        "CONNECTION_REFUSED: nobody listens at the address of the API server",
    ),
    (io::ErrorKind::ConnectionReset, CUT),
    (io::ErrorKind::ConnectionAborted, CUT),
    (io::ErrorKind::BrokenPipe, CUT),
    (io::ErrorKind::UnexpectedEof, CUT),
    (
        io::ErrorKind::TimedOut,
        "CONNECTION_TIMED_OUT: the connection took too long",
    ),
    (io::ErrorKind::HostUnreachable, NO_ROUTE),
    (io::ErrorKind::NetworkUnreachable, NO_ROUTE),
];
const CUT: &str = "CONNECTION_CUT: the connection was closed before the answer was complete";
const NO_ROUTE: &str = "NO_ROUTE: there is no way to the address of the API server";
/// What the connector says when a name has no address; its type is not public.
const NAME_NOT_RESOLVED: &str = "dns error";

/// Alerts by which a server refuses the certificate of its client.
const CLIENT_REFUSED: [AlertDescription; 9] = [
    AlertDescription::NoCertificate,
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::CertificateRequired,
    AlertDescription::UnknownCA,
    AlertDescription::AccessDenied,
];

/// The cause of a failed request, when one is recognised.
pub(super) fn cause(error: &kube::Error) -> Option<&'static str> {
    let outermost: &(dyn StdError + 'static) = error;
    std::iter::successors(Some(outermost), |layer| below(*layer)).find_map(name)
}

/// What an error was made from. An IO error hides it: its source is the source of what it was made from.
fn below<'a>(layer: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match layer.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(hidden) => Some(hidden as &(dyn StdError + 'static)),
        None => layer.source(),
    }
}

fn name(layer: &(dyn StdError + 'static)) -> Option<&'static str> {
    if let Some(error) = layer.downcast_ref::<TlsError>() {
        return Some(of_tls(error));
    }
    if let Some(error) = layer.downcast_ref::<io::Error>() {
        let found = CONNECT_CAUSES.iter().find(|(kind, _)| *kind == error.kind());
        // An error that was made from another one says more below.
        return found
            .filter(|_| error.get_ref().is_none_or(|hidden| !hidden.is::<TlsError>()))
            .map(|(_, cause)| *cause);
    }
    if let Some(error) = layer.downcast_ref::<hyper::Error>() {
        return (error.is_incomplete_message() || error.is_closed()).then_some(CUT);
    }
    if layer.is::<Oversize>() {
        return Some("ANSWER_TOO_LARGE: the answer is longer than any honest one");
    }
    (layer.to_string() == NAME_NOT_RESOLVED).then_some("NAME_NOT_RESOLVED: the name of the API server has no address")
}

fn of_tls(error: &TlsError) -> &'static str {
    if let TlsError::InvalidCertificate(problem) = error {
        return of_certificate(problem);
    }
    if matches!(error, TlsError::AlertReceived(alert) if CLIENT_REFUSED.contains(alert)) {
        return "CLIENT_CERTIFICATE_REFUSED: the API server does not accept the certificate in the kubeconfig";
    }
    "TLS_FAILED: there is no secure connection to the API server"
}

fn of_certificate(problem: &CertificateError) -> &'static str {
    use CertificateError as Problem;

    if matches!(problem, Problem::Expired | Problem::ExpiredContext { .. }) {
        return "CERTIFICATE_EXPIRED: the certificate of the API server has expired, or the clock here is fast";
    }
    if matches!(problem, Problem::NotValidYet | Problem::NotValidYetContext { .. }) {
        return "CERTIFICATE_NOT_VALID_YET: the certificate of the API server is not valid yet, or the clock here is slow";
    }
    if matches!(problem, Problem::UnknownIssuer | Problem::BadSignature) {
        return "CERTIFICATE_UNKNOWN_ISSUER: the certificate of the API server is not of the CA in the kubeconfig";
    }
    if matches!(
        problem,
        Problem::NotValidForName | Problem::NotValidForNameContext { .. }
    ) {
        return "CERTIFICATE_WRONG_NAME: the certificate of the API server is for other names than its address";
    }
    "CERTIFICATE_INVALID: the certificate of the API server cannot be accepted"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through_layers(error: impl StdError + Send + Sync + 'static) -> Option<&'static str> {
        let within = io::Error::other(io::Error::other(error));
        cause(&kube::Error::Service(Box::new(within)))
    }

    #[test]
    fn certificates_are_told_apart() {
        for (problem, code) in [
            (CertificateError::Expired, "CERTIFICATE_EXPIRED"),
            (CertificateError::NotValidYet, "CERTIFICATE_NOT_VALID_YET"),
            (CertificateError::UnknownIssuer, "CERTIFICATE_UNKNOWN_ISSUER"),
            (CertificateError::NotValidForName, "CERTIFICATE_WRONG_NAME"),
            (CertificateError::BadEncoding, "CERTIFICATE_INVALID"),
        ] {
            let named = through_layers(TlsError::InvalidCertificate(problem)).unwrap();
            assert!(named.starts_with(&format!("{code}: ")), "{named}");
        }
    }

    #[test]
    fn a_refused_client_is_told_from_a_refused_handshake() {
        let refused = |alert| through_layers(TlsError::AlertReceived(alert)).unwrap();
        assert!(refused(AlertDescription::CertificateExpired).starts_with("CLIENT_CERTIFICATE_REFUSED: "));
        assert!(refused(AlertDescription::ProtocolVersion).starts_with("TLS_FAILED: "));
    }

    #[test]
    fn what_the_connection_says_is_named() {
        for (kind, code) in [
            (io::ErrorKind::ConnectionRefused, "CONNECTION_REFUSED"),
            (io::ErrorKind::ConnectionReset, "CONNECTION_CUT"),
            (io::ErrorKind::TimedOut, "CONNECTION_TIMED_OUT"),
            (io::ErrorKind::NetworkUnreachable, "NO_ROUTE"),
        ] {
            let named = through_layers(io::Error::from(kind)).unwrap();
            assert!(named.starts_with(&format!("{code}: ")), "{named}");
        }
        assert!(through_layers(Oversize).unwrap().starts_with("ANSWER_TOO_LARGE: "));
        assert_eq!(through_layers(io::Error::other("something else")), None);
    }

    #[test]
    fn tls_below_a_broken_connection_is_what_counts() {
        let alert = TlsError::AlertReceived(AlertDescription::CertificateRequired);
        let broken = io::Error::new(io::ErrorKind::ConnectionAborted, alert);
        let named = through_layers(broken).unwrap();
        assert!(named.starts_with("CLIENT_CERTIFICATE_REFUSED: "), "{named}");
    }
}
