//! Problems of files: what is wrong, and where.

use serde::Serialize;
use std::fmt;

/// How many problems of one file are listed; the rest are counted.
const MAX_LISTED: usize = 20;

/// A problem of a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FileProblem {
    /// The file, as the user named it.
    pub file: String,
    /// The line, from 1; absent if the problem concerns the whole file.
    pub line: Option<u64>,
    /// The column, from 1, counted in values as in a spreadsheet; absent if the problem concerns the whole line.
    pub column: Option<u64>,
    /// What is wrong, and what was done about it.
    pub message: String,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for FileProblem {}

/// The problems of one file: the first are listed, the rest are counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileProblems {
    file: String,
    listed: Vec<FileProblem>,
    more: u64,
}

impl FileProblems {
    /// No problems yet.
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), listed: Vec::new(), more: 0 }
    }

    /// A problem of this file at a line and a column, which is counted from 0.
    pub(crate) fn at(&self, line: Option<u64>, column: Option<usize>, message: String) -> FileProblem {
        // Columns are counted from 0 internally and from 1 for users.
        let column = column.map(|c| c as u64 + 1);
        FileProblem { file: self.file.clone(), line, column, message }
    }

    /// Adds a problem; `message` is called only if the problem is going to be listed.
    pub(crate) fn add(&mut self, line: Option<u64>, column: Option<usize>, message: impl FnOnce() -> String) {
        if self.listed.len() < MAX_LISTED {
            self.listed.push(self.at(line, column, message()));
        } else {
            self.more += 1;
        }
    }

    /// All listed problems, in the order of the file, and one that counts the others.
    pub fn into_vec(mut self) -> Vec<FileProblem> {
        if self.more > 0 {
            let message = format!("{} more problems like these", self.more);
            self.listed.push(FileProblem { file: self.file, line: None, column: None, message });
        }
        self.listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_beyond_the_limit_are_counted() {
        let mut problems = FileProblems::new("a.csv");
        for line in 1..=1000 {
            problems.add(Some(line), Some(4), || "is not a number".to_owned());
        }
        let all = problems.into_vec();
        assert_eq!(all[0].to_string(), "a.csv, line 1, column 5: is not a number");
        assert_eq!(all[MAX_LISTED].to_string(), "a.csv: 980 more problems like these");
        assert_eq!(all.len(), MAX_LISTED + 1);
    }
}
