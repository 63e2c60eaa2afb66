//! The cells of the benchmark: a size of body, a number of connections and a number of workers.

use anyhow::{Result, ensure};
use std::fmt;

/// What a request's body holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RequestBody {
    /// A short chat, the same for every request.
    Short,
    /// A conversation of an agent.
    Long,
    /// A chat with an image.
    Image,
}

impl RequestBody {
    const ALL: [Self; 3] = [Self::Short, Self::Long, Self::Image];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Short => "600b",
            Self::Long => "100k",
            Self::Image => "2m",
        }
    }

    /// What the titles say of it.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::Short => "one chat of 567 bytes",
            Self::Long => "chats of 100 KB, half of them new, half one of the latest 64 and 2 KB more",
            Self::Image => {
                "chats with an image of 2 MB, half of them new, half one of the latest 64 and 2 KB more"
            }
        }
    }
}

/// One cell of the matrix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BenchCell {
    pub(crate) body: RequestBody,
    pub(crate) connections: u32,
    pub(crate) workers: usize,
}

const CONNECTIONS: [u32; 3] = [1, 32, 512];
const WORKERS: [usize; 2] = [4, 1024];

/// The cells that are measured unless others are named.
const DEFAULT: [&str; 6] =
    ["600b-32c-4w", "600b-1c-4w", "600b-512c-4w", "100k-32c-4w", "2m-32c-4w", "600b-32c-1024w"];

impl fmt::Display for BenchCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}c-{}w", self.body.as_str(), self.connections, self.workers)
    }
}

impl BenchCell {
    fn all() -> impl Iterator<Item = Self> {
        RequestBody::ALL.into_iter().flat_map(|body| {
            WORKERS.into_iter().flat_map(move |workers| {
                CONNECTIONS.into_iter().map(move |connections| Self { body, connections, workers })
            })
        })
    }

    /// Whether all parts of `row`, separated by dashes, are parts of the cell's name.
    fn matches(&self, row: &str) -> bool {
        let name = self.to_string();
        row == "all" || row.split('-').all(|wanted| name.split('-').any(|part| part == wanted))
    }
}

/// The cells that these rows name: parts of a cell's name, or `all`. Without rows, those of docs/benchmarks.md.
///
/// # Errors
/// A row names no cell.
pub(crate) fn cells(rows: &[String]) -> Result<Vec<BenchCell>> {
    if rows.is_empty() {
        let named = |name: &&str| BenchCell::all().find(|cell| cell.to_string() == **name);
        return Ok(DEFAULT.iter().filter_map(named).collect());
    }
    for row in rows {
        let known = BenchCell::all().any(|cell| cell.matches(row));
        ensure!(
            known,
            "--row {row}: no such row; a row is all, or some of 600b, 100k, 2m, 1c, 32c, 512c, 4w, 1024w joined by dashes"
        );
    }
    Ok(BenchCell::all().filter(|cell| rows.iter().any(|row| cell.matches(row))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(rows: &[&str]) -> Vec<String> {
        let rows: Vec<String> = rows.iter().map(|row| (*row).to_owned()).collect();
        cells(&rows).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rows_name_cells_by_parts() {
        assert_eq!(names(&[]), DEFAULT);
        assert_eq!(names(&["100k-4w-32c"]), ["100k-32c-4w"]);
        assert_eq!(names(&["2m-512c", "2m-1c-4w"]), ["2m-1c-4w", "2m-512c-4w", "2m-512c-1024w"]);
        assert_eq!(names(&["all"]).len(), 18);
        assert!(cells(&["3m".to_owned()]).is_err());
    }
}
