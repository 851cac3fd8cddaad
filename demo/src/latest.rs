//! The last value of each channel, which a stream may be sent first.
//!
//! A publisher holds the lock of the channel while it keeps the value and broadcasts it. So the
//! values of a channel are kept in the order in which they are broadcast, each before its
//! broadcast: what [`Entered::first`](transport_core::Entered::first) asks for.

use bytes::Bytes;
use registry_core::{Channel, ChannelFilter, Encoded};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many channels have a last value.
const MAX_CHANNELS: usize = 10_000;

/// How many bytes names and values take together, as a snapshot writes them: 1 MiB is the most that
/// a snapshot may have.
const MAX_BYTES: usize = 768 * 1024;

/// How many locks the channels share. Two channels of one lock wait for each other, which is no
/// harm, and no name makes the server keep a lock.
const LOCKS: usize = 64;

/// The last values, within their bounds; the one that was set first makes room.
pub(crate) struct Latest {
    publishing: [Mutex<()>; LOCKS],
    hasher: RandomState,
    store: Mutex<Store>,
    max_channels: usize,
    max_bytes: usize,
}

/// Invariant: `ages` names the channels of `values`, each by its age; `bytes` is what they take.
#[derive(Default)]
struct Store {
    values: BTreeMap<Channel, Value>,
    ages: BTreeMap<u64, Channel>,
    next_age: u64,
    bytes: usize,
}

struct Value {
    body: Bytes,
    age: u64,
    bytes: usize,
}

impl Latest {
    pub(crate) fn new() -> Self {
        Self::within(MAX_CHANNELS, MAX_BYTES)
    }

    fn within(max_channels: usize, max_bytes: usize) -> Self {
        let publishing = std::array::from_fn(|_| Mutex::default());
        let (hasher, store) = Default::default();
        Self { publishing, hasher, store, max_channels, max_bytes }
    }

    /// Keeps the value of a channel, and publishes it, as one step for this channel.
    pub(crate) fn publish<R>(
        &self,
        channel: &str,
        value: &Encoded,
        publish: impl FnOnce() -> R,
    ) -> R {
        let lock = self.hasher.hash_one(channel) as usize % LOCKS;
        // A publisher that panics leaves nothing half done behind.
        let _one_at_a_time = self.publishing[lock].lock().unwrap_or_else(PoisonError::into_inner);
        self.keep(channel, value.body());
        publish()
    }

    fn keep(&self, channel: &str, body: &Bytes) {
        let mut store = self.lock();
        if store.replace(channel, body, self.max_bytes) {
            return;
        }
        // The name in quotes, a colon and a comma.
        let bytes = written(channel).len() + 2 + body.len();
        store.remove(channel);
        // A value that is larger than all may be is not kept; the one before is not the last.
        if bytes > self.max_bytes {
            return;
        }
        while store.values.len() >= self.max_channels || store.bytes + bytes > self.max_bytes {
            let Some((_, oldest)) = store.ages.pop_first() else { break };
            store.remove(oldest.as_str());
        }
        store.insert(channel, body.clone(), bytes);
    }

    /// Writes `{"channels":{…}}`: the last value of each channel that passes both filters.
    pub(crate) fn snapshot(&self, requested: &ChannelFilter, granted: &ChannelFilter) -> Encoded {
        let mut out = br#"{"channels":{"#.to_vec();
        let store = self.lock();
        let heard = store.values.iter().filter(|(channel, _)| {
            requested.hears(channel.as_str()) && granted.hears(channel.as_str())
        });
        for (number, (channel, value)) in heard.enumerate() {
            if number > 0 {
                out.push(b',');
            }
            out.extend_from_slice(written(channel.as_str()).as_bytes());
            out.push(b':');
            out.extend_from_slice(&value.body);
        }
        drop(store);
        out.extend_from_slice(b"}}");
        // All of it is JSON, which is UTF-8.
        Encoded::json(String::from_utf8(out).unwrap_or_default())
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // Nothing panics between two changes that belong together.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name as JSON writes it.
fn written(channel: &str) -> String {
    // A string can always be written as JSON.
    serde_json::to_string(channel).unwrap_or_default()
}

impl Store {
    /// Replaces the value of a channel that has one, if that needs no room of others: the common
    /// case, in which nothing is allocated.
    fn replace(&mut self, channel: &str, body: &Bytes, max_bytes: usize) -> bool {
        let Self { values, ages, next_age, bytes } = self;
        let Some(value) = values.get_mut(channel) else { return false };
        let total = *bytes - value.body.len() + body.len();
        if total > max_bytes {
            return false;
        }
        *bytes = total;
        value.bytes = value.bytes - value.body.len() + body.len();
        value.body = body.clone();
        if value.age + 1 != *next_age
            && let Some(channel) = ages.remove(&value.age)
        {
            ages.insert(*next_age, channel);
            value.age = *next_age;
            *next_age += 1;
        }
        true
    }

    fn insert(&mut self, channel: &str, body: Bytes, bytes: usize) {
        let (channel, age) = (Channel::from(channel), self.next_age);
        self.next_age += 1;
        self.bytes += bytes;
        self.ages.insert(age, channel.clone());
        self.values.insert(channel, Value { body, age, bytes });
    }

    fn remove(&mut self, channel: &str) {
        if let Some(value) = self.values.remove(channel) {
            self.ages.remove(&value.age);
            self.bytes -= value.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn keep(latest: &Latest, channel: &str, json: &str) {
        latest.publish(channel, &Encoded::json(json), || ());
    }

    fn all(latest: &Latest) -> String {
        let snapshot = latest.snapshot(&ChannelFilter::All, &ChannelFilter::All);
        String::from_utf8(snapshot.body().to_vec()).unwrap()
    }

    /// How many values and ages there are, and how many bytes they take.
    fn sizes(latest: &Latest) -> (usize, usize, usize) {
        let store = latest.lock();
        (store.values.len(), store.ages.len(), store.bytes)
    }

    #[test]
    fn snp_1_a_snapshot_has_the_last_value_of_each_channel_that_the_stream_hears() {
        let latest = Latest::new();
        assert_eq!(all(&latest), r#"{"channels":{}}"#);
        for (channel, json) in [("runs", "1"), ("a\"b", "[ 1.50 ]"), ("pay", "3"), ("runs", "2")] {
            keep(&latest, channel, json);
        }
        assert_eq!(all(&latest), r#"{"channels":{"a\"b":[ 1.50 ],"pay":3,"runs":2}}"#);
        let (asked, granted) =
            (ChannelFilter::only(["runs", "pay"]), ChannelFilter::only(["runs", "jobs"]));
        let heard = latest.snapshot(&asked, &granted);
        assert_eq!(heard.body(), r#"{"channels":{"runs":2}}"#);
    }

    #[test]
    fn the_values_have_a_bound_and_the_oldest_makes_room() {
        let latest = Latest::within(3, 1000);
        for (channel, json) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("d", "5")] {
            keep(&latest, channel, json);
        }
        assert_eq!(all(&latest), r#"{"channels":{"a":3,"c":4,"d":5}}"#, "b was set first");

        // `"a":` and a comma take five bytes.
        let latest = Latest::within(10, 20);
        for (channel, json) in [("a", "12345"), ("b", "67890"), ("c", "1"), ("b", "[2,3]")] {
            keep(&latest, channel, json);
        }
        assert_eq!(all(&latest), r#"{"channels":{"b":[2,3],"c":1}}"#);
        keep(&latest, "b", "1234567890123456");
        assert_eq!(all(&latest), r#"{"channels":{"c":1}}"#, "too large, and the last one is past");
        assert_eq!(sizes(&latest), (1, 1, 6));
        for json in ["[1]", "2", "[3, 4]"] {
            keep(&latest, "c", json);
        }
        assert_eq!(
            (all(&latest).as_str(), sizes(&latest)),
            (r#"{"channels":{"c":[3, 4]}}"#, (1, 1, 11))
        );
    }

    #[test]
    fn the_bound_leaves_room_for_the_rest_of_a_snapshot() {
        let latest = Latest::new();
        let longest = transport_core::LiveOptions::new().max_snapshot_bytes();
        for number in 0..20_000 {
            keep(&latest, &format!("\u{1}{number}"), &"1".repeat(100));
        }
        let written = all(&latest).len();
        assert!(written <= longest && written > MAX_BYTES - 200, "{written}");
        assert!(latest.lock().values.len() < MAX_CHANNELS);
    }

    #[test]
    fn snp_1_the_values_of_a_channel_are_kept_in_the_order_of_their_broadcasts() {
        let latest = Latest::new();
        let published = Mutex::new(0);
        thread::scope(|scope| {
            for number in 0..4 {
                let (latest, published) = (&latest, &published);
                scope.spawn(move || {
                    for turn in 0..200 {
                        let json = (number * 1000 + turn).to_string();
                        latest.publish("runs", &Encoded::json(json.clone()), || {
                            // Time for the others to come between.
                            thread::yield_now();
                            assert_eq!(all(latest), format!(r#"{{"channels":{{"runs":{json}}}}}"#));
                            *published.lock().unwrap() += 1;
                        });
                    }
                });
            }
        });
        assert_eq!(*published.lock().unwrap(), 800);
        latest.publish("jobs", &Encoded::json("1"), || {
            assert!(all(&latest).contains(r#""jobs":1"#), "it is kept before it is published");
        });
    }
}
