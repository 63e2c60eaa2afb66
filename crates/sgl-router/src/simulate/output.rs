//! Files of results.

use crate::error::CommandError;
use std::fs;
use std::path::Path;

/// Writes a file, or says which could not be written.
pub(super) fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    fs::write(path, text).map_err(CommandError::write(path))
}
