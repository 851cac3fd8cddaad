use super::*;
use registry_core::{
    ChannelFilter, Identity, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
};
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufStream, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::timeout;
use transport_core::Grant;

async fn flood(pings: usize) {
    let registry =
        SubscriberRegistry::<String>::with_encoder(RegistryOptions::new(), registry_core::Json);
    let outbox =
        registry.open_outbox(&crate::WS, OutboxOptions::new(), Registration::new()).unwrap();
    let grant = Arc::new(Grant::new(ChannelFilter::All));
    let admitted = Admitted::new(outbox, grant);
    let options = WsOptions::new().with_rate(NonZeroU32::MAX, NonZeroU32::MAX);
    let (server_end, mut peer) = duplex(512);
    let connection = tokio::spawn(async move {
        piped(server_end, admitted, Arc::new(options), Protocol::Raw).run().await
    });
    let ping = [0x89, 0x80, 0, 0, 0, 0];
    let mut sent = 0;
    while sent < pings && timeout(Duration::from_secs(1), peer.write_all(&ping)).await.is_ok() {
        sent += 1;
    }
    assert!(sent < pings, "a peer that does not read is not read for ever");
    assert_eq!(registry.len(), 1);
    drop(peer);
    connection.await.unwrap();
}

#[test]
fn ws_2_replies_to_a_flood_of_empty_pings_do_not_pile_up() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let used = allocation_counter::measure(|| runtime.block_on(flood(20_000)));
    assert!(used.bytes_max < 64 * 1024, "{} bytes at once", used.bytes_max);
}

struct Subscriber {
    registry: SubscriberRegistry<String>,
    peer: DuplexStream,
}

/// A subscriber whose stream is what `wrap` makes from a pipe.
fn subscriber<IO>(options: WsOptions, wrap: impl FnOnce(DuplexStream) -> IO) -> Subscriber
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    subscriber_within(Deadlines::default(), options, wrap)
}

fn subscriber_within<IO>(
    deadlines: Deadlines,
    options: WsOptions,
    wrap: impl FnOnce(DuplexStream) -> IO,
) -> Subscriber
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let registry =
        SubscriberRegistry::<String>::with_encoder(RegistryOptions::new(), registry_core::Json);
    let ada = Registration::new().with_group(Identity::new("account", "ada"));
    let outbox = registry.open_outbox(&crate::WS, OutboxOptions::new(), ada).unwrap();
    let grant = Arc::new(Grant::new(ChannelFilter::All));
    let mut admitted = Admitted::new(outbox, grant);
    admitted.deadlines = deadlines;
    let (server_end, peer) = duplex(512);
    tokio::spawn(piped(wrap(server_end), admitted, Arc::new(options), Protocol::Raw).run());
    Subscriber { registry, peer }
}

impl Subscriber {
    async fn reads(&mut self, frame: &[u8]) {
        let mut read = vec![0; frame.len()];
        timeout(Duration::from_secs(60), self.peer.read_exact(&mut read)).await.unwrap().unwrap();
        assert_eq!(read, frame);
    }
}

#[tokio::test(start_paused = true)]
async fn del_1_a_stream_that_holds_back_what_it_is_given_is_flushed() {
    let start = Instant::now();
    let mut ada = subscriber(WsOptions::new(), BufStream::new);
    ada.registry.broadcast("c", "one".into()).unwrap();
    ada.reads(b"\x81\x05\"one\"").await;
    ada.peer.write_all(&[0x89, 0x80, 0, 0, 0, 0]).await.unwrap();
    ada.reads(b"\x8a\x00").await;
    ada.registry.broadcast("c", "two".into()).unwrap();
    ada.registry.begin_shutdown();
    ada.reads(b"\x81\x05\"two\"\x88\x0a\x03\xe9shutdown").await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn ws_2_a_frame_with_too_large_a_length_is_refused_before_its_payload_arrives() {
    let mut ada = subscriber(WsOptions::new(), |io| io);
    let head = [&[0x81, 0xff][..], &(1_u64 << 30).to_be_bytes(), &[0; 4]].concat();
    ada.peer.write_all(&head).await.unwrap();
    ada.reads(b"\x88\x1b\x03\xf1protocol: message too big").await;
}

/// A message whose frame fills the pipe to its peer.
fn filling() -> (String, Vec<u8>) {
    let text = "x".repeat(512 - 4 - 2);
    let frame = [&[0x81, 126, 1, 252][..], format!("\"{text}\"").as_bytes()].concat();
    assert_eq!(frame.len(), 512);
    (text, frame)
}

#[tokio::test(start_paused = true)]
async fn rev_3_a_revocation_discards_frames_that_were_taken_and_not_begun() {
    let mut ada = subscriber(WsOptions::new(), |io| io);
    let (text, frame) = filling();
    ada.registry.broadcast("c", text).unwrap();
    ada.registry.broadcast("c", "taken too".into()).unwrap();
    // Before the first ping is due, the task writes as much as there is room for.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ada.registry.close_by_identity(Identity::new("account", "ada")), 1);
    ada.reads(&frame).await;
    ada.reads(b"\x88\x09\x0f\xa1revoked").await;
}

#[tokio::test(start_paused = true)]
async fn drn_1_the_farewell_of_a_drain_waits_as_long_as_the_drain_for_room() {
    let drain = Deadlines::new(Duration::from_secs(2), Duration::from_secs(10));
    let mut ada = subscriber_within(drain, WsOptions::new(), |io| io);
    let (text, frame) = filling();
    ada.registry.broadcast("c", text).unwrap();
    ada.registry.begin_shutdown();
    tokio::time::sleep(Duration::from_secs(9)).await;
    ada.reads(&frame).await;
    ada.reads(b"\x88\x0a\x03\xe9shutdown").await;
}

struct Says(mpsc::UnboundedSender<&'static str>);

impl Drop for Says {
    fn drop(&mut self) {
        let _unheard = self.0.send("over");
    }
}

/// Takes a minute for each text, and reports when it begins and when its future is dropped.
fn slow(says: mpsc::UnboundedSender<&'static str>) -> WsOptions {
    WsOptions::new().with_on_text(move |_, _| {
        let says = says.clone();
        async move {
            let _says = Says(says.clone());
            says.send("begun").unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    })
}

const HI: [u8; 8] = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];

#[tokio::test(start_paused = true)]
async fn ws_2_a_peer_that_answers_its_pings_outlives_a_slow_handler() {
    let (says, mut said) = mpsc::unbounded_channel();
    let mut ada = subscriber(slow(says), |io| io);
    ada.peer.write_all(&HI).await.unwrap();
    assert_eq!(said.recv().await, Some("begun"));
    ada.reads(&PING).await;
    ada.peer.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.unwrap();
    assert_eq!((said.recv().await, ada.registry.len()), (Some("over"), 1));
    // A peer that does not answer is closed all the same.
    ada.reads(&PING).await;
    ada.reads(b"\x88\x0b\x0f\xa3heartbeat").await;
}

#[tokio::test(start_paused = true)]
async fn ws_2_texts_are_handled_one_after_the_other() {
    let (says, mut said) = mpsc::unbounded_channel();
    let mut ada = subscriber(slow(says), |io| io);
    ada.peer.write_all(&[HI, HI].concat()).await.unwrap();
    let start = Instant::now();
    for (what, seconds) in [("begun", 0), ("over", 60), ("begun", 60), ("over", 120)] {
        assert_eq!((said.recv().await, start.elapsed().as_secs()), (Some(what), seconds));
    }
}

#[tokio::test(start_paused = true)]
async fn ws_2_pings_come_a_period_after_the_pong_and_wait_as_long_as_they_may() {
    let (period, patience) = (Duration::from_secs(30), Duration::from_secs(7));
    let mut ada =
        subscriber(WsOptions::new().with_ping_period(period).with_pong_timeout(patience), |io| io);
    let start = Instant::now();
    for number in 1..=3 {
        ada.reads(&PING).await;
        assert_eq!(start.elapsed(), period * number);
        ada.peer.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.unwrap();
    }
    ada.reads(&PING).await;
    ada.reads(b"\x88\x0b\x0f\xa3heartbeat").await;
    assert_eq!(start.elapsed(), period * 4 + patience);
}

#[tokio::test(start_paused = true)]
async fn ws_2_a_handler_does_not_outlive_its_subscriber() {
    let (says, mut said) = mpsc::unbounded_channel();
    let mut ada = subscriber(slow(says), |io| io);
    ada.peer.write_all(&HI).await.unwrap();
    assert_eq!(said.recv().await, Some("begun"));
    let revoked = Instant::now();
    ada.registry.close_by_identity(Identity::new("account", "ada"));
    assert_eq!((said.recv().await, revoked.elapsed()), (Some("over"), Duration::ZERO));
}

#[test]
fn que_3_an_idle_connection_holds_no_read_buffer() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let options = WsOptions::new().with_read_buffer_bytes(1 << 20);
    let registry =
        SubscriberRegistry::<String>::with_encoder(RegistryOptions::new(), registry_core::Json);
    let outbox =
        registry.open_outbox(&crate::WS, OutboxOptions::new(), Registration::new()).unwrap();
    let grant = Arc::new(Grant::new(ChannelFilter::All));
    let admitted = Admitted::new(outbox, grant);
    let (server_end, mut peer) = duplex(512);
    let used = allocation_counter::measure(|| {
        runtime.block_on(async {
            tokio::spawn(piped(server_end, admitted, Arc::new(options), Protocol::Raw).run());
            let mut pong = [0; 5];
            peer.write_all(&[0x89, 0x83, 0, 0, 0, 0, b'h', b'e', b'y']).await.unwrap();
            peer.read_exact(&mut pong).await.unwrap();
            assert_eq!(&pong, b"\x8a\x03hey");
        });
    });
    assert!(used.bytes_max >= 1 << 20, "a buffer to read the ping");
    assert!(used.bytes_current < 4096, "{} bytes are still held", used.bytes_current);
}

/// A connection over a pipe whose outbox begins with a text of so many bytes, written in parts.
fn begins_with(bytes: usize) -> Subscriber {
    let registry =
        SubscriberRegistry::<String>::with_encoder(RegistryOptions::new(), registry_core::Json);
    let ada = Registration::new().with_group(Identity::new("account", "ada"));
    let outbox = registry.open_outbox(&crate::WS, OutboxOptions::new(), ada).unwrap();
    outbox.put_first(vec![crate::frame::bare(&registry_core::Encoded::text("x".repeat(bytes)))]);
    let admitted = Admitted::new(outbox, Arc::new(Grant::new(ChannelFilter::All)));
    let options = WsOptions::new().with_ping_period(Duration::from_millis(1));
    let (server_end, peer) = duplex(512);
    // It takes a whole part, and holds it back while the pipe is full.
    let buffered = BufStream::with_capacity(512, 70_000, server_end);
    tokio::spawn(piped(buffered, admitted, Arc::new(options), Protocol::Raw).run());
    Subscriber { registry, peer }
}

const PARTS: usize = 200_000;
/// The head of a frame of that length.
const HEAD: usize = 10;

#[tokio::test(start_paused = true)]
async fn snp_2_no_ping_is_written_between_two_parts_of_a_frame() {
    let Subscriber { registry: _registry, mut peer } = begins_with(PARTS);
    let mut read = vec![0; HEAD + PARTS + 2];
    for chunk in read.chunks_mut(100) {
        // Long enough for a ping to be due.
        tokio::time::sleep(Duration::from_millis(2)).await;
        peer.read_exact(chunk).await.unwrap();
    }
    let frame = read.iter().position(|byte| *byte == 0x81).unwrap();
    let rest = read[frame + HEAD..].iter().take_while(|byte| **byte == b'x').count();
    assert!(rest == PARTS || frame + HEAD + rest == read.len(), "{rest} bytes in a row");
}

#[tokio::test(start_paused = true)]
async fn snp_2_no_farewell_is_written_between_two_parts_of_a_frame() {
    let Subscriber { registry, mut peer } = begins_with(PARTS);
    let mut read = vec![0; 1000];
    peer.read_exact(&mut read).await.unwrap();
    assert_eq!(registry.close_by_identity(Identity::new("account", "ada")), 1);
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() < PARTS && rest.iter().all(|byte| *byte == b'x'), "a part and no more");
}
