//! Helpers of the tests.

use std::process::Output;

/// Asserts exit code 2 and one line on standard error that contains all of `parts`.
pub(crate) fn assert_mistake(output: &Output, args: &[&str], parts: &[&str]) {
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
    assert_eq!(error.trim_end().lines().count(), 1, "{args:?}: {error}");
    for part in parts {
        assert!(error.contains(part), "{args:?}: '{part}' is not in: {error}");
    }
}
