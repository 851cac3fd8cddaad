//! The life of a connection's owner, in as little memory as it takes.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Whoever serves one subscriber's connection.
pub trait Owner: Unpin + Send + 'static {
    /// How its service ended.
    type End;

    /// Serves until the end.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Self::End>;

    /// Does what the end calls for: a farewell, and waiting for the peer to go.
    fn part(self, end: Self::End) -> impl Future<Output = ()> + Send + 'static;

    /// Serves the connection, and then parts.
    ///
    /// # Cancel safety
    /// Dropping the future drops the owner.
    fn own(self) -> Owning<Self>
    where
        Self: Sized,
    {
        Owning::Serving(self)
    }
}

/// The future of [`Owner::own`].
///
/// It takes the room for a parting when it comes to that, and no more than the owner's own before: an `async fn` would hold
/// both, and its argument twice, for as long as the connection is idle.
#[must_use = "futures do nothing unless polled"]
pub enum Owning<O> {
    /// The connection is served.
    Serving(O),
    /// The end has come.
    Parting(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// It is over.
    Over,
}

impl<O: Owner> Future for Owning<O> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Self::Serving(owner) = this {
            let end = ready!(owner.poll_end(cx));
            if let Self::Serving(owner) = mem::replace(this, Self::Over) {
                *this = Self::Parting(Box::pin(owner.part(end)));
            }
        }
        if let Self::Parting(parting) = this {
            ready!(parting.as_mut().poll(cx));
            *this = Self::Over;
        }
        Poll::Ready(())
    }
}
