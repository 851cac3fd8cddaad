//! Lanes: how broadcasts reach subscribers in one order.
//!
//! The registry appends every broadcast, every new subscriber and every removal to a [log](log)
//! under its one lock, so the order of a log is the order of the registry. A lane consumes one log
//! and applies it to a [book](book) of subscribers that nothing else touches. This gives one order
//! for all (ORD-3), puts a nested broadcast behind the outer one (ORD-2), keeps a new subscriber
//! out of an older broadcast (RE-3), and holds no lock of the registry while sinks run or sockets
//! are written.
//!
//! There are three kinds of lanes. Publishing threads consume the logs of [outboxes](outboxes) and
//! [sinks](sinks). A [flusher](flusher) consumes its [log](flusher_log) in turns: a turn is cut
//! into [segments](segment), each of which is one write for each subscriber that hears something of
//! it. Subscribers that are [addressed](apart) in a segment form groups of their own.

pub(crate) mod apart;
pub(crate) mod book;
pub(crate) mod flusher;
pub(crate) mod flusher_log;
pub(crate) mod frames;
pub(crate) mod log;
pub(crate) mod outboxes;
pub(crate) mod segment;
pub(crate) mod sinks;
