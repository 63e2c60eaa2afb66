//! Writes results to files.

use crate::error::CommandError;
use std::fs;
use std::path::Path;

pub(super) fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    fs::write(path, text).map_err(CommandError::write(path))
}
