//! The sink kit: for authors of other sinks and of transports.
//!
//! The author says how to connect a peer to a registry through the sink under test, and how to read
//! what the peer got. The checks use witnesses, never silence: that something did *not* arrive is
//! known because a later message or the end of the stream did.
//!
//! Each check connects one or two peers, and takes milliseconds on a sink that is right. By itself
//! it waits for ever for what does not come. [`sink_suite!`](crate::sink_suite) runs each under
//! [`watched`](super::watched), and so should a caller of its own: then it takes at most
//! [`Rig::patience`], also when a call blocks and never returns.

use std::future::Future;
use std::ops::Deref;
use std::time::Duration;

use registry_core::{ChannelFilter, Identity, Registration, SubscriberRegistry};

use super::{PATIENCE, Verdict, waits_for};
use crate::text::short;

/// Connects peers.
pub trait Rig {
    /// The peer's end.
    type Peer: Peer;

    /// What holds the registry: a transport's handle, or an `Arc` of the registry itself.
    type Registry: Deref<Target = SubscriberRegistry<String>>;

    /// Makes a registry as the sink needs it, with an encoder for instance.
    fn registry(&self) -> Self::Registry;

    /// Connects a peer through the sink; once it returns, the subscriber is active.
    fn connect(
        &self,
        registry: &Self::Registry,
        registration: Registration,
    ) -> impl Future<Output = Self::Peer>;

    /// How long a check of the suite may take. It is a bound on patience, not a promise of speed.
    fn patience(&self) -> Duration {
        PATIENCE
    }
}

/// What a peer sees.
pub trait Peer {
    /// The next payload, or none at the end of the stream; after that the kit does not ask again.
    /// Farewells and keep-alives are not payloads.
    fn next(&mut self) -> impl Future<Output = Option<String>>;

    /// Goes away, as a peer does.
    fn leave(self) -> impl Future<Output = ()>;
}

fn on(channel: &str) -> Registration {
    Registration::new().with_filter(ChannelFilter::only([channel]))
}

fn held_by(channel: &str, name: &str) -> Registration {
    on(channel).with_group(Identity::new("account", name))
}

async fn connect<R: Rig>(rig: &R, registry: &R::Registry, with: Registration) -> R::Peer {
    waits_for("`connect`");
    rig.connect(registry, with).await
}

fn revoke(registry: &SubscriberRegistry<String>, name: &str) -> usize {
    waits_for("`close_by_identity`");
    registry.close_by_identity(Identity::new("account", name))
}

fn cast(registry: &SubscriberRegistry<String>, channel: &str, data: &str) -> Verdict {
    waits_for("`broadcast`");
    registry.broadcast(channel, data.to_owned()).map(drop).map_err(|error| error.to_string())
}

async fn next<P: Peer>(peer: &mut P, wanted: &str) -> Option<String> {
    waits_for(wanted);
    peer.next().await
}

async fn expect<P: Peer>(peer: &mut P, requirement: &str, wanted: &[&str]) -> Verdict {
    for wanted in wanted {
        let came = next(peer, &short(wanted)).await;
        if came.as_deref() != Some(*wanted) {
            let came = came.map_or_else(|| "the end".to_owned(), |came| short(&came));
            return Err(format!("{requirement}: {came} came instead of {}", short(wanted)));
        }
    }
    Ok(())
}

/// Expects the end of the stream, and nothing before it.
async fn ends<P: Peer>(peer: &mut P, requirement: &str, when: &str) -> Verdict {
    match next(peer, "the end of the stream").await {
        None => Ok(()),
        Some(late) => Err(format!("{requirement}: {} came {when}", short(&late))),
    }
}

/// Broadcasts to one peer, on channels, and expects that it gets what is wanted.
async fn hears<R: Rig>(
    rig: &R,
    requirement: &str,
    with: Registration,
    sent: &[(&str, &str)],
    wanted: &[&str],
) -> Verdict {
    let registry = rig.registry();
    let mut peer = connect(rig, &registry, with).await;
    for (channel, data) in sent {
        cast(&registry, channel, data)?;
    }
    expect(&mut peer, requirement, wanted).await
}

/// A peer that listens is handed what is broadcast.
///
/// Costs 1 message; [`Rig::patience`] when nothing comes or a call blocks.
///
/// # Errors
///
/// How it is broken; so for all of them.
pub async fn del_1<R: Rig>(rig: &R) -> Verdict {
    hears(rig, "DEL-1", on("a"), &[("a", "m1")], &["m1"]).await
}

/// Exactly once.
///
/// Costs 2 messages; [`Rig::patience`] when nothing comes or a call blocks.
///
/// # Errors
///
/// See [`del_1`].
pub async fn del_2<R: Rig>(rig: &R) -> Verdict {
    hears(rig, "DEL-2", on("a"), &[("a", "m1"), ("a", "witness")], &["m1", "witness"]).await
}

/// Equal payloads are not merged.
///
/// Costs 4 messages; [`Rig::patience`] when nothing comes or a call blocks.
///
/// # Errors
///
/// See [`del_1`].
pub async fn del_5<R: Rig>(rig: &R) -> Verdict {
    let all = ["same", "same", "same", "witness"];
    hears(rig, "DEL-5", on("a"), &all.map(|data| ("a", data)), &all).await
}

/// A sink hands over what it was given, whatever is in it.
///
/// Costs 10 messages, one of 80 KiB; [`Rig::patience`] when nothing comes or a call blocks.
///
/// # Errors
///
/// See [`del_1`].
pub async fn del_4<R: Rig>(rig: &R) -> Verdict {
    let odd = [
        "",
        " ",
        "\u{0}",
        "\u{feff}x",
        "a\u{2028}b",
        "data: x\\n\\nevent: y",
        "{\"a\":[null]}",
        "\u{1F600}",
    ];
    let large = "large".repeat(16 * 1024);
    let all = [&odd[..], &[&large, "witness"]].concat();
    let sent: Vec<_> = all.iter().map(|data| ("a", *data)).collect();
    hears(rig, "DEL-4", on("a"), &sent, &all).await
}

/// Messages arrive in their order.
///
/// Costs 100 messages; [`Rig::patience`] when nothing comes or a call blocks.
///
/// # Errors
///
/// See [`del_1`].
pub async fn ord_1<R: Rig>(rig: &R) -> Verdict {
    let all: Vec<String> = (0..100).map(|n| format!("m{n}")).collect();
    let wanted: Vec<&str> = all.iter().map(String::as_str).collect();
    let sent: Vec<_> = wanted.iter().map(|data| ("a", *data)).collect();
    hears(rig, "ORD-1", on("a"), &sent, &wanted).await
}

/// Two peers see one order, and do not disturb each other.
///
/// Costs 3 messages to two peers; [`Rig::patience`] when nothing comes or a call blocks.
///
/// # Errors
///
/// See [`del_1`].
pub async fn ord_3<R: Rig>(rig: &R) -> Verdict {
    let registry = rig.registry();
    let mut one = connect(rig, &registry, on("a")).await;
    let mut two = connect(rig, &registry, on("a")).await;
    for data in ["m1", "m2", "m3"] {
        cast(&registry, "a", data)?;
    }
    expect(&mut two, "ORD-3", &["m1", "m2", "m3"]).await?;
    expect(&mut one, "ORD-3", &["m1", "m2", "m3"]).await
}

/// Other channels are not heard.
///
/// Costs 2 messages; [`Rig::patience`] when nothing comes or a call blocks.
///
/// # Errors
///
/// See [`del_1`].
pub async fn flt_1<R: Rig>(rig: &R) -> Verdict {
    hears(rig, "FLT-1", on("a"), &[("b", "not for you"), ("a", "witness")], &["witness"]).await
}

/// An unfiltered peer hears every channel.
///
/// Costs 2 messages; [`Rig::patience`] when nothing comes or a call blocks.
///
/// # Errors
///
/// See [`del_1`].
pub async fn flt_2<R: Rig>(rig: &R) -> Verdict {
    hears(rig, "FLT-2", Registration::new(), &[("a", "m1"), ("b", "m2")], &["m1", "m2"]).await
}

/// A revocation ends the peer's stream, and counts it.
///
/// Costs 1 revocation; [`Rig::patience`] when nothing comes or a call blocks.
///
/// # Errors
///
/// See [`del_1`].
pub async fn rev_1<R: Rig>(rig: &R) -> Verdict {
    let registry = rig.registry();
    let mut peer = connect(rig, &registry, held_by("a", "ada")).await;
    let closed = revoke(&registry, "ada");
    if closed != 1 {
        return Err(format!("REV-1: it ended {closed} instead of 1"));
    }
    ends(&mut peer, "REV-1", "before the end of the stream").await
}

/// Nothing that is broadcast after the revocation reaches the revoked; another peer is the witness.
///
/// Costs 2 messages to two peers; [`Rig::patience`] when nothing comes or a call blocks.
///
/// # Errors
///
/// See [`del_1`].
pub async fn rev_2<R: Rig>(rig: &R) -> Verdict {
    let registry = rig.registry();
    let mut gone = connect(rig, &registry, held_by("a", "ada")).await;
    let mut stays = connect(rig, &registry, held_by("a", "bob")).await;
    cast(&registry, "a", "early")?;
    expect(&mut gone, "REV-2", &["early"]).await?;
    revoke(&registry, "ada");
    cast(&registry, "a", "late")?;
    expect(&mut stays, "REV-2", &["early", "late"]).await?;
    ends(&mut gone, "REV-2", "after the revocation").await
}

/// Others are untouched.
///
/// Costs 1 message to two peers; [`Rig::patience`] when nothing comes or a call blocks.
///
/// # Errors
///
/// See [`del_1`].
pub async fn rev_4<R: Rig>(rig: &R) -> Verdict {
    let registry = rig.registry();
    let mut bob = connect(rig, &registry, held_by("a", "bob")).await;
    let mut nobody = connect(rig, &registry, on("a")).await;
    let closed = revoke(&registry, "ada");
    if closed != 0 {
        return Err(format!("REV-4: it ended {closed}, and no peer held the identity"));
    }
    cast(&registry, "a", "witness")?;
    expect(&mut bob, "REV-4", &["witness"]).await?;
    expect(&mut nobody, "REV-4", &["witness"]).await
}

/// One of two revocations ends the peer's stream, and nothing comes before its end.
///
/// Costs 2 revocations; [`Rig::patience`] when nothing comes or a call blocks.
///
/// # Errors
///
/// See [`del_1`].
pub async fn clo_1<R: Rig>(rig: &R) -> Verdict {
    let registry = rig.registry();
    let mut peer = connect(rig, &registry, held_by("a", "ada")).await;
    let counts = [revoke(&registry, "ada"), revoke(&registry, "ada")];
    if counts != [1, 0] {
        return Err(format!("CLO-1: two revocations ended {counts:?}"));
    }
    ends(&mut peer, "CLO-1", "before the end of the stream").await
}

/// When a peer goes away, no other peer misses a message.
///
/// Costs 3 messages to two peers; [`Rig::patience`] when nothing comes or a call blocks.
///
/// # Errors
///
/// See [`del_1`].
pub async fn iso_1<R: Rig>(rig: &R) -> Verdict {
    let registry = rig.registry();
    let gone = connect(rig, &registry, on("a")).await;
    let mut stays = connect(rig, &registry, on("a")).await;
    waits_for("`leave`");
    gone.leave().await;
    for data in ["m1", "m2", "m3"] {
        cast(&registry, "a", data)?;
    }
    expect(&mut stays, "ISO-1", &["m1", "m2", "m3"]).await
}

/// A revocation is an event: a client that connects again is served.
///
/// Costs two connections and 1 message; [`Rig::patience`] when nothing comes or a call blocks.
///
/// # Errors
///
/// See [`del_1`].
pub async fn rev_9<R: Rig>(rig: &R) -> Verdict {
    let registry = rig.registry();
    let mut first = connect(rig, &registry, held_by("a", "ada")).await;
    revoke(&registry, "ada");
    ends(&mut first, "REV-9", "before the end of the stream").await?;
    let mut second = connect(rig, &registry, held_by("a", "ada")).await;
    cast(&registry, "a", "witness")?;
    expect(&mut second, "REV-9", &["witness"]).await
}

/// Expands to one `#[test]` per requirement for the sink that an expression of a type which is a
/// [`Rig`](crate::kit::sink::Rig) connects peers to. A third argument runs the futures, for sinks
/// that need a runtime.
///
/// ```
/// # mod example {
/// use harness::kit::sink::{Peer, Rig};
/// use registry_core::{CloseReason, Message, Registration, SendOutcome, Sink, SubscriberRegistry};
/// use std::sync::{Arc, Mutex, mpsc};
///
/// /// A sink that is a channel: the end of the stream is the sender's end.
/// struct Channel(Mutex<Option<mpsc::Sender<String>>>);
///
/// impl Sink<String> for Channel {
///     fn send(&self, message: &Arc<Message<String>>) -> SendOutcome {
///         let open = self.0.lock().unwrap();
///         match open.as_ref().map(|open| open.send(message.data().clone())) {
///             Some(Ok(())) => SendOutcome::Accepted,
///             _ => SendOutcome::Closed,
///         }
///     }
///     fn close(&self, _: CloseReason) {
///         self.0.lock().unwrap().take();
///     }
/// }
///
/// struct Channels;
/// struct Other(mpsc::Receiver<String>, registry_core::Subscription);
///
/// impl Rig for Channels {
///     type Peer = Other;
///     type Registry = Arc<SubscriberRegistry<String>>;
///
///     fn registry(&self) -> Arc<SubscriberRegistry<String>> {
///         Arc::default()
///     }
///
///     async fn connect(
///         &self,
///         registry: &Arc<SubscriberRegistry<String>>,
///         registration: Registration,
///     ) -> Other {
///         let (sender, receiver) = mpsc::channel();
///         let sink = Channel(Mutex::new(Some(sender)));
///         Other(receiver, registry.subscribe_with(sink, registration).unwrap())
///     }
/// }
///
/// impl Peer for Other {
///     async fn next(&mut self) -> Option<String> {
///         self.0.recv().ok()
///     }
///     async fn leave(self) {}
/// }
///
/// harness::sink_suite!(channel, Channels);
/// # }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! sink_suite {
    ($name:ident, $rig:expr) => {
        $crate::kit::sink::sink_suite!($name, $rig, $crate::kit::block_on);
    };
    ($name:ident, $rig:expr, $run:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $crate::kit::sink::sink_suite!(@ $rig, $run;
                del_1 del_2 del_4 del_5 ord_1 ord_3 flt_1 flt_2
                rev_1 rev_2 rev_4 rev_9 clo_1 iso_1);
        }
    };
    (@ $rig:expr, $run:expr; $($check:ident)*) => {
        $(#[test]
        fn $check() {
            let requirement = stringify!($check).replace('_', "-").to_uppercase();
            let verdict = $crate::kit::watched(&requirement, $crate::kit::PATIENCE, || {
                // The rig is made inside, where a runtime is at hand.
                $run(async {
                    let rig = $rig;
                    $crate::kit::is_patient($crate::kit::sink::Rig::patience(&rig));
                    $crate::kit::sink::$check(&rig).await
                })
            });
            if let Err(why) = verdict {
                panic!("{why}");
            }
        })*
    };
}
pub use sink_suite;
