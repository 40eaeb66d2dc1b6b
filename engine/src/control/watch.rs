//! Watches the folder of plugins: tells each file once it has settled, with all of its bytes, read once.
//!
//! Hides half-copied files, editors that rename, lost notifications and odd kinds of file. A file has settled when
//! two looks [`SETTLE`] apart found the same size, time and identity, or at once where the system said that its writer
//! has closed it or that it was renamed into place, and all of its sections are there. A notification otherwise only makes the next
//! look come sooner; a rescan comes anyway.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{EventKind, RecursiveMode, Watcher as _};

/// How long a file must have stood unchanged.
const SETTLE: Duration = Duration::from_millis(300);

/// How long notices are gathered after the first one.
const GATHER: Duration = Duration::from_millis(30);

/// The same after the notice that a file is complete.
const GATHER_COMPLETE: Duration = Duration::from_millis(3);

/// How often the folder is looked at without a notification.
const RESCAN: Duration = Duration::from_millis(500);

/// The largest file that is read.
pub(super) const FILE_BYTES_MAX: u64 = 64 << 20;

/// What was found in the folder.
#[derive(Debug)]
pub(super) enum Found {
    /// A file has settled: its name, and its bytes or why it was not read.
    File(String, Result<Arc<[u8]>, String>),
    /// A file that was told of is gone.
    Gone(String),
    /// Every file that was there has been told of, and none is still settling.
    Settled,
    /// The folder cannot be read; said once until it can.
    Unreadable(String),
}

/// What tells one state of a file from another: size, modification time in ns, device, inode.
type Stamp = (u64, i128, u64, u64);

struct Seen {
    stamp: Stamp,
    since: Instant,
    told: bool,
    /// Since when it has not been there: an editor or a copy that replaces it takes a moment.
    missing: Option<Instant>,
}

/// Looks at `dir` in a thread of its own until `tell` says that nobody listens.
pub(super) fn watch(dir: PathBuf, tell: impl Fn(Found) -> bool + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name("watch-plugins".to_owned()).spawn(move || run(&dir, &tell)).map(drop)
}

fn run(dir: &Path, tell: &impl Fn(Found) -> bool) {
    let (notices, noticed) = channel();
    // Kept alive; without it (no inotify left, say) the rescan finds everything a little later.
    let mut watcher = watcher(dir, &notices);
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    let mut complete: BTreeSet<String> = BTreeSet::new();
    let (mut settled, mut unreadable) = (false, false);
    loop {
        match look(dir, &mut seen, &mut complete) {
            Ok(found) => {
                unreadable = false;
                if watcher.is_none() {
                    watcher = self::watcher(dir, &notices);
                }
                settled &= found.is_empty();
                if !found.into_iter().all(tell) {
                    return;
                }
                if !settled && seen.values().all(|file| file.told) {
                    settled = true;
                    if !tell(Found::Settled) {
                        return;
                    }
                }
            }
            Err(error) => {
                watcher = None;
                if !unreadable && !tell(Found::Unreadable(format!("cannot read the folder {}: {error}", dir.display())))
                {
                    return;
                }
                unreadable = true;
            }
        }
        let is_still = seen.values().all(|file| file.told && file.missing.is_none());
        let patience = if is_still { RESCAN } else { SETTLE / 2 };
        match noticed.recv_timeout(patience) {
            Ok(Notice::Complete(name)) => {
                complete.insert(name);
                std::thread::sleep(GATHER_COMPLETE);
            }
            // A thousand notices at once are one: those that come in the next moment as well.
            Ok(Notice::Something) | Err(RecvTimeoutError::Timeout) => std::thread::sleep(GATHER),
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(patience),
        }
        while let Ok(notice) = noticed.try_recv() {
            if let Notice::Complete(name) = notice {
                complete.insert(name);
            }
        }
    }
}

/// What the system says of the folder.
enum Notice {
    /// Look again.
    Something,
    /// A file's writer has closed it, or it was renamed into place.
    Complete(String),
}

fn watcher(dir: &Path, notices: &Sender<Notice>) -> Option<notify::RecommendedWatcher> {
    let notices = notices.clone();
    let notice = move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else {
            notices.send(Notice::Something).ok();
            return;
        };
        let is_complete = matches!(
            event.kind,
            EventKind::Access(AccessKind::Close(AccessMode::Write))
                | EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both))
        );
        // To look is to open the folder, which is told too: without this, each look would ask for the next one.
        if event.kind.is_access() && !is_complete {
            return;
        }
        // The receiver lives as long as the watcher. Of a rename the last path is the new one.
        let name = event.paths.last().and_then(|path| path.file_name()?.to_str());
        match name.filter(|_| is_complete) {
            Some(name) => notices.send(Notice::Complete(name.to_owned())).ok(),
            None => notices.send(Notice::Something).ok(),
        };
    };
    let mut watcher = notify::recommended_watcher(notice).ok()?;
    watcher.watch(dir, RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}

fn look(dir: &Path, seen: &mut BTreeMap<String, Seen>, complete: &mut BTreeSet<String>) -> std::io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut present = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.ends_with(".wasm") || name.starts_with('.') {
            continue;
        }
        // Follows a link: switching one is a way to deploy.
        let Ok(metadata) = fs::metadata(entry.path()) else { continue };
        present.push(name.clone());
        let time = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        let stamp = (metadata.size(), time, metadata.dev(), metadata.ino());
        let now = Instant::now();
        let file = seen.entry(name.clone()).or_insert(Seen { stamp, since: now, told: false, missing: None });
        file.missing = None;
        if file.stamp != stamp {
            *file = Seen { stamp, since: now, told: false, missing: None };
        }
        if file.told {
            continue;
        }
        if file.since.elapsed() >= SETTLE {
            file.told = true;
            found.push(Found::File(name, read(&entry.path())));
        } else if complete.contains(&name)
            && let Ok(bytes) = read(&entry.path())
            && is_whole(&bytes)
        {
            file.told = true;
            found.push(Found::File(name, Ok(bytes)));
        }
    }
    complete.clear();
    seen.retain(|name, file| {
        if present.contains(name) {
            return true;
        }
        let is_gone = file.missing.get_or_insert_with(Instant::now).elapsed() >= SETTLE;
        if is_gone {
            found.push(Found::Gone(name.clone()));
        }
        !is_gone
    });
    Ok(found)
}

/// Whether a module or component ends where its last section ends. (Its first bytes: the magic number and the version.)
fn is_whole(bytes: &[u8]) -> bool {
    if bytes.len() <= 8 || !bytes.starts_with(b"\0asm") {
        return false;
    }
    let mut at = 8;
    while at < bytes.len() {
        // A section: one byte for its kind, its size as LEB128, its content.
        at += 1;
        let (mut size, mut shift) = (0usize, 0);
        loop {
            let Some(byte) = bytes.get(at).filter(|_| shift < 35) else { return false };
            at += 1;
            size |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let Some(end) = at.checked_add(size) else { return false };
        at = end;
    }
    at == bytes.len()
}

fn read(path: &Path) -> Result<Arc<[u8]>, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("not a regular file: put the .wasm file itself here".to_owned());
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(format!("{} bytes are too many: at most {FILE_BYTES_MAX} are read", metadata.len()));
    }
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    // It may have grown since; the bound holds whatever happens.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is growing past {FILE_BYTES_MAX} bytes, the most that is read"));
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::Receiver;

    fn watched() -> (tempfile::TempDir, Receiver<Found>) {
        let dir = tempfile::tempdir().unwrap();
        let (tell, told) = channel();
        watch(dir.path().to_owned(), move |found| tell.send(found).is_ok()).unwrap();
        (dir, told)
    }

    fn next_file(told: &Receiver<Found>) -> (String, Result<Arc<[u8]>, String>) {
        loop {
            if let Found::File(name, bytes) = told.recv_timeout(Duration::from_secs(20)).unwrap() {
                return (name, bytes);
            }
        }
    }

    #[test]
    fn a_file_that_is_copied_slowly_is_told_once_and_whole() {
        let (dir, told) = watched();
        let mut file = fs::File::create(dir.path().join("slow.wasm")).unwrap();
        for chunk in 0..20u8 {
            std::io::Write::write_all(&mut file, &[chunk; 100]).unwrap();
            std::thread::sleep(SETTLE / 10);
        }
        drop(file);
        let (name, bytes) = next_file(&told);
        assert_eq!((name.as_str(), bytes.unwrap().len()), ("slow.wasm", 2000));
    }

    #[test]
    fn a_module_is_whole_when_its_last_section_is() {
        let whole = b"\0asm\x01\0\0\0\x00\x05\x04abcd";
        assert!(is_whole(whole));
        for torn in 0..whole.len() {
            assert!(!is_whole(&whole[..torn]), "{torn}");
        }
        assert!(!is_whole(b"\0asm\x01\0\0\0\x00\xff\xff\xff\xff\xff\xff"));
    }

    #[test]
    fn other_names_are_not_read_and_other_kinds_are_named() {
        let (dir, told) = watched();
        fs::write(dir.path().join("notes.txt"), "x").unwrap();
        fs::write(dir.path().join(".hidden.wasm"), "x").unwrap();
        fs::create_dir(dir.path().join("folder.wasm")).unwrap();
        let (name, bytes) = next_file(&told);
        assert_eq!(name, "folder.wasm");
        assert!(bytes.unwrap_err().contains("not a regular file"));
    }

    #[test]
    fn a_rename_over_a_file_tells_the_new_one_and_a_removal_is_told() {
        let (dir, told) = watched();
        let path = dir.path().join("a.wasm");
        fs::write(&path, "one").unwrap();
        assert_eq!(&*next_file(&told).1.unwrap(), b"one");
        fs::write(dir.path().join("a.tmp"), "two").unwrap();
        fs::rename(dir.path().join("a.tmp"), &path).unwrap();
        assert_eq!(&*next_file(&told).1.unwrap(), b"two");
        fs::remove_file(&path).unwrap();
        loop {
            match told.recv_timeout(Duration::from_secs(20)).unwrap() {
                Found::Gone(name) => break assert_eq!(name, "a.wasm"),
                Found::Settled => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
