//! The limits of the rules.

/// Lines of production code in a file, tests not counted.
pub(crate) const FILE_LINES: usize = 500;
/// The one longer file: every option of the router is a field of one struct (invariant 7), from which the command line and the
/// TOML file derive.
pub(crate) const OPTIONS_FILE: (&str, usize) = ("crates/router-config/src/options.rs", 650);
/// Lines of code in a function's body, blank lines and comments not counted.
pub(crate) const FUNCTION_LINES: usize = 60;
/// Parameters of a function, the receiver counted.
pub(crate) const PARAMETERS: usize = 7;
/// Files that may use each other in a circle, as long as they lie in one folder.
pub(crate) const CIRCLE_FILES: usize = 3;
