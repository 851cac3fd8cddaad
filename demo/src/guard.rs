//! Who may change something, and through which names the server may be reached.
//!
//! On a loopback address the calls need no credential, which makes them a target for every web page that the same person
//! has open. So a page of another origin is refused, and so is a `Host` that is not the loopback itself: a foreign name
//! that was made to resolve to 127.0.0.1 (DNS rebinding) would otherwise be of the same origin. On any other address a
//! call that changes something needs the admin token.

use crate::authoriser::bearer;
use crate::secret::Secret;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use transport_core::{Origins, Refusal};

/// From where the server can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// From this machine only.
    Loopback,
    /// From other machines too.
    Network,
}

impl Reach {
    /// Tells the reach of an address to listen on; the unspecified address (`0.0.0.0`, `[::]`) reaches the network.
    #[must_use]
    pub fn of(address: SocketAddr) -> Self {
        if address.ip().to_canonical().is_loopback() { Self::Loopback } else { Self::Network }
    }
}

/// The rules of one server.
#[derive(Debug)]
pub(crate) struct Guard {
    reach: Reach,
    admin_token: Option<Secret>,
}

impl Guard {
    pub(crate) fn new(reach: Reach, admin_token: Option<Secret>) -> Self {
        Self { reach, admin_token }
    }

    fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.reach == Reach::Loopback && !names_loopback(headers) {
            let reason = "this server answers to localhost and loopback addresses only: mind the `Host`";
            return Err(Refusal::new(StatusCode::FORBIDDEN, reason));
        }
        if method.is_safe() {
            return Ok(());
        }
        Origins::Same.check(headers)?;
        match (&self.admin_token, self.reach) {
            (Some(token), _) if bearer(headers).is_some_and(|presented| token.is(presented)) => Ok(()),
            (Some(_), _) => {
                let reason = "this call needs the admin token: send `Authorization: Bearer <admin token>`";
                Err(Refusal::new(StatusCode::UNAUTHORIZED, reason))
            }
            (None, Reach::Loopback) => Ok(()),
            (None, Reach::Network) => {
                let reason = "this server can be reached from other machines and was started without `--admin-token`: \
                              it refuses calls that change something";
                Err(Refusal::new(StatusCode::FORBIDDEN, reason))
            }
        }
    }
}

/// Checks every request.
pub(crate) async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Result<Response, Refusal> {
    guard.check(request.method(), request.headers())?;
    Ok(next.run(request).await)
}

/// Tells whether the one `Host` is this machine by a name that no resolver can redirect.
fn names_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else { return false };
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_loopback() {
        for local in ["127.0.0.1:0", "127.8.9.1:80", "[::1]:3000", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(Reach::of(local.parse().unwrap()), Reach::Loopback, "{local}");
        }
        for wide in ["0.0.0.0:0", "[::]:3000", "192.0.2.1:80", "[2001:db8::1]:80"] {
            assert_eq!(Reach::of(wide.parse().unwrap()), Reach::Network, "{wide}");
        }
    }

    #[test]
    fn only_names_of_the_loopback_are_hosts() {
        let check = |hosts: &[&str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, host.parse().unwrap());
            }
            names_loopback(&headers)
        };
        for host in ["localhost", "LOCALHOST:3000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:3000"] {
            assert!(check(&[host]), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0", "192.0.2.1", "a b"]
        {
            assert!(!check(&[host]), "{host}");
        }
        assert!(!check(&[]) && !check(&["localhost", "evil.example"]));
    }
}
