//! The payload of the demo, and its registry.

use registry_core::{Encoded, Event, EventName};
use serde_json::value::RawValue;

/// The payload, encoded already: the posted JSON text as it stands, so that formatting, key order
/// and long numbers reach the peer unchanged; and the name of the event, if it has one.
pub type Payload = Event;

/// The registry of the demo.
pub type Live = transport_core::Live<Payload>;

/// Makes a payload of a posted text.
pub(crate) fn encoded(json: Box<RawValue>, name: Option<EventName>) -> Encoded {
    let encoded = Encoded::json(Box::<str>::from(json));
    match name {
        Some(name) => encoded.with_name(name),
        None => encoded,
    }
}
