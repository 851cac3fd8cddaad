//! The page, as a browser gets it.

use crate::client::TestServer;

#[tokio::test]
async fn the_page_and_its_parts_are_served_under_a_strict_policy() {
    let server = TestServer::start().await;
    let mut page = String::new();
    for (path, kind) in [
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/live.js", "text/javascript; charset=utf-8"),
        ("/app.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/", "text/html; charset=utf-8"),
    ] {
        let response = server.get(path, &[]).await;
        assert_eq!((response.status, response.header("content-type")), (200, Some(kind)), "{path}");
        let policy = response.header("content-security-policy").unwrap();
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'),
            "{policy}"
        );
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(response.header("referrer-policy"), Some("no-referrer"));
        page = response.body;
    }
    // The parts that it refers to exist, on its own server.
    let parts: Vec<&str> = page
        .split("src=\"")
        .chain(page.split("href=\""))
        .filter(|part| part.starts_with('/'))
        .collect();
    assert!(parts.len() >= 4, "{parts:?}");
    for part in parts {
        let path = part.split('"').next().unwrap();
        assert_eq!(server.get(path, &[]).await.status, 200, "{path}");
    }
    assert!(!page.contains("://"), "nothing of another site");
}

#[tokio::test]
async fn the_script_sets_text_as_text() {
    let server = TestServer::start().await;
    let mut script = server.get("/app.js", &[]).await.body;
    script += &server.get("/live.js", &[]).await.body;
    for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "://"] {
        assert!(!script.contains(sink), "{sink}");
    }
}

#[tokio::test]
async fn every_answer_of_the_api_is_kept_by_no_cache_and_shown_on_no_other_site() {
    let server = TestServer::start().await;
    let other_host = [("host", "evil.example")];
    for (path, headers, status) in [
        ("/api/stats", &[][..], 200),
        ("/api/stats", &other_host[..], 403),
        ("/nothing", &[][..], 404),
        ("/", &[][..], 200),
    ] {
        let response = server.get(path, headers).await;
        assert_eq!(response.status, status, "{path}");
        assert_eq!(
            response.header("cross-origin-resource-policy"),
            Some("same-origin"),
            "{path} {status}"
        );
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{path} {status}");
        if path != "/" {
            assert_eq!(response.header("cache-control"), Some("no-store"), "{path} {status}");
        }
    }
}
