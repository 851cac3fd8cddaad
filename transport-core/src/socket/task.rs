//! The life of the task that serves a connection, in as little memory as it takes.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The task of one subscriber's connection, by its state.
///
/// # Examples
/// ```
/// use std::task::{Context, Poll};
/// use transport_core::ConnectionTask;
///
/// /// Ends at once, with a goodbye.
/// struct Short;
///
/// impl ConnectionTask for Short {
///     type End = &'static str;
///
///     fn poll_end(&mut self, _: &mut Context<'_>) -> Poll<&'static str> {
///         Poll::Ready("goodbye")
///     }
///
///     async fn close(self, end: &'static str) {
///         assert_eq!(end, "goodbye");
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// Short.run().await;
/// # }
/// ```
pub trait ConnectionTask: Unpin + Send + 'static {
    /// How the service ended.
    type End;

    /// Serves until the end.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Self::End>;

    /// Does what the end calls for: writes a farewell, and waits for the peer to leave.
    fn close(self, end: Self::End) -> impl Future<Output = ()> + Send + 'static;

    /// Serves the connection, and then closes it.
    ///
    /// # Cancel safety
    /// Dropping the future drops the task's state.
    fn run(self) -> Run<Self>
    where
        Self: Sized,
    {
        Run(Stage::Serving(self))
    }
}

/// The future of [`ConnectionTask::run`].
///
/// It allocates the memory for the close when the close begins, and is no larger than the task's
/// state before: an `async fn` would hold both, and its argument twice, for as long as the
/// connection is idle.
#[must_use = "futures do nothing unless polled"]
pub struct Run<C>(Stage<C>);

enum Stage<C> {
    Serving(C),
    Closing(Pin<Box<dyn Future<Output = ()> + Send>>),
    Done,
}

impl<C: ConnectionTask> Future for Run<C> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let stage = &mut self.get_mut().0;
        if let Stage::Serving(task) = stage {
            let end = ready!(task.poll_end(cx));
            if let Stage::Serving(task) = mem::replace(stage, Stage::Done) {
                *stage = Stage::Closing(Box::pin(task.close(end)));
            }
        }
        if let Stage::Closing(closing) = stage {
            ready!(closing.as_mut().poll(cx));
            *stage = Stage::Done;
        }
        Poll::Ready(())
    }
}

impl<C> fmt::Debug for Run<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.0 {
            Stage::Serving(_) => "Serving",
            Stage::Closing(_) => "Closing",
            Stage::Done => "Done",
        };
        f.debug_tuple("Run").field(&format_args!("{stage}")).finish()
    }
}
