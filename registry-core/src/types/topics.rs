//! The list of an application's topics, for clients and for tools that make their types.

use super::topic::{Topic, TopicFamily};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

/// The topics of an application: their channels, their events' names and the JSON Schema of their
/// payloads.
///
/// Serve it as JSON, or compare it with a file in a test, so that a change of what clients see is
/// noticed.
///
/// # Examples
/// ```
/// use registry_core::{Topic, TopicFamily, Topics};
///
/// static BELL: Topic<bool> = Topic::new("bell").with_events(&["rung"], |_| "rung");
/// static PROGRESS: TopicFamily<f64, u64> = TopicFamily::new("run:");
///
/// let topics = Topics::new().with(&BELL).with_family(&PROGRESS).to_json();
/// assert_eq!(topics["topics"][0]["channel"], "bell");
/// assert_eq!(topics["topics"][0]["events"][0], "rung");
/// assert_eq!(topics["topics"][0]["payload"]["type"], "boolean");
/// assert_eq!(topics["topics"][1]["channel_prefix"], "run:");
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct Topics {
    topics: Vec<Value>,
    generator: SchemaGenerator,
}

impl Topics {
    /// Creates an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a topic.
    pub fn with<E: JsonSchema>(self, topic: &Topic<E>) -> Self {
        self.add::<E>("channel", topic.channel(), topic.events())
    }

    /// Adds the topics of a family.
    pub fn with_family<E: JsonSchema, K>(self, family: &TopicFamily<E, K>) -> Self {
        self.add::<E>("channel_prefix", family.prefix(), family.events())
    }

    fn add<E: JsonSchema>(mut self, key: &str, channel: &str, events: &[&str]) -> Self {
        let payload: Schema = self.generator.subschema_for::<E>();
        self.topics.push(json!({ key: channel, "events": events, "payload": payload }));
        self
    }

    /// Returns the list: `{"topics":[…],"$defs":{…}}`. A topic has `channel` or `channel_prefix`,
    /// `events`, and the JSON Schema of its `payload`, which may refer to `$defs`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "topics": self.topics, "$defs": self.generator.definitions() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Run {
        run: u64,
        owner: Option<Box<Run>>,
    }

    #[test]
    fn nam_4_the_list_of_topics_has_each_schema_once() {
        static RUNS: Topic<Run> = Topic::new("runs");
        static RUN: TopicFamily<Run, u64> = TopicFamily::new("run:");
        let list = Topics::new().with(&RUNS).with_family(&RUN).to_json();
        let of = |at: usize| list["topics"][at]["payload"]["$ref"].as_str().unwrap();
        assert_eq!((of(0), of(1)), ("#/$defs/Run", "#/$defs/Run"));
        assert_eq!(list["$defs"]["Run"]["properties"]["run"]["type"], "integer");
        assert_eq!(list["topics"][1]["channel_prefix"], "run:");
    }
}
