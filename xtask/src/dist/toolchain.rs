//! The tools that a release is made with, at fixed versions, and what they have in common.

use crate::{command, python_env};
use anyhow::{Context, Result, ensure};
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The tools, the target, and the settings of every build of a release.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// The root of the repository.
    pub(crate) root: PathBuf,
    /// The target folder: what xtask installs, and below it what cargo builds for a release.
    pub(crate) target_dir: PathBuf,
    /// The target, such as `x86_64-unknown-linux-gnu`.
    pub(crate) triple: String,
    /// The version of the workspace.
    pub(crate) version: String,
    /// The time of the last commit, in seconds since 1970: the time of all packed files.
    pub(crate) commit_time: String,
    /// The interpreter that has Zig, maturin and the checkers of wheels.
    pub(crate) python: PathBuf,
}

impl Toolchain {
    /// Installs the Python tools below the target folder.
    ///
    /// # Errors
    /// This is not Linux, a program is missing, or a tool cannot be installed.
    pub(crate) fn prepare(root: &Path) -> Result<Self> {
        ensure!(cfg!(target_os = "linux"), "releases are built on Linux");
        for (program, package) in
            [("readelf", "binutils"), ("dpkg-deb", "dpkg"), ("gzip", "gzip"), ("tar", "tar")]
        {
            ensure!(command::exists(program, "--version"), "{program} is missing; install {package}");
        }
        let target_dir = command::target_dir(root)?;
        let requirements = root.join("xtask/src/dist/requirements.txt");
        let python = python_env::prepare(&requirements, &target_dir.join("dist-venv"))?;
        let mut git = Command::new("git");
        let commit_time = command::output(git.current_dir(root).args(["log", "-1", "--format=%ct"]))?;
        Ok(Self {
            root: root.to_owned(),
            triple: format!("{}-unknown-linux-gnu", env::consts::ARCH),
            // xtask has the version of the workspace.
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit_time: commit_time.trim().to_owned(),
            target_dir,
            python,
        })
    }

    /// The folder of the release build: the binary, and what is generated beside it.
    pub(crate) fn build_dir(&self) -> PathBuf {
        self.build_target().join(&self.triple).join("dist")
    }

    /// The target folder of the release build. The profile `dist` would else use target/dist, where the release goes.
    fn build_target(&self) -> PathBuf {
        self.target_dir.join("dist-build")
    }

    /// An empty folder below the target folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.target_dir.join("dist-scratch").join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    /// A cargo command of the release: Zig is on its path, and the folders of this machine stay out of the binary.
    ///
    /// # Errors
    /// The path holds a character that cannot stand in one.
    pub(crate) fn cargo(&self, args: &[&str]) -> Result<Command> {
        let mut command = command::cargo(&self.root, args);
        self.set_environment(&mut command)?;
        Ok(command)
    }

    /// A module of the Python tools.
    ///
    /// # Errors
    /// As [`Self::cargo`].
    pub(crate) fn python(&self, module: &str, args: &[&str]) -> Result<Command> {
        let mut command = Command::new(&self.python);
        command.current_dir(self.root.join("python")).args(["-m", module]).args(args);
        self.set_environment(&mut command)?;
        Ok(command)
    }

    /// A program of crates.io, compiled once below the target folder.
    ///
    /// # Errors
    /// It cannot be compiled.
    pub(crate) fn installed(&self, program: &str, version: &str) -> Result<PathBuf> {
        let folder = self.target_dir.join("dist-tools").join(format!("{program}-{version}"));
        let path = folder.join("bin").join(program);
        if !path.exists() {
            let package = format!("{program}@{version}");
            let mut install = command::cargo(&self.root, &["install", "--quiet", "--locked", "--root"]);
            command::run(install.arg(&folder).arg(package))?;
        }
        Ok(path)
    }

    /// Sets what all programs of a release share.
    pub(super) fn set_environment(&self, command: &mut Command) -> Result<()> {
        let tools = self.python.parent().context("no folder of the tools")?.to_owned();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([tools].into_iter().chain(env::split_paths(&path)))?;
        let cargo_home = env::var_os("CARGO_HOME")
            .or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo").into_os_string()))
            .context("neither CARGO_HOME nor HOME is set")?;
        // The separator of this variable is one that no path holds, unlike that of RUSTFLAGS.
        let mut flags = OsString::from("--remap-path-prefix=");
        flags.push(&cargo_home);
        flags.push("=cargo\u{1f}--remap-path-prefix=");
        flags.push(&self.root);
        flags.push("=.");
        command.env("PATH", path).env("CARGO_ENCODED_RUSTFLAGS", flags).env_remove("RUSTFLAGS");
        command.env("SOURCE_DATE_EPOCH", &self.commit_time).env("CARGO_TARGET_DIR", self.build_target());
        Ok(())
    }
}
