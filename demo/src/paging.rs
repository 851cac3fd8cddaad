//! The parameters of a list that is read in pages.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::Deserialize;
use transport_core::Refusal;

/// How many rows a page has by default.
const PAGE: usize = 100;

/// The parameters, as the query has them.
#[derive(Deserialize)]
pub(crate) struct Asked {
    after: Option<String>,
    limit: Option<String>,
}

/// The place in the list after which the page begins, and how many rows it may have.
pub(crate) struct Place {
    pub(crate) after: Option<String>,
    pub(crate) limit: usize,
}

impl Place {
    /// Reads the query of a list whose longest page has so many rows.
    pub(crate) fn of(
        asked: Result<Query<Asked>, QueryRejection>,
        longest: usize,
    ) -> Result<Self, Refusal> {
        let Query(Asked { after, limit }) =
            asked.map_err(|error| Refusal::bad_request(error.body_text()))?;
        let limit = limit
            .map_or(Some(PAGE), |limit| limit.parse().ok())
            .filter(|limit| (1..=longest).contains(limit));
        let Some(limit) = limit else {
            return Err(Refusal::bad_request(format!("`limit` is a number from 1 to {longest}")));
        };
        Ok(Self { after, limit })
    }

    /// Cuts off the row that was read beyond the limit; tells whether there was one, so that there
    /// is a next page.
    pub(crate) fn cut<T>(&self, rows: &mut Vec<T>) -> bool {
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        more
    }
}
