//! Compiled plugins on disk, so that a start takes milliseconds.
//!
//! Compiled code is trusted code: whoever can write it owns the process. So it stands in a folder of mode 0700, each file is
//! sealed with an HMAC under a key of mode 0600 that is made with the folder, and what is loaded is the very buffer whose
//! seal was checked. A name holds all that the code depends on, so nothing stale is ever found. A file that does not
//! hold is removed and compiled again; files are written beside and renamed.

use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::PluginError;
use super::binary::hex;

/// Raised when the meaning of a file changes: layout, or how core modules are wrapped.
const FORMAT: u32 = 1;
const KEY_BYTES: usize = 32;
const SEAL_BYTES: usize = 32;
const KEY_FILE: &str = "key";
const COMPILED: &str = "compiled";
const PART: &str = "part";
/// After which time a file that was being written belongs to an engine that was killed.
const PART_AGE_MAX: Duration = Duration::from_secs(3600);
/// How many files are kept; the oldest go first.
const FILES_MAX: usize = 128;
/// How many bytes all of them may have.
const BYTES_MAX: u64 = 2 << 30;
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// A folder of compiled plugins.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    key: [u8; KEY_BYTES],
}

impl Cache {
    /// Opens the folder, and makes it where it does not exist.
    ///
    /// # Errors
    /// `cache_folder` where it cannot be made, or belongs to somebody else.
    pub(super) fn open(dir: &Path) -> Result<Self, PluginError> {
        let failed = |error: io::Error| {
            PluginError::fatal(
                "cache_folder",
                format!(
                    "the folder {} for compiled plugins cannot be used: {error}; set another `cache_dir`",
                    dir.display()
                ),
            )
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let meta = fs::symlink_metadata(dir).map_err(failed)?;
        if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(failed(io::Error::other("it must be a folder, no link, and belong to the engine's own user")));
        }
        if meta.mode() & 0o077 != 0 {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
        let key = key(dir).map_err(failed)?;
        Ok(Self { dir: dir.to_owned(), key })
    }

    /// The compiled form of a component for this engine, or none.
    pub(super) fn load(&self, engine: &Engine, component: &[u8]) -> Option<Component> {
        let path = self.path(engine, component);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled plugin cannot be read; it is compiled again");
                return None;
            }
        };
        let mut sealed = Vec::new();
        let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut sealed);
        let loaded = read.map_err(wasmtime::Error::from).and_then(|_| {
            let (seal, code) = sealed.split_at_checked(SEAL_BYTES).ok_or_else(|| wasmtime::format_err!("too short"))?;
            self.seal(&path, code)?.verify_slice(seal).map_err(|_| wasmtime::format_err!("the seal is broken"))?;
            deserialize(engine, code)
        });
        match loaded {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled plugin does not hold; it is compiled again");
                fs::remove_file(&path).ok();
                None
            }
        }
    }

    /// Keeps a compiled component. A folder that cannot be written costs time at the next start, nothing else.
    pub(super) fn store(&self, engine: &Engine, component: &[u8], compiled: &Component) {
        let path = self.path(engine, component);
        let stored = compiled.serialize().and_then(|code| {
            let seal = self.seal(&path, &code)?.finalize().into_bytes();
            let beside = write_part(&self.dir, &[&seal, &code])?;
            Ok(fs::rename(beside, &path)?)
        });
        if let Err(error) = stored {
            tracing::warn!(path = %path.display(), %error, "a compiled plugin could not be kept; the next start compiles it again");
        }
        self.prune(&path);
    }

    /// All that the code depends on: the component, wasmtime, the compiler's settings and the processor's features.
    fn path(&self, engine: &Engine, component: &[u8]) -> PathBuf {
        let mut settings = std::hash::DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut settings);
        let mut hash = Sha256::new();
        hash.update(FORMAT.to_le_bytes());
        hash.update(settings.finish().to_le_bytes());
        hash.update(Sha256::digest(component));
        self.dir.join(format!("{}.{COMPILED}", hex(&hash.finalize())))
    }

    // The name goes into the seal, so that one file cannot stand for another.
    fn seal(&self, path: &Path, code: &[u8]) -> wasmtime::Result<Hmac<Sha256>> {
        let mut seal = Hmac::<Sha256>::new_from_slice(&self.key).map_err(|_| wasmtime::format_err!("bad key"))?;
        seal.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        seal.update(code);
        Ok(seal)
    }

    fn prune(&self, keep: &Path) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let mut files = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            let Ok(modified) = meta.modified() else { continue };
            let has_extension = |wanted: &str| path.extension().is_some_and(|extension| extension == wanted);
            if has_extension(PART) && modified.elapsed().is_ok_and(|age| age > PART_AGE_MAX) {
                fs::remove_file(&path).ok();
            } else if has_extension(COMPILED) && path != keep {
                files.push((modified, meta.len(), path));
            }
        }
        files.sort();
        let mut bytes: u64 = files.iter().map(|(_, length, _)| length).sum();
        let mut count = files.len() + 1;
        for (_, length, path) in files {
            if count <= FILES_MAX && bytes <= BYTES_MAX {
                break;
            }
            fs::remove_file(path).ok();
            count -= 1;
            bytes -= length;
        }
    }
}

#[allow(unsafe_code, reason = "loading compiled code is unsafe by nature; it is what makes a start take milliseconds")]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` must come from `Component::serialize` unchanged. The only caller has checked its HMAC under a key that
    // this user alone can read, over this very buffer (no file is mapped), so it is what `store` wrote. wasmtime itself
    // refuses other versions and settings.
    unsafe { Component::deserialize(engine, code) }
}

fn key(dir: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let path = dir.join(KEY_FILE);
    if let Ok(meta) = fs::symlink_metadata(&path) {
        let ours = meta.is_file() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o077 == 0;
        if ours
            && let Ok(bytes) = fs::read(&path)
            && let Ok(key) = bytes.try_into()
        {
            return Ok(key);
        }
        // Somebody else may know it, or it is broken: with another key nothing that stands here is loaded again.
        fs::remove_file(&path)?;
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    let beside = write_part(dir, &[&key])?;
    // Unlike a rename, a link never replaces: of several engines that start at once, all use the first one's key.
    let linked = fs::hard_link(&beside, &path);
    fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::read(&path)?.try_into().map_err(|_| io::Error::other("the key file is broken; remove it"))
        }
        linked => linked.map(|()| key),
    }
}

/// Writes a file under a name of its own, to be moved to its place. Without the sync a power cut could leave the right name on
/// an empty file; the seal would notice, at the price of a compilation.
fn write_part(dir: &Path, parts: &[&[u8]]) -> io::Result<PathBuf> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!("{}-{serial}.{PART}", std::process::id()));
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.sync_all()
    };
    let written = write();
    if written.is_err() {
        fs::remove_file(&path).ok();
    }
    written.map(|()| path)
}
