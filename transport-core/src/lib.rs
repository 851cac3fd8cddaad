//! What the registry's transports share: authoriser and grant, request parsing, admission, limits, farewells.
