//! Channels beyond the grant (ADM-8).

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use registry_core::ChannelFilter;
use transport_core::test_util::ungranted::{
    Asked, Asker, a_head_lists_what_fits_and_counts_all,
    any_request_hears_what_it_is_granted_and_the_head_lists_the_rest, listed,
};
use transport_core::test_util::{Host, Raw, grant, soon};
use transport_sse::sse;

const STREAM: Asked = Asked { route: sse, headers: "", admitted: 200 };

async fn adm_8_any_request_hears_what_it_is_granted_and_the_head_lists_the_rest(host: Host) {
    any_request_hears_what_it_is_granted_and_the_head_lists_the_rest(host, STREAM).await;
}

async fn adm_8_a_head_lists_what_fits_and_counts_all(host: Host) {
    a_head_lists_what_fits_and_counts_all(host, STREAM).await;
}

async fn adm_8_a_head_request_lists_the_channels_that_a_stream_is_refused(host: Host) {
    let asker = Asker::start(host, STREAM).await;
    asker.tokens.grant("ada", grant("ada", ChannelFilter::only(["runs"])));
    let target = "/live?token=ada&channels=runs,jobs,a%2Cb";
    let (head, _raw) = Raw::request(asker.running.address, "HEAD", target, "").await;
    assert_eq!((head.status, listed(&head)), (200, (vec!["a,b".into(), "jobs".into()], 2)));
    assert_eq!(head.header("x-channels-refused"), Some("a%2Cb,jobs"));
}

#[tokio::test]
async fn adm_8_the_heads_of_http_2_streams_list_them_too() {
    let asker = Asker::start(Host::Server, STREAM).await;
    asker.tokens.grant("ada", grant("ada", ChannelFilter::only(["runs"])));
    let io = TokioIo::new(Raw::connect(asker.running.address).await.tcp);
    let (mut send, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://localhost/live?token=ada&channels=runs,jobs")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let mut response = soon("the head", send.send_request(request)).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-channels-refused"]),
        (200, &"jobs".parse().unwrap())
    );
    assert_eq!(response.headers()["x-channels-refused-count"], "1");
    assert_eq!(
        soon("a frame", response.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap(),
        ": ok\n\n"
    );
}

transport_core::on_every_host!(
    adm_8_any_request_hears_what_it_is_granted_and_the_head_lists_the_rest,
    adm_8_a_head_lists_what_fits_and_counts_all,
    adm_8_a_head_request_lists_the_channels_that_a_stream_is_refused,
);
