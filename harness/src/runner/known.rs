//! The known-failing file of a port: requirements that it is known to break, each with a reason.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

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
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    day((seconds / 86_400) as i64)
}

/// The civil date of a number of days since 1970 (proleptic Gregorian; years of 400-year eras that
/// begin in March).
fn day(days: i64) -> String {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Whether a text is a day as `2030-01-31`.
fn is_day(text: &str) -> bool {
    let numbers: Option<Vec<u32>> = text.split('-').map(|part| part.parse().ok()).collect();
    let Some([year, month, day]) = numbers.as_deref() else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (1..=12).contains(month)
        && (1..=days).contains(day)
        && text == format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(59), "1970-03-01");
        assert_eq!(day(11_016), "2000-02-29");
        assert_eq!(day(20_454), "2026-01-01");
    }

    #[test]
    fn what_is_no_day_and_no_edition_is_refused() {
        let entry = |expires: &str| {
            Known::parse(&format!(
                "[[known]]\nrequirement = \"REV-1\"\nreason = \"slow\"\nexpires = \"{expires}\""
            ))
        };
        for day in ["2030-01-31", "2028-02-29", "2000-02-29", "9999-12-31"] {
            assert!(entry(day).is_ok(), "{day}");
        }
        for day in [
            "soon",
            "31-12-2020",
            "2030-1-31",
            "2030-02-29",
            "2100-02-29",
            "2030-13-01",
            "2030-04-31",
            "2030-00-10",
        ] {
            assert!(entry(day).unwrap_err().contains("write it as 2030-01-31"), "{day}");
        }
        assert!(Known::parse("edition = 1").is_ok());
        for edition in [0, catalogue::catalogue().edition + 1] {
            assert!(
                Known::parse(&format!("edition = {edition}"))
                    .unwrap_err()
                    .contains("there is no edition")
            );
        }
    }

    #[test]
    fn an_entry_covers_an_id_or_a_family_until_its_day() {
        let entry = |requirement: &str| Entry {
            requirement: requirement.into(),
            reason: "slow".into(),
            link: String::new(),
            expires: "2030-01-31".into(),
        };
        assert!(entry("REV-1").covers("REV-1") && !entry("REV-1").covers("REV-10"));
        assert!(entry("FLT-*").covers("FLT-4"));
        assert!(!entry("REV-1").expired("2030-01-31") && entry("REV-1").expired("2030-02-01"));
    }
}
