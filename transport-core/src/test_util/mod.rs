//! A server and a client for the tests of transports: real sockets on loopback, a login check that
//! tests steer, and a client that reads raw bytes. Everything here panics when what it waits for
//! does not come: the test has failed then.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "what cannot be unwrapped has failed the test"
)]

mod host;
mod raw;
pub mod snapshot;
mod tokens;
pub mod ungranted;

pub use host::{Host, Running, Tenant, TestServer, serve};
pub use raw::{Head, Raw};
pub use tokens::{AsRegistered, Tokens, account, grant};

use std::fmt::Debug;
use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

/// The bound of every wait, 10 s: long enough for a busy machine. A test that waits so long has
/// failed.
pub const BOUND: Duration = Duration::from_secs(10);

/// Awaits an event, and fails the test when it does not come.
pub async fn soon<F: Future>(what: &str, event: F) -> F::Output {
    timeout(BOUND, event).await.unwrap_or_else(|_| panic!("{what} never came"))
}

/// Waits until a condition holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    until_is(what, true, holds).await;
}

/// Waits until what is read is what it should be.
pub async fn until_is<T: PartialEq + Debug>(what: &str, expected: T, read: impl Fn() -> T) {
    let end = Instant::now() + BOUND;
    loop {
        let is = read();
        if is == expected {
            return;
        }
        assert!(Instant::now() < end, "{what} never came: {is:?} and not {expected:?}");
        yield_now().await;
    }
}

/// Runs a check of the sink suite on a runtime of its own, beside which the server runs.
pub fn run<T>(check: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(check)
}
