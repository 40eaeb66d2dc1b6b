//! Where the engine's OpenSSL comes from (librdkafka and the PostgreSQL client speak TLS with it).
//!
//! Hides: that building OpenSSL from source is a fifth of a clean build.
//! Where the system has OpenSSL 3 with its static libraries (Debian's
//! `libssl-dev`, Homebrew's `openssl@3`), those are linked; else it is built from source. `LATERNA_OPENSSL=source` always builds it.
//!
//! Invariants: OpenSSL is linked statically either way, so the binary runs where no OpenSSL is; a cross build never takes the host's libraries.
//! The names are those of the crate `openssl-src`, as far as `openssl-sys` uses them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What `openssl-sys` asks for.
#[derive(Debug, Default)]
pub struct Build {
    openssl_dir: Option<PathBuf>,
}

/// Where the libraries and the headers are.
#[derive(Debug)]
pub struct Artifacts {
    include_dir: PathBuf,
    lib_dir: PathBuf,
}

impl Build {
    /// A build for the target of the build script that calls.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The folder in which an OpenSSL from source looks for its configuration and certificates.
    pub fn openssl_dir<P: AsRef<Path>>(&mut self, path: P) -> &mut Self {
        self.openssl_dir = Some(path.as_ref().to_path_buf());
        self
    }

    /// The system's libraries, or those just built from source.
    pub fn build(&mut self) -> Artifacts {
        from_system().unwrap_or_else(|| self.compile())
    }

    fn compile(&self) -> Artifacts {
        let mut build = from_source::Build::new();
        if let Some(path) = &self.openssl_dir {
            build.openssl_dir(path);
        }
        let built = build.build();
        Artifacts { include_dir: built.include_dir().to_path_buf(), lib_dir: built.lib_dir().to_path_buf() }
    }
}

impl Artifacts {
    /// Where `openssl/ssl.h` is.
    #[must_use]
    pub fn include_dir(&self) -> &Path {
        &self.include_dir
    }

    /// Where `libssl.a` and `libcrypto.a` are, and nothing that could be linked in their place.
    #[must_use]
    pub fn lib_dir(&self) -> &Path {
        &self.lib_dir
    }
}

/// None where anything at all is missing or unclear: then the source decides.
#[allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
fn from_system() -> Option<Artifacts> {
    println!("cargo:rerun-if-env-changed=LATERNA_OPENSSL");
    let wanted = std::env::var_os("LATERNA_OPENSSL").is_none_or(|value| value != "source");
    let native = std::env::var_os("TARGET")? == std::env::var_os("HOST")?;
    if !wanted || !native || !pkg_config(&["--exists", "openssl >= 3.0"])?.is_empty() {
        return None;
    }
    // Some are built with compression, whose libraries would then have to be found as well.
    let linked = pkg_config(&["--static", "--libs-only-l", "--libs-only-other", "openssl"])?;
    if linked.split_whitespace().any(|word| !["-lssl", "-lcrypto", "-ldl", "-lpthread", "-pthread"].contains(&word)) {
        return None;
    }
    let installed = PathBuf::from(pkg_config(&["--variable=libdir", "openssl"])?);
    let headers = PathBuf::from(pkg_config(&["--variable=includedir", "openssl"])?);
    // A folder of their own: beside the shared libraries the linker would take those. Its parent's `include` is where librdkafka looks.
    let root = PathBuf::from(std::env::var_os("OUT_DIR")?).join("openssl");
    let lib_dir = root.join("lib");
    std::fs::create_dir_all(&lib_dir).ok()?;
    for library in ["libssl.a", "libcrypto.a"] {
        std::fs::copy(installed.join(library), lib_dir.join(library)).ok()?;
    }
    let include_dir = root.join("include");
    if !include_dir.exists() {
        link(&headers, &include_dir).ok()?;
    }
    Some(Artifacts { include_dir, lib_dir })
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(from, to)
}

#[cfg(not(unix))]
fn link(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// What `pkg-config` prints, without the line's end; None where it is not installed or says no.
fn pkg_config(arguments: &[&str]) -> Option<String> {
    let output = Command::new("pkg-config").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
