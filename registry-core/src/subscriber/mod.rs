//! One subscriber, from the registry's hold on it to the peer's socket.
//!
//! Every subscriber has a [seat](seat): it decides, under a lock of its own, whether the subscriber
//! has ended. There are two kinds of seats. A [sink](sink) runs an application's code. A
//! [gate](gate) keeps a bounded [queue](queue) of frames for the owner of an [outbox](outbox), and
//! where the peer's socket is attached ([socket]), every write to that socket happens under the
//! gate's lock. The gate of a [stream](stream) queues messages for a consumer in the process.

pub(crate) mod gate;
pub(crate) mod notify;
pub(crate) mod outbox;
pub(crate) mod queue;
pub(crate) mod seat;
pub(crate) mod sink;
pub(crate) mod socket;
pub(crate) mod state;
pub(crate) mod stream;
pub(crate) mod subscription;
pub(crate) mod wire;
