//! Where a request may carry its credential.

use super::asked::protocols;
use super::refusal::Refusal;
use axum::http::header;
use axum::http::request::Parts;
use axum_extra::extract::CookieJar;
use axum_extra::headers::Header;
use axum_extra::headers::authorization::{Authorization, Bearer};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::fmt;
use subtle::ConstantTimeEq;

/// What begins a subprotocol that is a credential.
const PROTOCOL: &str = "bearer.";

/// The credential of a request.
///
/// A page cannot set a header on its `WebSocket`, but it can offer subprotocols. So a token is read
/// from `Authorization: Bearer …`, or from the subprotocol `bearer.` and the token in base64url
/// without padding; a request without a token has its cookies (ADM-9). A cookie beside a token is
/// ignored: a browser adds cookies by itself, and the page has chosen the token.
///
/// # Examples
/// ```
/// use axum::http::request::Parts;
/// use transport_core::{Authorise, Credential, Grant, Refusal, async_trait};
///
/// struct Sessions {
///     token: String,
/// }
///
/// #[async_trait]
/// impl Authorise for Sessions {
///     async fn authorise(&self, request: &Parts) -> Result<Grant, Refusal> {
///         let is_good = match Credential::of(request)? {
///             Credential::Token(token) => token.matches(&self.token),
///             Credential::Cookies(cookies) => {
///                 cookies.get("session").is_some_and(|cookie| cookie.value() == "17")
///             }
///             _ => false,
///         };
///         if !is_good {
///             return Err(Refusal::unauthenticated("sign in"));
///         }
///         Ok(Grant::only(["runs"]))
///     }
/// }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum Credential {
    /// A token that the client chose to send.
    Token(Token),
    /// No token; the cookies that the browser sent.
    Cookies(CookieJar),
    /// Neither.
    Absent,
}

impl Credential {
    /// Reads the credential of a request.
    ///
    /// # Errors
    /// `400` for two tokens, for an `Authorization` of another scheme, and for a subprotocol
    /// `bearer.` without a token in it.
    pub fn of(request: &Parts) -> Result<Self, Refusal> {
        let headers = &request.headers;
        let offered = protocols(headers).filter_map(|offered| offered.strip_prefix(PROTOCOL));
        let offered = offered.map(|text| decode(text).ok_or_else(unreadable_protocol));
        let mut tokens: Vec<Token> = offered.collect::<Result<_, _>>()?;
        for value in headers.get_all(header::AUTHORIZATION) {
            let parsed = Authorization::<Bearer>::decode(&mut std::iter::once(value));
            let bearer = parsed.map_err(|_| Refusal::bad_request(OTHER_SCHEME))?;
            tokens.push(Token(bearer.token().to_owned()));
        }
        match (tokens.pop(), tokens.is_empty()) {
            (Some(token), true) => Ok(Self::Token(token)),
            (Some(_), false) => Err(Refusal::bad_request(TWO)),
            (None, _) if headers.contains_key(header::COOKIE) => {
                Ok(Self::Cookies(CookieJar::from_headers(headers)))
            }
            (None, _) => Ok(Self::Absent),
        }
    }
}

const TWO: &str = "the request has two tokens: send one, in `Authorization` or as a subprotocol";
const OTHER_SCHEME: &str = "`Authorization` is not `Bearer` and a token";

fn unreadable_protocol() -> Refusal {
    Refusal::bad_request("the subprotocol `bearer.` is not followed by a token in base64url")
}

fn decode(text: &str) -> Option<Token> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| !bytes.is_empty())?;
    String::from_utf8(bytes).ok().map(Token)
}

/// Shows which kind it is, and no secret.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(token) => token.fmt(f),
            Self::Cookies(cookies) => write!(f, "Cookies({})", cookies.iter().count()),
            Self::Absent => f.write_str("Absent"),
        }
    }
}

/// A token. `Debug` does not show it.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Returns the token, to look it up or to verify its signature.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares it with a secret, in a time that depends on their lengths only.
    #[must_use]
    pub fn matches(&self, secret: impl AsRef<[u8]>) -> bool {
        self.0.as_bytes().ct_eq(secret.as_ref()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn of(headers: &[(&str, &str)]) -> Result<Credential, Refusal> {
        let mut request = Request::get("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Credential::of(&request.body(()).unwrap().into_parts().0)
    }

    fn token(headers: &[(&str, &str)]) -> String {
        match of(headers).unwrap() {
            Credential::Token(token) => token.as_str().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    const COOKIE: (&str, &str) = ("cookie", "session=17; theme=dark");
    const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", "live.v1, bearer.c2VjcmV0");
    const HEADER: (&str, &str) = ("authorization", "Bearer secret");

    #[test]
    fn adm_9_a_token_is_read_from_the_header_or_the_subprotocol_and_hides_the_cookies() {
        for headers in [&[HEADER][..], &[PROTOCOL], &[COOKIE, HEADER], &[PROTOCOL, COOKIE]] {
            assert_eq!(token(headers), "secret", "{headers:?}");
        }
        assert_eq!(token(&[("authorization", "bearer  secret")]).trim(), "secret");
    }

    #[test]
    fn adm_9_a_request_without_a_token_has_its_cookies() {
        let Credential::Cookies(cookies) = of(&[COOKIE]).unwrap() else { panic!("no cookies") };
        assert_eq!(cookies.get("session").unwrap().value(), "17");
        assert!(matches!(of(&[]).unwrap(), Credential::Absent));
        let no_token = ("sec-websocket-protocol", "live.v1");
        assert!(matches!(of(&[no_token]).unwrap(), Credential::Absent));
    }

    #[test]
    fn adm_9_two_tokens_and_what_is_no_token_are_bad_requests() {
        let two_protocols = ("sec-websocket-protocol", "bearer.YQ, bearer.Yg");
        for headers in [
            &[HEADER, PROTOCOL][..],
            &[HEADER, HEADER],
            &[PROTOCOL, PROTOCOL],
            &[two_protocols],
            &[("authorization", "Basic YTpi")],
            &[("authorization", "Bearer")],
            &[("sec-websocket-protocol", "bearer.")],
            &[("sec-websocket-protocol", "bearer.c2VjcmV0==")],
            &[("sec-websocket-protocol", "bearer.__8")],
            &[COOKIE, ("authorization", "")],
        ] {
            let refusal = of(headers).expect_err(&format!("{headers:?}"));
            assert_eq!(refusal.status(), 400, "{headers:?}: {refusal}");
        }
    }

    #[test]
    fn adm_9_a_token_is_compared_whole_and_not_shown() {
        let token = Token("secret".into());
        assert!(token.matches("secret"));
        assert!(["", "secre", "secret ", "Secret"].iter().all(|other| !token.matches(other)));
        assert_eq!(format!("{token:?}"), "Token(6 bytes)");
        assert_eq!(format!("{:?}", of(&[COOKIE]).unwrap()), "Cookies(2)");
    }
}
