//! How a `Live` is made: with its registry, its encoder, and options.

use super::live::Live;
use super::options::LiveOptions;
use crate::socket::cut::hook_of_this_request;
use registry_core::{Encode, EncodeError, Encoded, Event, RegistryOptions, SubscriberRegistry};
use std::fmt;
use std::marker::PhantomData;

/// Makes a [`Live`] with options, or with an encoder of the application.
///
/// # Examples
/// ```
/// use registry_core::{EncodeError, Encoded};
/// use transport_core::{Live, LiveBuilder, LiveOptions};
///
/// struct Frame(Vec<u8>);
///
/// fn encode(frame: &Frame) -> Result<Encoded, EncodeError> {
///     Ok(Encoded::binary(frame.0.clone()))
/// }
///
/// let options = LiveOptions::new().with_max_channel_bytes(64);
/// let live: Live<Frame> = LiveBuilder::new(encode).with_options(options).build();
/// assert_eq!(live.options().max_channel_bytes(), 64);
/// ```
#[must_use]
pub struct LiveBuilder<T, E> {
    encoder: E,
    registry: RegistryOptions,
    options: LiveOptions,
    payload: PhantomData<fn(&T)>,
}

impl<T: Send + Sync + 'static, E: Encode<T>> LiveBuilder<T, E> {
    /// Begins with an encoder and the default options.
    pub fn new(encoder: E) -> Self {
        let (registry, options) = (RegistryOptions::new(), LiveOptions::new());
        Self { encoder, registry, options, payload: PhantomData }
    }

    /// Sets the encoder.
    pub fn with_encoder<F: Encode<T>>(self, encoder: F) -> LiveBuilder<T, F> {
        let Self { registry, options, payload, .. } = self;
        LiveBuilder { encoder, registry, options, payload }
    }

    /// Sets the options of the registry. End hooks that reset the connections of a
    /// [`Server`](crate::Server) are added.
    pub fn with_registry_options(self, registry: RegistryOptions) -> Self {
        Self { registry, ..self }
    }

    /// Sets the options of the transports.
    pub fn with_options(self, options: LiveOptions) -> Self {
        Self { options, ..self }
    }

    /// Makes the registry.
    #[must_use]
    pub fn build(self) -> Live<T> {
        let registry = self.registry.with_end_hooks(hook_of_this_request);
        Live::of(SubscriberRegistry::with_encoder(registry, self.encoder), self.options)
    }
}

impl<T, E> fmt::Debug for LiveBuilder<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("LiveBuilder");
        shown
            .field("registry", &self.registry)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl LiveBuilder<Event, fn(&Event) -> Result<Encoded, EncodeError>> {
    /// Begins a registry that carries many types of payloads, each on its [`Topic`].
    ///
    /// [`Topic`]: registry_core::Topic
    ///
    /// # Examples
    /// ```
    /// use registry_core::Topic;
    /// use transport_core::LiveBuilder;
    ///
    /// static DEGREES: Topic<f64> = Topic::new("hall");
    /// static BELL: Topic<bool> = Topic::new("bell");
    ///
    /// let live = LiveBuilder::for_topics().build();
    /// live.publish(&DEGREES, &20.5)?;
    /// live.publish(&BELL, &true)?;
    /// # Ok::<_, registry_core::EncodeError>(())
    /// ```
    pub fn for_topics() -> Self {
        Self::new(|event| Ok(event.encoded().clone()))
    }
}

#[cfg(feature = "json")]
impl<T: serde::Serialize + Send + Sync + 'static> Live<T> {
    /// Makes a registry that encodes its payloads as JSON, with the default options.
    ///
    /// # Examples
    /// ```
    /// use transport_core::Live;
    ///
    /// let live = Live::<String>::new();
    /// let report = live.broadcast("runs", "a run has started".into()).unwrap();
    /// assert_eq!(report.matched, 0, "there is no subscriber yet");
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Begins a registry that encodes its payloads as JSON.
    ///
    /// # Examples
    /// ```
    /// use registry_core::RegistryOptions;
    /// use std::time::Duration;
    /// use transport_core::Live;
    ///
    /// let patient = RegistryOptions::new().with_ticket_lifetime(Duration::from_secs(30));
    /// let live = Live::<String>::builder().with_registry_options(patient).build();
    /// assert_eq!(live.stats().subscribers, 0);
    /// ```
    pub fn builder() -> LiveBuilder<T, registry_core::Json> {
        LiveBuilder::new(registry_core::Json)
    }
}

#[cfg(feature = "json")]
impl<T: serde::Serialize + Send + Sync + 'static> Default for Live<T> {
    fn default() -> Self {
        Self::new()
    }
}
