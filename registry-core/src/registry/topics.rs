//! Registries that carry many types of payloads, each on a topic of its own.

use super::SubscriberRegistry;
use crate::types::options::RegistryOptions;
use crate::types::topic::Event;
#[cfg(feature = "json")]
use crate::types::{encode::EncodeError, report::Report, topic::Topic};

impl SubscriberRegistry<Event> {
    /// Creates a registry whose payloads are encoded already, each by its [topic](crate::Topic).
    #[must_use]
    pub fn for_topics(options: RegistryOptions) -> Self {
        Self::with_encoder(options, Event::encode)
    }

    /// Broadcasts a payload of the topic's type on the topic's channel, as JSON.
    ///
    /// # Errors
    /// If the payload cannot be written as JSON, or its name is not one of the topic's. Nothing is
    /// sent then (DEL-8).
    ///
    /// # Examples
    /// See [`Topic`](crate::Topic).
    #[cfg(feature = "json")]
    pub fn publish<E: serde::Serialize>(
        &self,
        topic: &Topic<E>,
        payload: &E,
    ) -> Result<Report, EncodeError> {
        self.broadcast(topic.channel(), topic.event(payload)?).map_err(|error| error.source)
    }
}
