//! A transport-agnostic subscriber registry whose revocations are a proof: channels, identities, sinks, outboxes.
