//! The payload of the demo, and its registry.

use serde_json::value::RawValue;

/// The payload: the posted JSON text as it stands, so that formatting, key order and long
/// numbers reach the peer unchanged.
pub type Payload = Box<RawValue>;

/// The registry of the demo.
pub type Live = transport_core::Live<Payload>;
