//! The glibc that a program needs, by the versions of the symbols that it takes from it.

use crate::command;
use anyhow::{Context, Result, ensure};
use std::fmt;
use std::path::Path;
use std::process::Command;

/// The glibc that releases are linked against: that of `manylinux2014`. Debian 11 has 2.31.
pub(crate) const LINKED: GlibcVersion = GlibcVersion { major: 2, minor: 17 };

/// A version of glibc.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct GlibcVersion {
    major: u32,
    minor: u32,
}

impl fmt::Display for GlibcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Checks that the program runs with the glibc [`LINKED`], and prints the one that it needs.
///
/// # Errors
/// It needs a newer one, needs none (so it is not what was meant to be built), or cannot be read.
pub(crate) fn check(program: &Path) -> Result<()> {
    let listed = command::output(Command::new("readelf").args(["--wide", "--version-info"]).arg(program))?;
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let needed = newest(&listed).with_context(|| format!("{name} needs no symbol of glibc"))?;
    ensure!(needed <= LINKED, "{name} needs glibc {needed}, but must run with {LINKED}");
    println!("{name}: needs glibc {needed} or later");
    Ok(())
}

/// The newest version in readelf's list of version needs.
fn newest(listed: &str) -> Option<GlibcVersion> {
    listed.split_whitespace().filter_map(|word| parse(word.strip_prefix("GLIBC_")?)).max()
}

/// Reads `2.17` or `2.2.5`; the last part of three is not compared.
fn parse(text: &str) -> Option<GlibcVersion> {
    let mut parts = text.split('.').map(str::parse);
    Some(GlibcVersion { major: parts.next()?.ok()?, minor: parts.next()?.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "\
Version needs section '.gnu.version_r' contains 2 entries:
 Addr: 0x0000000000001a38  Offset: 0x00001a38  Link: 6 (.dynstr)
  000000: Version: 1  File: libm.so.6  Cnt: 1
  0x0010:   Name: GLIBC_2.9  Flags: none  Version: 5
  0x0020: Version: 1  File: libc.so.6  Cnt: 3
  0x0030:   Name: GLIBC_2.2.5  Flags: none  Version: 4
  0x0040:   Name: GLIBC_2.14  Flags: none  Version: 3
  0x0050:   Name: GLIBC_PRIVATE  Flags: none  Version: 2";

    #[test]
    fn newest_version_is_by_number() {
        assert_eq!(newest(LISTED), Some(GlibcVersion { major: 2, minor: 14 }));
        assert_eq!(newest(LISTED).map(|needed| needed.to_string()), Some("2.14".to_owned()));
    }

    #[test]
    fn static_program_has_no_version() {
        assert_eq!(newest("No version information found in this file."), None);
    }
}
