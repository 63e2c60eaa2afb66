//! What is wrong with a file, and where.

use serde::Serialize;
use std::fmt;

/// How many problems of one file are told one by one; a file that is wrong throughout is told of once.
const LISTED: usize = 20;

/// Something in a file that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FileProblem {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1; absent where the file as a whole is meant.
    pub line: Option<u64>,
    /// The column, from 1, counted in separated values as a spreadsheet counts them; absent where the whole line is
    /// meant.
    pub column: Option<u64>,
    /// What is wrong, and what became of it.
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

/// The problems of one file: the first few one by one, the rest as a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileProblems {
    file: String,
    listed: Vec<FileProblem>,
    more: u64,
}

impl FileProblems {
    /// None so far, in this file.
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), listed: Vec::new(), more: 0 }
    }

    /// The problem at a place of this file.
    pub(crate) fn at(&self, line: Option<u64>, column: Option<usize>, message: String) -> FileProblem {
        // Columns are counted from zero inside and from one outside.
        let column = column.map(|c| c as u64 + 1);
        FileProblem { file: self.file.clone(), line, column, message }
    }

    /// Notes a problem; `message` is made only if it is going to be listed.
    pub(crate) fn note(
        &mut self,
        line: Option<u64>,
        column: Option<usize>,
        message: impl FnOnce() -> String,
    ) {
        if self.listed.len() < LISTED {
            self.listed.push(self.at(line, column, message()));
        } else {
            self.more += 1;
        }
    }

    /// All of them, in the order of the file; the last one counts those that are not listed.
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
    fn a_file_that_is_wrong_throughout_is_told_of_briefly() {
        let mut problems = FileProblems::new("a.csv");
        for line in 1..=1000 {
            problems.note(Some(line), Some(4), || "is no number".to_owned());
        }
        let all = problems.into_vec();
        assert_eq!(all[0].to_string(), "a.csv, line 1, column 5: is no number");
        assert_eq!(all[LISTED].to_string(), "a.csv: 980 more problems like these");
        assert_eq!(all.len(), LISTED + 1);
    }
}
