//! Broadcasting: the report, the payload as it arrives, and what is refused.

use crate::client::{TestServer, call, exchange, head};
use serde_json::json;

const LIMIT: usize = 1 << 20;

#[tokio::test]
async fn del_7_the_report_is_exact_and_its_id_is_the_one_on_the_wire() {
    let server = TestServer::start().await;
    let ada = server.sign_in("ada").await;
    let mut sse = ada.sse(&server, "/events?channels=runs").await;
    let mut ws = ada.ws(&server, "/ws?channels=runs,jobs").await;
    let mut ids = Vec::new();
    for (channel, heard) in [("runs", 2), ("jobs", 1), ("nobody", 0), ("runs", 2)] {
        let report = server.broadcast(channel, "{}").await;
        let id = report["id"].as_str().unwrap().to_owned();
        let expected = json!({
            "id": id, "matched": heard, "accepted": heard, "dropped": 0, "lagged": 0,
            "failed": 0, "ended": 0, "pending": 0,
        });
        assert_eq!(report, expected);
        ids.push(id);
    }
    assert_eq!(
        [sse.next().await.unwrap().id, sse.next().await.unwrap().id],
        [ids[0].clone(), ids[3].clone()]
    );
    for _ in 0..3 {
        assert_eq!(ws.data().await, "{}");
    }
}

#[tokio::test]
async fn sse_2_a_payload_arrives_byte_for_byte() {
    let server = TestServer::start().await;
    let ada = server.sign_in("ada").await;
    let (mut sse, mut ws) = (ada.sse(&server, "/events").await, ada.ws(&server, "/ws").await);
    let big = format!("\"{}\"", "x".repeat(LIMIT - 2));
    for json in [
        "{\n  \"b\": 1,\n\n  \"a\": [\n    1.50,\t1e3\n  ]\n}",
        r#""\u0000 \ud83d\ude00 \/ é é 😀""#,
        "\"\u{feff}\u{2028}\u{2029}\u{7f}\"",
        r#"{"a":1,"a":2}"#,
        "123456789012345678901234567890.000",
        r#""data: x\n\nevent: close""#,
        r#""\ud800""#,
        "null",
        &big,
    ] {
        assert_eq!(server.broadcast("runs", json).await["accepted"], 2, "{json:.40}");
        assert!(sse.data().await == json, "{json:.40}");
        assert!(ws.data().await == json, "{json:.40}");
    }
    // White space around the text is not a part of it.
    server.broadcast("runs", " \n[1]\n ").await;
    assert_eq!((sse.data().await, ws.data().await), ("[1]".into(), "[1]".into()));
}

#[tokio::test]
async fn flt_4_any_name_is_a_channel() {
    let server = TestServer::start().await;
    let ada = server.sign_in("ada").await;
    for (number, encoded) in [
        "",
        "a%2Fb",
        "%2F",
        "%20",
        "%00",
        "%C3%A4",
        "__proto__",
        "constructor",
        "a+b",
        "%25",
        "a;b",
        "%3F%23",
    ]
    .into_iter()
    .enumerate()
    {
        let query = encoded.replace('+', "%2B");
        let mut stream = ada.sse(&server, &format!("/events?channel={query}")).await;
        assert_eq!(server.broadcast(encoded, &number.to_string()).await["matched"], 1, "{encoded}");
        assert_eq!(stream.data().await, number.to_string());
        drop(stream);
    }
    assert_eq!(server.post("/api/channels/%ff", "1").await.status, 400);
    assert_eq!(server.post("/api/channels/a/b", "1").await.status, 404);
}

#[tokio::test]
async fn invalid_json_is_refused_with_its_position() {
    let server = TestServer::start().await;
    let mut witness = server.sign_in("ada").await.sse(&server, "/events").await;
    for (body, line, column) in [
        (&b"{\n  \"run\": }"[..], 2, 10),
        (b"", 1, 0),
        (b"{\"run\":1", 1, 8),
        (b"[1,]", 1, 4),
        (b"1 2", 1, 3),
        (b"\"\xff\"", 1, 2),
        (b"\"a\nb\"", 1, 2),
    ] {
        let response = server.post("/api/channels/runs", body).await;
        assert_eq!(response.status, 400, "{response:?}");
        let error = response.json();
        assert_eq!((&error["line"], &error["column"]), (&json!(line), &json!(column)), "{error}");
        let text = error["error"].as_str().unwrap();
        assert!(text.starts_with("invalid JSON: "), "{text}");
        assert!(text.ends_with(&format!("line {line} column {column}")), "{text}");
    }
    // Nothing of it went out, and no id was used.
    assert!(server.broadcast("runs", "1").await["id"].as_str().unwrap().ends_with("-1"));
    assert_eq!(witness.data().await, "1");
}

#[tokio::test]
async fn a_body_of_another_content_type_is_refused() {
    let server = TestServer::start().await;
    for headers in [
        &[][..],
        &[("content-type", "text/plain")],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "application/jsonp")],
    ] {
        let response = call(server.address, "POST", "/api/channels/runs", headers, b"{}").await;
        assert_eq!(response.status, 415, "{headers:?}");
        assert!(response.error().contains("Content-Type: application/json"));
    }
    for kind in ["application/json; charset=utf-8", "Application/JSON", "application/json ;x=y"] {
        let response =
            call(server.address, "POST", "/api/channels/runs", &[("content-type", kind)], b"{}")
                .await;
        assert_eq!(response.status, 202, "{kind}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let server = TestServer::start().await;
    let of_length = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
    assert_eq!(server.post("/api/channels/runs", of_length(LIMIT)).await.status, 202);
    for length in [LIMIT + 1, 4 * LIMIT] {
        let response = server.post("/api/channels/runs", of_length(length)).await;
        assert_eq!(response.status, 413, "{length}");
        assert!(response.error().contains("1048576 bytes at most"), "{response:?}");
    }

    let json = ("content-type", "application/json");
    let mut chunked = head(
        server.address,
        "POST",
        "/api/channels/runs",
        &[json, ("transfer-encoding", "chunked")],
    );
    chunked += &format!("{:x}\r\n{}\r\n0\r\n\r\n", LIMIT + 1, of_length(LIMIT + 1));
    assert_eq!(exchange(server.address, chunked.as_bytes()).await.status, 413);

    // Refused by its announcement, before a byte of it was sent.
    let huge = head(
        server.address,
        "POST",
        "/api/channels/runs",
        &[json, ("content-length", "10000000000")],
    );
    assert_eq!(exchange(server.address, huge.as_bytes()).await.status, 413);
}
