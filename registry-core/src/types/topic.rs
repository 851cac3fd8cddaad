//! Topics: channels whose payloads have a type.

use super::channel::Channel;
use super::encode::{EncodeError, Encoded};
use super::event_name::EventName;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// A payload that is encoded already: that of a registry which carries many types.
///
/// A [`Topic`] makes it of a typed payload. One of an [`Encoded`] goes on the wire as it is.
///
/// # Examples
/// ```
/// use registry_core::{Encoded, Event, RegistryOptions, SubscriberRegistry};
///
/// let registry = SubscriberRegistry::for_topics(RegistryOptions::new());
/// registry.broadcast("log", Event::from(Encoded::text("started")))?;
/// # Ok::<_, registry_core::BroadcastError<Event>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event(Encoded);

impl Event {
    /// Returns the encoded payload.
    #[must_use]
    pub fn encoded(&self) -> &Encoded {
        &self.0
    }

    /// The encoder of a registry of events.
    pub(crate) fn encode(&self) -> Result<Encoded, EncodeError> {
        Ok(self.0.clone())
    }
}

impl From<Encoded> for Event {
    fn from(encoded: Encoded) -> Self {
        Self(encoded)
    }
}

/// A channel whose payloads are all of the type `E`.
///
/// [`publish`](crate::SubscriberRegistry::publish) takes a topic and a payload of its type, so a
/// wrong payload is an error of the compiler (NAM-3). With [names](Self::with_events) each payload
/// says which event it is.
///
/// # Examples
/// ```
/// use registry_core::{RegistryOptions, SubscriberRegistry, Topic};
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct Run {
///     run: u64,
///     done: bool,
/// }
///
/// static RUNS: Topic<Run> = Topic::new("runs")
///     .with_events(&["started", "done"], |run| if run.done { "done" } else { "started" });
///
/// let registry = SubscriberRegistry::for_topics(RegistryOptions::new());
/// registry.publish(&RUNS, &Run { run: 17, done: false })?;
///
/// let event = RUNS.event(&Run { run: 17, done: true })?;
/// assert_eq!(event.encoded().name().unwrap().as_str(), "done");
/// assert_eq!(event.encoded().body(), r#"{"run":17,"done":true}"#);
/// # Ok::<_, registry_core::EncodeError>(())
/// ```
///
/// Another payload does not compile:
/// ```compile_fail,E0308
/// # use registry_core::{RegistryOptions, SubscriberRegistry, Topic};
/// static RUNS: Topic<u64> = Topic::new("runs");
/// # let registry = SubscriberRegistry::for_topics(RegistryOptions::new());
/// registry.publish(&RUNS, "a run").unwrap();
/// ```
pub struct Topic<E> {
    channel: Cow<'static, str>,
    events: &'static [&'static str],
    name: Option<fn(&E) -> &'static str>,
}

/// Checks a list of names.
const fn check(events: &[&'static str]) {
    let mut at = 0;
    while at < events.len() {
        EventName::check_static(events[at]);
        at += 1;
    }
}

impl<E> Topic<E> {
    /// Creates a topic on a channel. Its events have no names.
    #[must_use]
    pub const fn new(channel: &'static str) -> Self {
        Self { channel: Cow::Borrowed(channel), events: &[], name: None }
    }

    /// Sets which names its events have, and the function that names one.
    ///
    /// The list is what the feature `schemars` tells clients to expect. Publishing an event whose
    /// name is not listed is an error.
    ///
    /// # Panics
    /// If a text of the list is not an [`EventName`]. In a `const` or a `static` that is an error
    /// of the compiler.
    #[must_use]
    pub const fn with_events(
        mut self,
        events: &'static [&'static str],
        name: fn(&E) -> &'static str,
    ) -> Self {
        check(events);
        self.events = events;
        self.name = Some(name);
        self
    }

    /// Returns the channel's name.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Returns the names that its events have; none if they have no names.
    #[must_use]
    pub fn events(&self) -> &'static [&'static str] {
        self.events
    }
}

#[cfg(feature = "json")]
impl<E: serde::Serialize> Topic<E> {
    /// Encodes a payload as JSON and names it, for calls that take an [`Event`].
    ///
    /// # Errors
    /// If the payload cannot be written as JSON, or its name is not one of the topic's.
    pub fn event(&self, payload: &E) -> Result<Event, EncodeError> {
        let encoded = Encoded::json(serde_json::to_string(payload)?);
        let Some(name) = self.name.map(|name| name(payload)) else { return Ok(Event(encoded)) };
        if !self.events.contains(&name) {
            let channel = self.channel();
            return Err(format!("the topic {channel:?} lists no event {name:?}").into());
        }
        Ok(Event(encoded.with_name(EventName::from_static(name))))
    }
}

impl<E> From<&Topic<E>> for Channel {
    fn from(topic: &Topic<E>) -> Self {
        Self::from(topic.channel())
    }
}

impl<E> Clone for Topic<E> {
    fn clone(&self) -> Self {
        Self { channel: self.channel.clone(), events: self.events, name: self.name }
    }
}

impl<E> fmt::Debug for Topic<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic")
            .field("channel", &self.channel)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

/// Topics of one type whose channels differ by a key, such as `run:17`.
///
/// # Examples
/// ```
/// use registry_core::TopicFamily;
///
/// /// The progress of a run, in per cent.
/// static PROGRESS: TopicFamily<f64, u64> = TopicFamily::new("run:");
///
/// assert_eq!(PROGRESS.of(&17).channel(), "run:17");
/// ```
///
/// Another payload does not compile, nor does another key:
/// ```compile_fail,E0308
/// # use registry_core::{RegistryOptions, SubscriberRegistry, TopicFamily};
/// static PROGRESS: TopicFamily<f64, u64> = TopicFamily::new("run:");
/// # let registry = SubscriberRegistry::for_topics(RegistryOptions::new());
/// registry.publish(&PROGRESS.of(&17), &"half").unwrap();
/// ```
pub struct TopicFamily<E, K> {
    prefix: &'static str,
    events: &'static [&'static str],
    name: Option<fn(&E) -> &'static str>,
    key: PhantomData<fn(&K)>,
}

impl<E, K> TopicFamily<E, K> {
    /// Creates a family; a channel's name is the prefix and the key.
    #[must_use]
    pub const fn new(prefix: &'static str) -> Self {
        Self { prefix, events: &[], name: None, key: PhantomData }
    }

    /// Sets which names its events have: see [`Topic::with_events`].
    ///
    /// # Panics
    /// As [`Topic::with_events`].
    #[must_use]
    pub const fn with_events(
        mut self,
        events: &'static [&'static str],
        name: fn(&E) -> &'static str,
    ) -> Self {
        check(events);
        self.events = events;
        self.name = Some(name);
        self
    }

    /// Returns what the names of its channels begin with.
    #[must_use]
    pub fn prefix(&self) -> &'static str {
        self.prefix
    }

    /// Returns the names that its events have; none if they have no names.
    #[must_use]
    pub fn events(&self) -> &'static [&'static str] {
        self.events
    }
}

impl<E, K: fmt::Display> TopicFamily<E, K> {
    /// Returns the topic of a key.
    #[must_use]
    pub fn of(&self, key: &K) -> Topic<E> {
        let channel = Cow::Owned(format!("{}{key}", self.prefix));
        Topic { channel, events: self.events, name: self.name }
    }
}

impl<E, K> fmt::Debug for TopicFamily<E, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicFamily")
            .field("prefix", &self.prefix)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "json"))]
mod tests {
    use super::*;

    #[test]
    fn nam_3_an_event_has_the_name_that_its_topic_gives_it() {
        static LIFT: Topic<i32> = Topic::new("lift")
            .with_events(&["up", "down"], |by| if *by < 0 { "down" } else { "up" });
        let named = |by| LIFT.event(&by).unwrap().encoded().name().unwrap().to_string();
        assert_eq!((named(1).as_str(), named(-1).as_str()), ("up", "down"));
        let plain = Topic::<i32>::new("lift").event(&1).unwrap();
        assert_eq!(plain.encoded(), &Encoded::json("1"));
    }

    #[test]
    fn nam_3_a_name_that_the_topic_does_not_list_is_an_error() {
        static LIFT: Topic<i32> = Topic::new("lift").with_events(&["up"], |_| "down");
        let error = LIFT.event(&1).unwrap_err().to_string();
        assert_eq!(error, "the topic \"lift\" lists no event \"down\"");
    }

    #[test]
    fn nam_3_the_topics_of_a_family_differ_by_their_channels_only() {
        static LIFTS: TopicFamily<i32, &str> =
            TopicFamily::new("lift:").with_events(&["up"], |_| "up");
        let topic = LIFTS.of(&"3b");
        assert_eq!((topic.channel(), topic.events()), ("lift:3b", LIFTS.events()));
        assert_eq!(topic.event(&1).unwrap().encoded().name().unwrap().as_str(), "up");
    }
}
