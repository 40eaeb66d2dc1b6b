//! Nothing outlives the tests: a small shell waits at the other end of a pipe and, when this process is gone for
//! whatever reason (`kill -9` included), ends the process groups that were named to it and removes their folders.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

const SCRIPT: &str = r#"
declare -A pids folders
while IFS=' ' read -r what which; do
  case $what in
    pid) pids[$which]=1 ;;
    gone) unset "pids[$which]" ;;
    folder) folders[$which]=1 ;;
    removed) unset "folders[$which]" ;;
  esac
done
for pid in "${!pids[@]}"; do kill -CONT -- "-$pid"; kill -KILL -- "-$pid"; done
# What is dying may still write: again, until it is gone.
for turn in {1..50}; do
  for folder in "${!folders[@]}"; do rm -rf -- "$folder" && unset "folders[$folder]"; done
  [ ${#folders[@]} -eq 0 ] && break
  sleep 0.1
done
"#;

fn tell(line: &str) {
    static PIPE: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let pipe = PIPE.get_or_init(|| {
        let mut guardian = Command::new("bash");
        guardian
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        Mutex::new(guardian.spawn().expect("start bash").stdin.take().expect("pipe"))
    });
    let mut pipe = pipe.lock().expect("lock");
    writeln!(pipe, "{line}").expect("the guardian reads");
    pipe.flush().expect("the guardian reads");
}

/// The process group is ended with us, unless [`gone`] is said before.
pub fn watch(pid: u32) {
    tell(&format!("pid {pid}"));
}

/// The process group has ended; its number may be somebody else's from now on.
pub fn gone(pid: u32) {
    tell(&format!("gone {pid}"));
}

/// A temporary folder: removed when dropped, and by the guardian when we are killed.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new folder. It is kept where `LATERNA_TEST_KEEP` is set.
    pub fn new(what: &str) -> Self {
        let path =
            tempfile::Builder::new().prefix(&format!("laterna-{what}-")).tempdir().expect("temporary folder").keep();
        if std::env::var_os("LATERNA_TEST_KEEP").is_none() {
            tell(&format!("folder {}", path.display()));
        }
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("LATERNA_TEST_KEEP").is_some() {
            // What a failed test leaves is printed or kept; the guardian removes it at the end of the process.
            return;
        }
        if std::fs::remove_dir_all(&self.0).is_ok() {
            tell(&format!("removed {}", self.0.display()));
        }
    }
}

/// Sends a signal (`KILL`, `STOP`, `CONT`, `TERM`, ..) to a process that we started.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("bash").args(["-c", &format!("kill -{name} {pid}")]).stderr(Stdio::null()).status();
    status.expect("start bash");
}
