//! Images without a daemon or a registry: buildah with a storage of its own in the cache folder, so that the machine's is not touched.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Outcome, run};

pub(crate) struct Buildah {
    folder: PathBuf,
    driver: &'static str,
}

impl Buildah {
    pub(crate) fn new(folder: &Path) -> Self {
        let overlay = Self { folder: folder.to_owned(), driver: "overlay" };
        // Where the kernel cannot stack file systems (a container on overlayfs), each layer is a whole copy: slow, and 25 GB.
        if run::succeeds(&mut overlay.command("info")) { overlay } else { Self { driver: "vfs", ..overlay } }
    }

    /// `chroot` needs neither a runtime nor namespaces of its own: containers share the host's network and processes.
    pub(crate) fn command(&self, command: &str) -> Command {
        let mut buildah = Command::new("buildah");
        buildah.arg("--root").arg(self.folder.join("storage")).arg("--runroot").arg(self.folder.join("run"));
        buildah.args(["--storage-driver", self.driver, command]).env("BUILDAH_ISOLATION", "chroot");
        buildah
    }

    pub(crate) fn has(&self, image: &str) -> bool {
        run::succeeds(self.command("inspect").args(["--type", "image", image]))
    }

    /// A container of an image that is here; `scratch` is the empty one.
    pub(crate) fn from(&self, image: &str) -> Outcome<Container<'_>> {
        let name = answer(self.command("from").args(["--pull-never", image]))?;
        Ok(Container { buildah: self, name })
    }

    /// One line for each: what the image's configuration says at that place.
    pub(crate) fn config(&self, image: &str, list: &str) -> Outcome<Vec<String>> {
        let format = format!("{{{{range .Docker.Config.{list}}}}}{{{{println .}}}}{{{{end}}}}");
        let said = answer(self.command("inspect").args(["--type", "image", "--format", &format, image]))?;
        Ok(said.lines().map(str::to_owned).collect())
    }

    /// Containers that a run which was cut off left behind.
    pub(crate) fn remove_containers(&self) -> Outcome {
        answer(self.command("rm").arg("--all")).map(|_| ())
    }
}

/// Removed when it is dropped.
pub(crate) struct Container<'a> {
    buildah: &'a Buildah,
    pub(crate) name: String,
}

impl Container<'_> {
    /// A folder, a file, or what a tar file holds.
    pub(crate) fn add(&self, what: &Path, to: &str) -> Outcome {
        answer(self.buildah.command("add").args(["--quiet", &self.name]).arg(what).arg(to)).map(|_| ())
    }

    pub(crate) fn env(&self, name: &str, value: &OsStr) -> Outcome {
        let pair = format!("{name}={}", value.to_string_lossy());
        answer(self.buildah.command("config").args(["--env", &pair, &self.name])).map(|_| ())
    }

    /// Where its files lie.
    pub(crate) fn root(&self) -> Outcome<PathBuf> {
        answer(self.buildah.command("mount").arg(&self.name)).map(PathBuf::from)
    }

    pub(crate) fn commit(self, image: &str) -> Outcome {
        answer(self.buildah.command("commit").args(["--quiet", &self.name, image])).map(|_| ())
    }

    /// `buildah run`, to which options, `--`, the container's name and a command are still to be added.
    pub(crate) fn run(&self, options: &[String], command: &[String]) -> Command {
        let mut run = self.buildah.command("run");
        run.args(options).args(["--", &self.name]).args(command);
        run
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        run::succeeds(self.buildah.command("rm").arg(&self.name));
    }
}

/// What it prints; its complaints, when it fails.
pub(crate) fn answer(command: &mut Command) -> Outcome<String> {
    let what = run::text(command);
    let output = command.output().map_err(|e| format!("`{what}` cannot be started: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("`{what}` failed ({})\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}
