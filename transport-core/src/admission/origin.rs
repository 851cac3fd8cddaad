//! Which web pages may connect.

use super::refusal::Refusal;
use axum::http::{HeaderMap, Uri, header};

/// Which values of the `Origin` header are accepted.
///
/// A browser always sends the header, and a page cannot change it. A request without it does not
/// come from a page and is accepted (WS-3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Origins {
    /// Pages of the requested host: the default. The scheme is not compared, since a proxy in front
    /// may have ended TLS.
    #[default]
    Same,
    /// Pages of the requested host, and of these origins: `https://app.example.org`.
    SameOr(Vec<String>),
    /// Every page of the world: only for public data.
    Any,
}

impl Origins {
    /// Checks the headers of a request.
    ///
    /// # Errors
    /// A `403` that names the origin and the host that it was compared with.
    ///
    /// # Examples
    /// ```
    /// use axum::http::{HeaderMap, StatusCode, header};
    /// use transport_core::Origins;
    ///
    /// let mut headers = HeaderMap::new();
    /// headers.insert(header::HOST, "live.example".parse().unwrap());
    /// headers.insert(header::ORIGIN, "https://app.example".parse().unwrap());
    /// assert_eq!(Origins::Same.check(&headers).unwrap_err().status(), StatusCode::FORBIDDEN);
    /// assert_eq!(Origins::SameOr(vec!["https://app.example".into()]).check(&headers), Ok(()));
    /// ```
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else { return Ok(()) };
        let origin = origin.to_str().unwrap_or("not ASCII");
        let listed = match self {
            Self::Any => true,
            Self::Same => false,
            Self::SameOr(list) => list.iter().any(|listed| listed.eq_ignore_ascii_case(origin)),
        };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        if origins.next().is_none() && (listed || host.is_some_and(|host| same_host(origin, host)))
        {
            return Ok(());
        }
        let host = host.unwrap_or_default();
        let reason = format!(
            "pages of the origin {origin:?} may not connect here: it is not that of the requested \
             host {host:?}, and `LiveOptions::with_origins` does not list it"
        );
        Err(Refusal::forbidden(reason))
    }
}

/// Compares host and port; an absent port is the one of the origin's scheme.
fn same_host(origin: &str, host: &str) -> bool {
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (origin.scheme_str(), origin.authority()) else {
        return false;
    };
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let Ok(host) = host.parse::<axum::http::uri::Authority>() else { return false };
    let port = |authority: &axum::http::uri::Authority| authority.port_u16().unwrap_or(default);
    authority.host().eq_ignore_ascii_case(host.host()) && port(authority) == port(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(origins: &Origins, origin: Option<&str>, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        origins.check(&headers).is_ok()
    }

    #[test]
    fn ws_3_only_pages_of_the_same_host_by_default() {
        let same = Origins::default();
        for (origin, host) in [
            ("http://live.example", "live.example"),
            ("https://live.example", "live.example:443"),
            ("http://LIVE.example:80", "live.Example"),
            ("http://[::1]:3000", "[::1]:3000"),
        ] {
            assert!(accepts(&same, Some(origin), host), "{origin} at {host}");
        }
        for (origin, host) in [
            ("http://evil.example", "live.example"),
            ("http://live.example.evil", "live.example"),
            ("http://notlive.example", "live.example"),
            ("http://live.example", "notlive.example"),
            ("http://live.example", "live.example.evil"),
            ("http://live.example@evil.example", "live.example"),
            ("http://live.example:443", "live.example"),
            ("http://live.example:81", "live.example"),
            ("null", "live.example"),
            ("file://", "live.example"),
            ("ftp://live.example", "live.example"),
            ("", "live.example"),
        ] {
            assert!(!accepts(&same, Some(origin), host), "{origin} at {host}");
        }
        assert!(
            accepts(&same, None, "live.example"),
            "a client that is no browser sends no origin"
        );
    }

    #[test]
    fn ws_3_a_list_adds_and_any_is_any() {
        let list = Origins::SameOr(vec!["https://app.example".into()]);
        assert!(accepts(&list, Some("https://app.example"), "live.example"));
        assert!(accepts(&list, Some("https://live.example"), "live.example"));
        for other in [
            "http://app.example",
            "https://app.example.evil",
            "https://app.example:444",
            "https://app.exampl",
            "https://notapp.example",
            "app.example",
            "",
        ] {
            assert!(!accepts(&list, Some(other), "live.example"), "{other}");
        }
        assert!(accepts(&Origins::Any, Some("http://evil.example"), "live.example"));
    }

    #[test]
    fn ws_3_a_refusal_names_the_compared_hosts_and_the_option_that_helps() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, "https://app.example".parse().unwrap());
        for host in [None, Some("live.example:8080")] {
            headers.extend(host.map(|host| (header::HOST, host.parse().unwrap())));
            let refusal = Origins::Same.check(&headers).unwrap_err();
            let host = format!("{:?}", host.unwrap_or_default());
            for part in ["\"https://app.example\"", host.as_str(), "with_origins"] {
                assert!(refusal.reason().contains(part), "{refusal}");
            }
        }
    }

    #[test]
    fn ws_3_two_origins_are_one_too_many() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "live.example".parse().unwrap());
        headers.append(header::ORIGIN, "http://live.example".parse().unwrap());
        headers.append(header::ORIGIN, "http://evil.example".parse().unwrap());
        assert!(Origins::Same.check(&headers).is_err());
    }
}
