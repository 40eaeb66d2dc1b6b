//! `laterna doctor`: what is installed, what answers, and the one line that mends what does not.
//!
//! What the engine itself needs (configuration, plugins, database, source) is looked at as `check --connect` does, and is the exit code.
//! Toolchains are only told: who has a finished `.wasm` needs none.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use super::Global;
use super::author::project::Project;
use super::author::tools::{TOOLS, Tool, absent, stem};
use super::check::{self, Findings};
use super::terminal::say;

/// A program that says its version later than this is not waited for.
const PROGRAM_MAX: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Targets that a plugin in Rust can be built for.
const TARGETS: [(&str, &str); 2] = [
    ("wasm32-unknown-unknown", "what the examples are built for: the engine makes a component of it"),
    ("wasm32-wasip2", "builds a component by itself"),
];

/// Looks at everything; fails for what would keep the engine from running here.
pub(super) async fn doctor(global: &Global) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    say("The engine");
    match global.load() {
        Ok(loaded) => {
            let files = loaded.config.file.dir.clone();
            check::look(loaded, true, &mut findings).await?;
            let mut away = findings.away().to_vec();
            away.dedup();
            away.iter().filter_map(|name| mend(name, &files)).for_each(|line| say(&format!("mend    {line}")));
        }
        Err(error) => {
            findings.failed("configuration", &format!("{error}; laterna config show tells what holds and from where"));
        }
    }
    match global.access.answers().await? {
        Ok(answer) => findings.well("running engine", &answer),
        Err(reason) => findings.absent("running engine", &reason),
    }
    say("\nTo write plugins");
    toolchains(&mut findings)?;
    Ok(findings.code())
}

/// What to do where this is away.
fn mend(name: &str, files: &Path) -> Option<String> {
    match name {
        "database" => {
            Some("start it, or say which one: export DATABASE_URL=postgres://USER:PASSWORD@HOST/DATABASE".to_owned())
        }
        "kafka" => Some("start it, or say where it is: export KAFKA_BOOTSTRAP_SERVERS=HOST:9092".to_owned()),
        "files" => Some(format!("mkdir -p {}/TOPIC", files.display())),
        _ => None,
    }
}

/// Every tool; in a plugin's project those that it is built with must be there.
fn toolchains(findings: &mut Findings) -> anyhow::Result<()> {
    let project = Project::find(Path::new("."))?;
    let is_needed =
        |tool: &Tool, project: &Project| project.programs().iter().any(|program| stem(program) == tool.program);
    for tool in TOOLS {
        let languages = tool.languages.join(", ");
        match said(tool.program, tool.ask) {
            Some(version) => findings.well(tool.program, &format!("{version} ({languages})")),
            None if project.as_ref().is_some_and(|project| is_needed(tool, project)) => {
                findings.failed(tool.program, &format!("this project is built with it; mend it: {}", tool.mend));
            }
            None => findings.absent(tool.program, &format!("{}: {}", tool.purpose, tool.mend)),
        }
    }
    for (target, purpose) in TARGETS {
        let libraries = said("rustc", &["--print", "target-libdir", "--target", target]);
        if libraries.is_some_and(|place| Path::new(&place).is_dir()) {
            findings.well(target, purpose);
        } else {
            findings.absent(target, &format!("{purpose}: rustup target add {target}"));
        }
    }
    if let Some(project) = &project {
        let unknown =
            project.programs().into_iter().filter(|program| !TOOLS.iter().any(|tool| tool.program == stem(program)));
        for program in unknown.filter(|program| !is_there(project, program)) {
            findings.failed(program, &absent(program, project.language()));
        }
    }
    Ok(())
}

/// Whether a program of plugin.toml is a file of the project, or one on PATH.
fn is_there(project: &Project, program: &str) -> bool {
    if program.contains('/') {
        return project.dir.join(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The first line that a program says; none where it is not there, fails, or takes too long.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        // A question must not begin to install something.
        .env("RUSTUP_AUTO_INSTALL", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() < PROGRAM_MAX => std::thread::sleep(PAUSE),
            _ => {
                child.kill().ok()?;
                child.wait().ok()?;
                return None;
            }
        }
    };
    let output = child.wait_with_output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(|line| super::terminal::one_line(line.trim())).filter(|_| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_or_fails_says_nothing() {
        assert_eq!(said("laterna-no-such-program", &["--version"]), None);
        assert_eq!(said("false", &[]), None);
        assert_eq!(said("echo", &["a b"]).as_deref(), Some("a b"));
    }
}
