//! The cookie that carries a token from the answer of the API to the console.
//!
//! Scripts cannot read it, other sites cannot make a browser send it, and it goes to one address only.

use actix_web::HttpRequest;
use actix_web::http::header::COOKIE;
use shepherd_domain::ids::VmId;
use shepherd_usecases::console::token::Issued;

use crate::http::api::BASE;

/// Its name.
const NAME: &str = "vnc_bootstrap";
/// Seconds a browser keeps it.
const MAX_AGE: u32 = 60;

/// Where the console of a machine is.
pub(in crate::http) fn path(vm: VmId) -> String {
    format!("{BASE}/vms/{vm}/vnc")
}

/// `Set-Cookie` for a token.
pub(in crate::http) fn bootstrap(vm: VmId, token: &Issued) -> String {
    set(vm, &token.cookie, MAX_AGE)
}

/// `Set-Cookie` that takes it back.
pub(in crate::http) fn cleared(vm: VmId) -> String {
    set(vm, "", 0)
}

fn set(vm: VmId, value: &str, max_age: u32) -> String {
    let path = path(vm);
    format!("{NAME}={value}; Path={path}; Max-Age={max_age}; HttpOnly; Secure; SameSite=Strict")
}

/// The token of a request. Browsers send the cookie of the longest path first, so one that somebody planted above it
/// comes later.
pub(in crate::http) fn read(request: &HttpRequest) -> Option<&str> {
    request
        .headers()
        .get_all(COOKIE)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == NAME && !value.is_empty()).then_some(value)
        })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const VM: VmId = VmId::from_bits(0x0198_3f0e_7c1e_7aa0_8000_2f6d_2c1d_9a10);

    #[test]
    fn the_cookie_goes_to_one_console_and_to_no_script() {
        let wanted = "vnc_bootstrap=abc; Path=/api/v1/vms/01983f0e-7c1e-7aa0-8000-2f6d2c1d9a10/vnc; Max-Age=60; \
             HttpOnly; Secure; SameSite=Strict";
        assert_eq!(set(VM, "abc", MAX_AGE), wanted);
        assert!(cleared(VM).starts_with("vnc_bootstrap=; Path=/api/v1/vms/"));
        assert!(cleared(VM).contains("; Max-Age=0;"));
    }

    #[test]
    fn the_token_is_found_among_other_cookies() {
        let read_from = |headers: &[&str]| {
            let mut request = TestRequest::default();
            for header in headers {
                request = request.append_header((COOKIE, *header));
            }
            read(&request.to_http_request()).map(str::to_owned)
        };
        assert_eq!(read_from(&["a=b; vnc_bootstrap=t-_1; c=d"]).as_deref(), Some("t-_1"));
        assert_eq!(
            read_from(&["a=b", "vnc_bootstrap=x; vnc_bootstrap=y"]).as_deref(),
            Some("x")
        );
        assert_eq!(read_from(&["vnc_bootstrap=; xvnc_bootstrap=z; a"]), None);
        assert_eq!(read_from(&[]), None);
    }
}
