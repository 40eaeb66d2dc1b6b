//! A session at a terminal as a page of the docs shows it, in boxes marked `console`: every command is run, and must say what stands there.
//!
//! A line that begins with `$ ` and a program of the list below is a command, the lines under it are what it says; `..` alone stands for
//! any lines, at the end of a line for its rest. (What begins with `$ ` otherwise is what a command of ours runs and shows.) A command
//! that `^C` ends stays; until then, what stands under other commands is what it says next. One with `&` at its end runs to the end of the
//! session. A `SELECT` is asked again until it answers as it must, while something runs.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::guardian;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long rows may take that an engine is to make.
const ROWS_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(10);
/// What commands of a page begin with.
const PROGRAMS: [&str; 8] = ["laterna", "cat", "cd", "cp", "ls", "mkdir", "sed", "sqlite3"];

/// A command of a page, and the lines that it says.
#[derive(Clone, Debug)]
pub struct Step {
    /// As it was typed.
    pub command: String,
    /// What must be said.
    pub says: Vec<String>,
    /// Whether `^C` ends it.
    stays: bool,
    /// Whether `^C` stands behind what is said.
    interrupts: bool,
}

/// What a command took, from its start until it had said all.
#[derive(Clone, Debug)]
pub struct Took {
    /// As it was typed.
    pub command: String,
    /// Seconds.
    pub seconds: f64,
}

/// The commands of all boxes, in order.
///
/// # Errors
/// A line stands before any command, or `^C` where nothing stays.
pub fn steps(page: &str) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    for block in page.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap_or_default().lines() {
            let command = line.strip_prefix("$ ").filter(|command| {
                let program = command.split(' ').next().unwrap_or_default();
                PROGRAMS.contains(&program)
            });
            match (command, steps.last_mut()) {
                (Some(command), _) => {
                    steps.push(Step { command: command.to_owned(), says: Vec::new(), stays: false, interrupts: false });
                }
                (None, Some(last)) if line == "^C" => {
                    last.interrupts = true;
                    let stays = steps.iter_mut().rev().find(|step| step.command.starts_with("laterna "));
                    stays.ok_or("^C ends nothing")?.stays = true;
                }
                (None, Some(last)) => last.says.push(line.to_owned()),
                (None, None) => return Err(format!("{line:?} stands before any command")),
            }
        }
    }
    Ok(steps)
}

/// Whether the lines are these.
pub fn fits(expected: &[String], said: &[&str]) -> bool {
    match expected.split_first() {
        None => said.is_empty(),
        Some((line, rest)) if line == ".." => (0..=said.len()).any(|skipped| fits(rest, &said[skipped..])),
        Some((line, rest)) => said.split_first().is_some_and(|(first, others)| {
            let is_line = line.strip_suffix("..").map_or(first == line, |start| first.starts_with(start));
            is_line && fits(rest, others)
        }),
    }
}

/// A terminal of one's own.
#[derive(Debug)]
pub struct Session {
    dir: PathBuf,
    environment: Vec<(String, OsString)>,
    running: Vec<Running>,
}

/// A process whose output goes to a file.
#[derive(Debug)]
struct Running {
    child: Child,
    output: PathBuf,
    /// How much of the output was asked about.
    seen: usize,
}

impl Session {
    /// In a folder, with these variables beside those that we have.
    pub fn new(dir: &Path, environment: Vec<(String, OsString)>) -> Self {
        Self { dir: dir.to_owned(), environment, running: Vec::new() }
    }

    /// Runs all commands, and gives what each took.
    ///
    /// # Errors
    /// The first command that says something else.
    pub fn run(&mut self, steps: &[Step]) -> Result<Vec<Took>, String> {
        let mut took = Vec::new();
        let mut stays = false;
        for step in steps {
            let begun = Instant::now();
            let wrong = |said: &str| {
                let must = step.says.join("\n");
                format!("$ {}\nmust say\n{must}\nand says\n{said}", step.command)
            };
            if let Some(into) = step.command.strip_prefix("cd ") {
                self.dir.push(into);
                continue;
            }
            if let Some(command) = step.command.strip_suffix(" &") {
                self.start(command)?;
            } else if step.stays {
                self.start(&step.command)?;
                stays = true;
                self.told(&step.says).map_err(|said| wrong(&said))?;
            } else if stays {
                let said = self.output(&step.command)?;
                if !said.is_empty() {
                    return Err(wrong(&said));
                }
                self.told(&step.says).map_err(|said| wrong(&said))?;
            } else {
                let is_asked_again = !self.running.is_empty() && step.command.contains("SELECT");
                loop {
                    let said = self.output(&step.command)?;
                    if fits(&step.says, &said.lines().collect::<Vec<_>>()) {
                        break;
                    }
                    if !is_asked_again || begun.elapsed() > ROWS_MAX {
                        return Err(wrong(&said) + &self.others());
                    }
                    std::thread::sleep(PAUSE);
                }
            }
            took.push(Took { command: step.command.clone(), seconds: begun.elapsed().as_secs_f64() });
            if step.interrupts {
                stays = false;
                if let Some(running) = self.running.pop() {
                    running.interrupt()?;
                }
            }
        }
        Ok(took)
    }

    fn shell(&self, command: &str) -> Command {
        // A background job of a shell ignores ^C, and so would all that it starts.
        let mut shell = Command::new("env");
        shell
            .args(["--default-signal=INT", "sh", "-c", &format!("exec 2>&1; {command}")])
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        // Nothing of what cargo tells those that it runs.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_")) {
            if name != "CARGO_HOME" {
                shell.env_remove(name);
            }
        }
        shell.env_remove("RUSTFLAGS").env("LC_ALL", "C").envs(self.environment.iter().cloned());
        shell
    }

    /// Runs a command to its end. Its exit code is its own affair: a page shows it where it matters.
    fn output(&self, command: &str) -> Result<String, String> {
        let output = self.shell(command).output().map_err(|error| format!("{command}: {error}"))?;
        String::from_utf8(output.stdout).map_err(|error| format!("{command}: {error}"))
    }

    fn start(&mut self, command: &str) -> Result<(), String> {
        use std::os::unix::process::CommandExt as _;
        let failed = |error: std::io::Error| format!("{command}: {error}");
        let output =
            std::env::temp_dir().join(format!("laterna-session-{}-{}", std::process::id(), self.running.len()));
        let file = File::create(&output).map_err(failed)?;
        let child = self.shell(&format!("exec {command}")).process_group(0).stdout(file).spawn().map_err(failed)?;
        guardian::watch(child.id());
        self.running.push(Running { child, output, seen: 0 });
        Ok(())
    }

    /// Waits until what stays has said this, and nothing else, since it was asked last.
    fn told(&mut self, says: &[String]) -> Result<(), String> {
        let begun = Instant::now();
        let running = self.running.last_mut().ok_or("nothing runs")?;
        loop {
            let ended = running.child.try_wait().map_err(|error| error.to_string())?;
            let said = running.said();
            let news = said.get(running.seen..).unwrap_or_default();
            if news.ends_with('\n') && fits(says, &news.lines().collect::<Vec<_>>()) {
                running.seen = said.len();
                return Ok(());
            }
            if ended.is_some() || begun.elapsed() > PATIENCE {
                return Err(news.to_owned());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// What those in the background have said, for errors.
    fn others(&self) -> String {
        self.running.iter().map(|running| format!("\n---- beside it\n{}", running.said())).collect()
    }
}

impl Running {
    fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// As `^C` does; it must end by itself, and well.
    fn interrupt(mut self) -> Result<(), String> {
        guardian::signal(self.child.id(), "INT");
        let begun = Instant::now();
        while begun.elapsed() < STOP_MAX {
            if let Ok(Some(status)) = self.child.try_wait() {
                return if status.success() { Ok(()) } else { Err(format!("^C: {status}\n{}", self.said())) };
            }
            std::thread::sleep(PAUSE);
        }
        Err(format!("^C does not end it\n{}", self.said()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            guardian::signal(self.child.id(), "KILL");
        }
        if self.child.wait().is_ok() {
            guardian::gone(self.child.id());
        }
        std::fs::remove_file(&self.output).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> (guardian::Folder, Session) {
        let folder = guardian::Folder::new("session");
        let session = Session::new(folder.path(), Vec::new());
        (folder, session)
    }

    #[test]
    fn what_differs_is_seen() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert!(fits(&lines("a\n..\nd ..\n"), &["a", "b", "c", "d 1"]));
        assert!(fits(&lines(".."), &[]));
        assert!(!fits(&lines("a\n..\nd\n"), &["a", "b"]));
        assert!(!fits(&lines("a"), &["a", "b"]));
        let steps = steps("```console\n$ ls x\ny\n$ sh build.sh\n```\n").unwrap();
        assert_eq!((steps.len(), steps[0].says.len()), (1, 2));
        assert!(super::steps("```console\ny\n```\n").is_err());
    }

    #[test]
    fn commands_run_in_the_folder_and_one_that_says_otherwise_is_told() {
        let (_folder, mut session) = session();
        let page = "```console\n$ mkdir in\n$ cd in\n$ cp ../a b || cat /dev/null\ncp: ..\n$ ls\n```";
        session.run(&steps(page).unwrap()).unwrap();
        let wrong = session.run(&steps("```console\n$ ls\nb\n```").unwrap()).unwrap_err();
        assert!(wrong.contains("$ ls\nmust say\nb"), "{wrong}");
    }

    #[test]
    fn what_stays_is_heard_until_it_is_interrupted() {
        let (folder, mut session) = session();
        let script = "trap 'exit 0' INT; echo one; while [ ! -e go ]; do sleep 0.01; done; echo two; while :; do sleep 0.01; done";
        std::fs::write(folder.path().join("laterna"), format!("#!/bin/sh\n{script}\n")).unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder.path().join("laterna"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = std::env::join_paths([folder.path().to_owned(), "/usr/bin".into(), "/bin".into()]).unwrap();
        session.environment.push(("PATH".to_owned(), path));
        let page = "```console\n$ laterna dev\none\n$ mkdir go\ntwo\n^C\n$ ls\ngo\nlaterna\n```";
        let took = session.run(&steps(page).unwrap()).unwrap();
        assert_eq!((took.len(), session.running.len()), (3, 0));
    }
}
