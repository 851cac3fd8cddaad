//! Guards the calls of administrators, and the names through which the server may be reached.
//!
//! On a loopback address these calls need no credential, which makes them a target for every web
//! page that the same person has open. So a page of another origin is refused, and so is a `Host`
//! that is not the loopback itself: another name that was made to resolve to 127.0.0.1 (DNS
//! rebinding) would otherwise be of the same origin. On any other address they need the admin
//! token, and a token that was given is asked for everywhere.

use crate::authoriser::bearer;
use crate::guesses::{Guesses, Verdict};
use crate::secret::Secret;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::time::Instant;
use transport_core::{Origins, Refusal};

/// From where the server can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reach {
    /// From this machine only.
    Loopback,
    /// From other machines too.
    Network,
}

impl Reach {
    /// Tells the reach of an address to listen on; the unspecified address (`0.0.0.0`, `[::]`)
    /// reaches the network.
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
    /// The paths that every client may `GET`. All other calls of the router are for administrators.
    readable: HashSet<&'static str>,
    guesses: Guesses,
}

impl Guard {
    pub(crate) fn new(
        reach: Reach,
        admin_token: Option<Secret>,
        readable: HashSet<&'static str>,
    ) -> Self {
        Self { reach, admin_token, readable, guesses: Guesses::default() }
    }

    /// Returns how many wrong admin tokens were presented and looked at.
    pub(crate) fn wrong_tokens(&self) -> u64 {
        self.guesses.wrong()
    }

    fn check(&self, request: &Request) -> Result<(), Refusal> {
        let headers = request.headers();
        if self.reach == Reach::Loopback && !names_loopback(headers) {
            let reason =
                "this server answers to localhost and loopback addresses only: mind the `Host`";
            return Err(Refusal::new(StatusCode::FORBIDDEN, reason));
        }
        let path = request.extensions().get::<MatchedPath>();
        // An address that the router does not know is answered `404` to every client.
        let is_readable = path.is_none_or(|path| self.readable.contains(path.as_str()));
        if request.method().is_safe() && is_readable {
            return Ok(());
        }
        // Before the token, so that a page of another site in an administrator's browser cannot
        // make wrong guesses for that address.
        Origins::Same.check(headers)?;
        match (&self.admin_token, self.reach) {
            (Some(token), _) => self.check_token(token, request),
            (None, Reach::Loopback) => Ok(()),
            (None, Reach::Network) => {
                let reason = "this server can be reached from other machines and was started \
                              without an admin token: it refuses this call. Start it with \
                              `--admin-token-file`";
                Err(Refusal::new(StatusCode::FORBIDDEN, reason))
            }
        }
    }

    fn check_token(&self, token: &Secret, request: &Request) -> Result<(), Refusal> {
        let unauthenticated = |reason: &str| Refusal::new(StatusCode::UNAUTHORIZED, reason);
        let Some(presented) = bearer(request.headers()) else {
            let reason =
                "this call needs the admin token: send `Authorization: Bearer <admin token>`";
            return Err(unauthenticated(reason));
        };
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let from = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
        match self.guesses.judge(from, Instant::now(), || token.is(presented)) {
            Verdict::Right => Ok(()),
            Verdict::Wrong => {
                Err(unauthenticated("this is not the admin token, which this call needs"))
            }
            Verdict::Later(wait) => {
                let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
                let reason =
                    format!("too many wrong admin tokens from your address: wait {seconds} s");
                Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, reason).with_retry_after(seconds))
            }
        }
    }
}

/// Checks every request.
pub(crate) async fn guard(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    guard.check(&request)?;
    Ok(next.run(request).await)
}

/// Tells whether the one `Host` is this machine by a name that no resolver can redirect.
fn names_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
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
        for host in
            ["localhost", "LOCALHOST:3000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:3000"]
        {
            assert!(check(&[host]), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "192.0.2.1",
            "a b",
        ] {
            assert!(!check(&[host]), "{host}");
        }
        assert!(!check(&[]) && !check(&["localhost", "evil.example"]));
    }
}
