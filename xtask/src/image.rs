//! `cargo xtask image`: builds the Dockerfile on bases that are made here, and runs what came out.
//!
//! Absent on purpose: a registry, a daemon, and anything that outlives the run but the cache folder.

use std::{
    ffi::OsString,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use crate::{
    Outcome, apt,
    buildah::{Buildah, Container, answer},
    cache, chromium, image_run, repo, run,
};

pub(crate) const HELP: &str = "\
Builds the Dockerfile with buildah, without a daemon or a registry, and runs the image against a chain: it must become healthy and ready,
run as 65532, serve the page, and end with code 0 after SIGTERM.

The bases are made here: a minimal Debian by debootstrap, on it this machine's Rust toolchain, and this machine's Node. Settings for
registries and certificates (~/.cargo/config.toml, ~/.npmrc, their variables) are taken over for the build, and are not in the image.

Usage: cargo xtask image

Needs root, buildah and debootstrap (Debian: `apt install buildah debootstrap`; in CI they are installed). From nothing about 10
minutes on 2 cores and 4 GB below the cache folder; after a change of the source, what the engine alone takes to compile.
";

const PACKAGES: [&str; 2] = ["buildah", "debootstrap"];
const IMAGE: &str = "localhost/swaptide";
const BASE: &str = "localhost/swaptide-base";
/// Of root within a build: where cargo and npm look for how the host reaches their registries.
const BUILD_HOME: &str = "/root";

/// What a build from nothing takes at most, bases and layers; one that runs out of it leaves its half behind.
const NEEDED_BYTES: u64 = 6 << 30;

fn free_bytes(folder: &Path) -> Outcome<u64> {
    let said = answer(Command::new("df").args(["--output=avail", "--block-size=1"]).arg(folder))?;
    said.lines().last().and_then(|line| line.trim().parse().ok()).ok_or_else(|| format!("df said `{said}`"))
}

/// As a step of `ci`: only where it can run.
pub(crate) fn step() -> Outcome {
    let missing = PACKAGES.iter().any(|name| cache::on_path(name).is_none());
    if !apt::is_root() || (missing && !(chromium::is_ci() && apt::can_install())) {
        println!("the image is not built here: it needs root, and `apt install {}`", PACKAGES.join(" "));
        return Ok(());
    }
    let folder = cache::cache_root(&repo());
    let free = free_bytes(&folder)?;
    if free < NEEDED_BYTES {
        let (needed, free) = (NEEDED_BYTES >> 30, free >> 30);
        println!("the image is not built here: it needs {needed} GiB below {}, and {free} are free", folder.display());
        return Ok(());
    }
    image()
}

pub(crate) fn image() -> Outcome {
    if !apt::is_root() {
        return Err("building an image needs root: debootstrap and buildah change owners and roots of files".to_owned());
    }
    if PACKAGES.iter().any(|name| cache::on_path(name).is_none()) {
        if !(chromium::is_ci() && apt::can_install()) {
            return Err(format!("buildah or debootstrap is missing: `apt install {}`", PACKAGES.join(" ")));
        }
        println!("image: installing {} with apt-get", PACKAGES.join(" and "));
        apt::install(&PACKAGES)?;
    }
    let folder = cache::cache_root(&repo()).join("image");
    fs::create_dir_all(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    // buildah takes a relative path as relative to itself.
    let folder = folder.canonicalize().map_err(|e| format!("{}: {e}", folder.display()))?;
    let buildah = Buildah::new(&folder);
    buildah.remove_containers()?;
    base(&buildah, &folder)?;
    let bases = [("RUST_IMAGE", rust(&buildah)?), ("NODE_IMAGE", node(&buildah)?), ("RUNTIME_IMAGE", BASE.to_owned())];
    let began = Instant::now();
    build(&buildah, &bases)?;
    println!("image: built in {:.0} s", began.elapsed().as_secs_f64());
    image_run::check(&buildah, IMAGE)?;
    let size = answer(buildah.command("images").args(["--format", "{{.Size}}", IMAGE]))?;
    let below = answer(buildah.command("images").args(["--format", "{{.Size}}", BASE]))?;
    println!("image: {size}, of which the base {below}");
    Ok(())
}

/// The stages whose layers the next build wants to find.
const STAGES: [&str; 3] = ["graphiql", "recipe", "build"];

fn build(buildah: &Buildah, bases: &[(&str, String)]) -> Outcome {
    for stage in STAGES {
        run::must(bud(buildah, bases, &format!("{IMAGE}-{stage}")).args(["--target", stage]).arg(repo()))?;
    }
    run::must(bud(buildah, bases, IMAGE).arg(repo()))?;
    // What has no name any more are layers of builds before; each source makes some hundred MB.
    answer(buildah.command("rmi").arg("--prune")).map(|_| ())
}

fn bud(buildah: &Buildah, bases: &[(&str, String)], tag: &str) -> Command {
    let mut bud = buildah.command("bud");
    // The format of Docker: OCI's has no HEALTHCHECK.
    bud.args(["--layers", "--pull-never", "--format", "docker", "--tag", tag]);
    for (name, image) in bases {
        bud.args(["--build-arg", &format!("{name}={image}")]);
    }
    for file in [".cargo/config.toml", ".npmrc"] {
        if let Some(host) = home().map(|home| home.join(file)).filter(|path| path.is_file()) {
            bud.arg("--volume").arg(format!("{}:{BUILD_HOME}/{file}:ro", host.display()));
        }
    }
    bud
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from)
}

/// A minimal Debian: what the release runs on where there is no registry, and what the build's bases stand on.
fn base(buildah: &Buildah, folder: &Path) -> Outcome {
    if buildah.has(BASE) {
        return Ok(());
    }
    let tar = folder.join("bookworm.tar");
    if !tar.is_file() {
        println!("image: debootstrap (a minute)");
        let (root, packed) = (folder.join("bookworm"), folder.join("bookworm.tar.part"));
        let _ = fs::remove_dir_all(&root);
        answer(Command::new("debootstrap").args(["--variant=minbase", "bookworm"]).arg(&root))?;
        let without = ["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*_*"];
        answer(
            Command::new("tar")
                .args(["--create", "--numeric-owner"])
                .args(without)
                .arg("--file")
                .arg(&packed)
                .arg("--directory")
                .arg(&root)
                .arg("."),
        )?;
        fs::remove_dir_all(&root).map_err(|e| format!("cannot remove {}: {e}", root.display()))?;
        fs::rename(&packed, &tar).map_err(|e| format!("cannot rename {}: {e}", packed.display()))?;
    }
    let container = buildah.from("scratch")?;
    container.add(&tar, "/")?;
    container.commit(BASE)
}

/// The toolchain that runs us, in place of the official image.
fn rust(buildah: &Buildah) -> Outcome<String> {
    let sysroot = PathBuf::from(answer(Command::new("rustc").args(["--print", "sysroot"]).current_dir(repo()))?);
    if !sysroot.join("bin/cargo").is_file() || sysroot == Path::new("/usr") {
        return Err(format!(
            "{} holds no toolchain of rustup, which could be copied: install Rust by https://rustup.rs",
            sysroot.display()
        ));
    }
    let version = answer(Command::new("rustc").arg("-vV").current_dir(repo()))?;
    let taken = variables(&["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_", "CARGO_SOURCE_"]);
    let path = ("PATH".to_owned(), "/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    derived(buildah, "rust", &version, taken.into_iter().chain([path]).collect(), |container| {
        // Without share/: half of it is documentation.
        ["bin", "lib"].iter().try_for_each(|part| container.add(&sysroot.join(part), &format!("/usr/local/rust/{part}")))
    })
}

/// Node and npm as they are on PATH, behind whatever wrappers there are.
fn node(buildah: &Buildah) -> Outcome<String> {
    let program = PathBuf::from(answer(Command::new("node").args(["--print", "process.execPath"]))?);
    let npm = cache::on_path("npm").ok_or("npm is not on PATH: install Node 20 or newer with npm")?;
    let npm = npm.canonicalize().map_err(|e| format!("{}: {e}", npm.display()))?;
    let folder = npm.parent().and_then(Path::parent).filter(|folder| folder.join("bin/npm-cli.js").is_file());
    let folder = folder.ok_or_else(|| format!("{} is not npm's own script: put Node's bin folder on PATH", npm.display()))?;
    let version = answer(Command::new(&program).arg("--version"))? + &answer(Command::new("npm").arg("--version"))?;
    derived(buildah, "node", &version, variables(&["npm_config_registry", "NPM_CONFIG_REGISTRY"]), |container| {
        container.add(&program, "/usr/local/bin/node")?;
        container.add(folder, "/usr/local/lib/node_modules/npm")?;
        let link = ["ln", "-s", "../lib/node_modules/npm/bin/npm-cli.js", "/usr/local/bin/npm"].map(str::to_owned);
        answer(&mut container.run(&[], &link)).map(|_| ())
    })
}

/// What the host sets of these, but no token: they would stay in the cached base.
fn variables(prefixes: &[&str]) -> Vec<(String, OsString)> {
    let wanted = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix)) && !name.ends_with("_TOKEN");
    let mut all: Vec<_> = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
    all.retain(|(name, _)| wanted(name));
    all.sort();
    all
}

/// Where the host's certificates lie in a base: not where Debian's own are, which its package writes anew.
const CERTIFICATES: &str = "/usr/local/share/host-certificates.pem";

/// The base with something on it; made once for each version and environment.
fn derived(
    buildah: &Buildah,
    name: &str,
    version: &str,
    mut env: Vec<(String, OsString)>,
    fill: impl FnOnce(&Container<'_>) -> Outcome,
) -> Outcome<String> {
    // A company's or a sandbox's own authority must be believed in the build as well.
    let host =
        std::env::var_os("SSL_CERT_FILE").map_or_else(|| PathBuf::from("/etc/ssl/certs/ca-certificates.crt"), PathBuf::from);
    let certificates = fs::read(&host).ok();
    if certificates.is_some() {
        env.extend(
            ["SSL_CERT_FILE", "CARGO_HTTP_CAINFO", "NODE_EXTRA_CA_CERTS"].map(|name| (name.to_owned(), CERTIFICATES.into())),
        );
    }
    let mut hash = DefaultHasher::new();
    (version, &env, &certificates).hash(&mut hash);
    let image = format!("localhost/swaptide-{name}:{:016x}", hash.finish());
    if buildah.has(&image) {
        return Ok(image);
    }
    println!("image: the base for {name}");
    let container = buildah.from(BASE)?;
    if certificates.is_some() {
        container.add(&host, CERTIFICATES)?;
    }
    for (name, value) in &env {
        container.env(name, value)?;
    }
    fill(&container)?;
    container.commit(&image)?;
    Ok(image)
}
