//! One message as its subscribers receive it.

use super::channel::Channel;
use super::encode::Encoded;
use super::id::MessageId;
use super::report::Tally;
use std::fmt;

/// One message, a broadcast or a directed one, as every subscriber receives it: shared and
/// unalterable (DEL-6).
pub struct Message<T> {
    pub(crate) id: MessageId,
    pub(crate) channel: Channel,
    pub(crate) data: T,
    pub(crate) encoded: Option<Encoded>,
    pub(crate) tally: Tally,
}

impl<T> Message<T> {
    /// Returns the message's id.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Returns the channel's name.
    #[must_use]
    pub fn channel(&self) -> &str {
        self.channel.as_str()
    }

    /// Returns the payload.
    #[must_use]
    pub fn data(&self) -> &T {
        &self.data
    }

    /// Returns the encoded payload; `None` where the registry was made without an encoder.
    #[must_use]
    pub fn encoded(&self) -> Option<&Encoded> {
        self.encoded.as_ref()
    }
}

impl<T: fmt::Debug> fmt::Debug for Message<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("channel", &self.channel)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}
