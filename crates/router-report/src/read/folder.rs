//! The files of a run in a folder.

use crate::problem::{FileProblem, FileProblems};
use crate::run::ParsedFile;
use std::fs;
use std::path::{Path, PathBuf};

/// The ends of the names of files that may be read; a folder of a run has others, such as logs and pages.
const EXTENSIONS: [&str; 3] = ["csv", "jsonl", "json"];

/// The files of a folder by name; those of candidates come last, after the recordings that they belong to.
///
/// # Errors
/// The folder cannot be read, or has no such file.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, Box<FileProblem>> {
    let problem =
        |message| Box::new(FileProblems::new(&folder.display().to_string()).at(None, None, message));
    let entries = fs::read_dir(folder).map_err(|error| problem(format!("cannot be read: {error}")))?;
    let known = |path: &PathBuf| {
        path.extension().is_some_and(|end| EXTENSIONS.iter().any(|known| end == *known)) && path.is_file()
    };
    let mut files: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(known).collect();
    if files.is_empty() {
        return Err(problem("has no .csv, .jsonl or .json file".to_owned()));
    }
    files.sort_by_key(|path| (path.to_string_lossy().contains("_candidates_"), path.clone()));
    Ok(files)
}

/// Names the only run of a folder like the folder, and puts the folder before the names of several.
pub(super) fn name_runs(folder: &Path, files: &mut [ParsedFile]) {
    let Some(name) = folder.file_name().map(|name| name.to_string_lossy().into_owned()) else { return };
    let mut runs: Vec<_> = files.iter_mut().filter_map(|file| file.run.as_mut()).collect();
    if let [run] = &mut runs[..] {
        run.name = name;
        return;
    }
    for run in runs {
        run.name = format!("{name}/{}", run.name);
    }
}
