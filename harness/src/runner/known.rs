//! The known-failing file of a port: requirements that it is known to break, each with a reason.

use std::path::Path;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;

use crate::catalogue;

/// What a port knows of itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The edition of the catalogue that the port is scored by, the suite's own if absent; what
    /// came or changed later runs and does not count.
    #[serde(default)]
    pub edition: Option<u32>,
    /// What fails.
    #[serde(default, rename = "known")]
    pub entries: Vec<Entry>,
}

/// One requirement, or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// An id; a `*` at the end stands for any rest.
    pub requirement: String,
    /// Why it fails.
    pub reason: String,
    /// Where that is discussed.
    #[serde(default)]
    pub link: String,
    /// The last day on which the entry counts, as `2030-01-31`.
    #[serde(default)]
    pub expires: String,
}

impl Entry {
    /// Whether it speaks of this requirement.
    #[must_use]
    pub fn covers(&self, id: &str) -> bool {
        match self.requirement.strip_suffix('*') {
            Some(start) => id.starts_with(start),
            None => id.eq_ignore_ascii_case(&self.requirement),
        }
    }

    /// Whether its day has passed.
    #[must_use]
    pub fn expired(&self, today: &str) -> bool {
        !self.expires.is_empty() && self.expires.as_str() < today
    }
}

impl Known {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, does not parse, names no requirement or edition of the catalogue, or a
    /// day that there is not.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text).map_err(|why| format!("{}: {why}", path.display()))
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn parse(text: &str) -> Result<Self, String> {
        let known: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let current = catalogue::catalogue().edition;
        if let Some(edition) = known.edition.filter(|edition| !(1..=current).contains(edition)) {
            return Err(format!("there is no edition {edition}: this suite has 1 to {current}"));
        }
        for entry in &known.entries {
            if !catalogue::catalogue().requirements.iter().any(|own| entry.covers(&own.id)) {
                return Err(format!("there is no requirement {}", entry.requirement));
            }
            if entry.reason.trim().is_empty() {
                return Err(format!("{} has no reason", entry.requirement));
            }
            if !entry.expires.is_empty() && !is_day(&entry.expires) {
                let Entry { requirement, expires, .. } = entry;
                return Err(format!(
                    "{requirement} expires on {expires:?}, which is no day: write it as 2030-01-31"
                ));
            }
        }
        Ok(known)
    }

    /// Says which entries have expired, and are to be renewed or removed.
    ///
    /// # Errors
    ///
    /// If there are any: their names and days.
    pub fn check(&self, today: &str) -> Result<(), String> {
        let expired = self.entries.iter().filter(|entry| entry.expired(today));
        let named: Vec<String> = expired
            .map(|Entry { requirement, expires, .. }| format!("{requirement} expired on {expires}"))
            .collect();
        if named.is_empty() {
            return Ok(());
        }
        Err(format!("{}: renew or remove what has expired (today is {today})", named.join(", ")))
    }

    /// The entry that excuses this requirement today.
    #[must_use]
    pub fn excuse(&self, id: &str, today: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.covers(id) && !entry.expired(today))
    }

    /// The single requirements that are excused today; a family does not tell which of it fail.
    #[must_use]
    pub fn excused(&self, today: &str) -> Vec<String> {
        let entries = self.entries.iter().filter(|entry| !entry.expired(today));
        entries
            .filter_map(|entry| catalogue::find(&entry.requirement))
            .map(|own| own.id.clone())
            .collect()
    }

    /// Whether a failure of this requirement is scored at the port's edition.
    #[must_use]
    pub fn scores(&self, id: &str) -> bool {
        let since = catalogue::find(id).map_or(0, |found| found.since);
        self.edition.is_none_or(|edition| since <= edition)
    }
}

/// Today, as `2030-01-31`, in UTC.
#[must_use]
pub fn today() -> String {
    Timestamp::now().strftime("%F").to_string()
}

/// Whether a text is a day as `2030-01-31`.
fn is_day(text: &str) -> bool {
    text.parse::<Date>().is_ok_and(|day| day.to_string() == text)
}
