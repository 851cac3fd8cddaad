//! The reference conformance suite for subscriber registries: catalogue, scripts, oracle, kits, runner.
