//! Why an authority ended.

use serde::{Deserialize, Serialize};

/// Why an authority ended: what a revocation tells clients. Other kinds of ends are not reasons of
/// a revocation.
///
/// ```
/// use harness::script::Reason;
///
/// assert_eq!(Reason::default(), Reason::Revoked);
/// assert_eq!(Reason::LoggedOut.word(), "logged_out");
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A permission changed: the client comes back and authenticates again.
    #[default]
    Revoked,
    /// The session was ended on purpose: the client does not come back by itself.
    LoggedOut,
    /// The authority ran out: the client renews it, then comes back.
    Expired,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 3] = [Reason::Revoked, Reason::LoggedOut, Reason::Expired];

    /// Its name, in scripts and in what a close says.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Reason::Revoked => "revoked",
            Reason::LoggedOut => "logged_out",
            Reason::Expired => "expired",
        }
    }
}
