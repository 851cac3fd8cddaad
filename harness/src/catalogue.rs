//! The catalogue of requirements: `spec/requirements.toml`, built in.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::features::{Feature, Features};
use crate::protocol::{FullScope, Hello, Reentrancy};

const SOURCE: &str = include_str!("../spec/requirements.toml");

/// How binding a requirement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// Must.
    M,
    /// Should.
    S,
    /// May: a declared policy.
    Y,
}

impl Level {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Level::M => "must",
            Level::S => "should",
            Level::Y => "may",
        }
    }
}

/// One promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// Its name, never reused.
    pub id: String,
    /// How binding it is.
    pub level: Level,
    /// What an implementation claims to be held to it.
    pub profile: String,
    /// The heading it stands under.
    pub group: String,
    /// The promise.
    pub text: String,
    /// Why: what goes wrong in practice without it.
    pub rationale: String,
    /// The edition that brought it, or last changed what it means.
    pub since: u32,
    /// What checks it.
    pub checked: Vec<String>,
    /// More general requirements that the same failure would break in a plainer script.
    #[serde(default)]
    pub special_case_of: Vec<String>,
    /// The features that a script must have to put it to the test.
    #[serde(default)]
    pub needs: Vec<Feature>,
    /// What an implementation must offer for it to apply.
    #[serde(default)]
    pub applies_with: Vec<String>,
}

impl Requirement {
    /// Whether the oracle judges it.
    #[must_use]
    pub fn by_oracle(&self) -> bool {
        self.checked.iter().any(|by| by == "oracle")
    }

    /// Whether an implementation claims its profile and offers what scripts for it need.
    #[must_use]
    pub fn is_testable(&self, hello: &Hello) -> bool {
        let offered = Features::offered_by(hello);
        hello.offers(&self.profile) && self.needs.iter().all(|feature| offered.has(*feature))
    }

    /// Whether it applies to an implementation with these features and policies.
    #[must_use]
    pub fn applies(&self, hello: &Hello) -> bool {
        self.applies_with.iter().all(|word| match word.as_str() {
            "reentrancy" => hello.policies.reentrancy == Reentrancy::Allowed,
            "eviction" => hello.policies.full_scope == FullScope::EvictOldest,
            feature => hello.offers(feature),
        })
    }
}

/// All promises of one edition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The number of this edition.
    pub edition: u32,
    /// Profiles that nothing here implements or checks yet.
    pub unimplemented: Vec<String>,
    /// The promises, in reading order.
    #[serde(rename = "requirement")]
    pub requirements: Vec<Requirement>,
}

/// The catalogue that this suite was built with.
///
/// # Panics
///
/// If the built-in file does not parse, which the tests rule out.
#[must_use]
pub fn catalogue() -> &'static Catalogue {
    static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
    CATALOGUE.get_or_init(|| toml::from_str(SOURCE).expect("spec/requirements.toml is valid"))
}

/// The requirements, the most special first: none comes before one that is a special case of it.
///
/// # Panics
///
/// If requirements are special cases of each other, which the tests rule out.
fn most_special_first() -> &'static HashMap<&'static str, usize> {
    static PLACES: OnceLock<HashMap<&'static str, usize>> = OnceLock::new();
    PLACES.get_or_init(|| {
        let mut left: Vec<&Requirement> = catalogue().requirements.iter().collect();
        let mut places = HashMap::new();
        while !left.is_empty() {
            let special = |own: &&Requirement| {
                left.iter().all(|other| !other.special_case_of.contains(&own.id))
            };
            let next = left.iter().position(special).expect("special cases form no circle");
            places.insert(left.remove(next).id.as_str(), places.len());
        }
        places
    })
}

/// Where a requirement stands among all, the most special first.
pub(crate) fn place(id: &str) -> usize {
    most_special_first().get(id).copied().unwrap_or(usize::MAX)
}

/// Whether `now` is `before` or a more general rule that `before` is a special case of.
#[must_use]
pub fn same_or_more_general(before: &str, now: &str) -> bool {
    let more_general = || {
        let general = find(before).into_iter().flat_map(|own| &own.special_case_of);
        general.into_iter().any(|general| same_or_more_general(general, now))
    };
    before == now || more_general()
}

/// Finds a requirement by id, in any case.
///
/// ```
/// assert_eq!(harness::catalogue::find("rev-2").map(|found| found.profile.as_str()), Some("core"));
/// ```
#[must_use]
pub fn find(id: &str) -> Option<&'static Requirement> {
    catalogue().requirements.iter().find(|requirement| requirement.id.eq_ignore_ascii_case(id))
}

/// The features that a script must have to put a requirement to the test; none for an unknown one.
#[must_use]
pub fn needed_for(id: &str) -> Features {
    let needs = find(id).map(|found| found.needs.as_slice()).unwrap_or_default();
    needs.iter().fold(Features::default(), |all, feature| all.with(*feature))
}

/// Whether breaking it is a failure rather than a note.
#[must_use]
pub fn is_must(id: &str) -> bool {
    // Order is declared policy; a registry that declares it is held to it, and only then is it
    // judged.
    find(id).is_none_or(|requirement| requirement.level == Level::M) || id == "ORD-3"
}

/// Returns the text of `docs/spec.md`.
#[must_use]
pub fn spec() -> String {
    let all = catalogue();
    let mut page = format!(
        "# What the registry promises\n\n\
         Edition {} of the catalogue, generated from `harness/spec/requirements.toml` by \
         `registry-conform spec`; do not edit.\n\n\
         **M** must, **S** should, **Y** may (declared policy). *Checked* says what proves it: \
         `oracle` is the conformance suite, a crate's name its own tests, which carry the id as \
         their prefix. *Since* names the edition that brought a requirement or last changed what \
         it means, where that is not the first.\n",
        all.edition
    );
    let mut heading = "";
    for requirement in &all.requirements {
        if heading != requirement.group {
            heading = &requirement.group;
            let _ = write!(page, "\n## {heading} (`{}`)\n\n", requirement.profile);
        }
        let _ =
            write!(page, "- **{} {:?}** {}", requirement.id, requirement.level, requirement.text);
        let _ = write!(page, " *{}*", requirement.rationale);
        let since = if requirement.since > 1 {
            format!("; since edition {}", requirement.since)
        } else {
            String::new()
        };
        let _ = writeln!(page, " (checked: {}{since})", requirement.checked.join(", "));
    }
    page
}
