//! A plugin's project: `plugin.toml`, the commands in it, and the plugin that they leave.
//!
//! Hides how a language builds. Invariants: every command that is run is shown; of one that fails, all of its output is; what counts as built
//! is what the engine has loaded, so a file that would be refused later is refused here, with all of its problems.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use laterna::config::{Config, ConfigFile, Inputs};
use laterna::plugin::{Plugin, PluginError};
use serde::Deserialize;

use super::super::inspect::{Loader, refused};
use super::super::terminal::{complain, say};
use super::tools;

/// The name of the file that makes a folder a project.
pub(in crate::cli) const MANIFEST: &str = "plugin.toml";
/// What is kept beside the sources: compiled code, the files of `laterna dev`.
const PRIVATE: &str = ".laterna";
/// Folders in which nothing that an author writes is looked for.
const NOT_WATCHED: [&str; 6] = ["node_modules", "target", "build", "dist", "zig-out", "__pycache__"];
/// How often `--watch` looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub(in crate::cli) struct Options {
    /// The project: a folder with a plugin.toml
    #[arg(value_name = "DIR", default_value = ".", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
    /// Where the plugin is written; without it DIR/NAME.wasm with the projection's name
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Build again at every change of the sources, until a signal
    #[arg(short, long)]
    watch: bool,
}

/// Builds, and with `--watch` again and again.
pub(in crate::cli) async fn build(options: Options) -> anyhow::Result<ExitCode> {
    let project = Project::open(&options.dir)?;
    if !options.watch {
        let built = project.build(Flavour::Release).await?;
        say(&introduce(&built, &built.write(&project, options.output.as_deref())?));
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        // Looked at before: what is saved while it builds is built again.
        let before = project.state();
        match project.build(Flavour::Release).await {
            Ok(built) => say(&introduce(&built, &built.write(&project, options.output.as_deref())?)),
            Err(error) => complain(&format!("{error:#}")),
        }
        while project.state() == before {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn introduce(built: &Built, file: &Path) -> String {
    let descriptor = &built.plugin.schema().descriptor;
    format!(
        "{}: projection {} revision {}, {} KiB, in {:.1} s",
        file.display(),
        descriptor.name,
        descriptor.revision,
        built.plugin.bytes().len().div_ceil(1024),
        built.seconds
    )
}

/// Which of the two builds of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Flavour {
    /// What goes into `plugins/`.
    Release,
    /// What is built soonest, where the project has such a build.
    Dev,
}

/// A folder with a `plugin.toml` that was read.
#[derive(Debug)]
pub(in crate::cli) struct Project {
    pub(in crate::cli) dir: PathBuf,
    manifest: Manifest,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    language: String,
    build: Vec<Vec<String>>,
    output: PathBuf,
    watch: Option<Vec<PathBuf>>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    dev: Option<Commands>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Commands {
    build: Vec<Vec<String>>,
    output: PathBuf,
}

/// A build that the engine takes.
pub(in crate::cli) struct Built {
    pub(in crate::cli) plugin: Plugin,
    /// How long the commands and the validation took.
    pub(in crate::cli) seconds: f64,
}

impl Built {
    /// Writes the plugin where it was asked for, or under its name; answers where that is. The file is there whole or not at all.
    pub(in crate::cli) fn write(&self, project: &Project, to: Option<&Path>) -> anyhow::Result<PathBuf> {
        let name = &self.plugin.schema().descriptor.name;
        let to = to.map_or_else(|| project.path(&format!("{name}.wasm")), Path::to_owned);
        replace(&to, self.plugin.bytes()).with_context(|| format!("{} cannot be written", to.display()))?;
        Ok(to)
    }
}

/// Writes beside and renames.
pub(in crate::cli) fn replace(to: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut beside = to.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let written = std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, to));
    if written.is_err() {
        let _never_written = std::fs::remove_file(&beside);
    }
    written
}

impl Project {
    /// Reads `dir/plugin.toml`.
    pub(in crate::cli) fn open(dir: &Path) -> anyhow::Result<Self> {
        let file = dir.join(MANIFEST);
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "{} does not exist: go to a plugin's project, or make one with `laterna new NAME --lang LANGUAGE`",
                file.display()
            ),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", file.display())),
        };
        let manifest = Manifest::parse(&text).with_context(|| file.display().to_string())?;
        Ok(Self { dir: dir.to_owned(), manifest })
    }

    /// The same where there is a plugin.toml; none where there is none.
    pub(in crate::cli) fn find(dir: &Path) -> anyhow::Result<Option<Self>> {
        if dir.join(MANIFEST).exists() { Self::open(dir).map(Some) } else { Ok(None) }
    }

    /// The language that plugin.toml names.
    pub(in crate::cli) fn language(&self) -> &str {
        &self.manifest.language
    }

    /// The programs that the commands begin with.
    pub(in crate::cli) fn programs(&self) -> Vec<&str> {
        let commands = self.manifest.build.iter().chain(self.manifest.dev.iter().flat_map(|dev| &dev.build));
        let mut programs: Vec<&str> = commands.filter_map(|command| Some(command.first()?.as_str())).collect();
        programs.sort_unstable();
        programs.dedup();
        programs
    }

    /// A folder of the project's own that no tool of the language looks into.
    pub(in crate::cli) fn private(&self) -> PathBuf {
        self.path(PRIVATE)
    }

    /// A path in the project as it is told: that of the working directory without its dot.
    fn path(&self, name: &str) -> PathBuf {
        self.dir.strip_prefix(".").unwrap_or(&self.dir).join(name)
    }

    /// Runs the commands and lets the engine load what they leave.
    pub(in crate::cli) async fn build(&self, flavour: Flavour) -> anyhow::Result<Built> {
        let begun = Instant::now();
        let (commands, output) = match (flavour, &self.manifest.dev) {
            (Flavour::Dev, Some(dev)) => (&dev.build, &dev.output),
            _ => (&self.manifest.build, &self.manifest.output),
        };
        for command in commands {
            self.run(command).await?;
        }
        let output = self.dir.join(output);
        ensure!(
            output.is_file(),
            "the commands ended well, but there is no {}: correct `output` in {}",
            output.display(),
            self.dir.join(MANIFEST).display()
        );
        let plugin = self.load(&output).await?;
        Ok(Built { plugin, seconds: begun.elapsed().as_secs_f64() })
    }

    /// Loads a file as the engine would; a refusal names all that is wrong.
    async fn load(&self, file: &Path) -> anyhow::Result<Plugin> {
        let loader = Loader::new(config(&self.private().join("cache"))?)?;
        loader.load(file).await.map_err(|error| match error.downcast::<PluginError>() {
            Ok(refusal) => anyhow::anyhow!("{}", refused(file, &refusal)),
            Err(error) => error,
        })
    }

    /// Runs a command in the project: shown, and with all that it said where it fails.
    pub(super) async fn run(&self, command: &[String]) -> anyhow::Result<()> {
        let Some((program, arguments)) = command.split_first() else { return Ok(()) };
        let shown = command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        say(&format!("$ {shown}"));
        // A path is the project's; a name is looked for on PATH.
        let is_path = program.contains('/') && Path::new(program).is_relative();
        let place = if is_path {
            self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone()).join(program)
        } else {
            program.into()
        };
        let mut child = Command::new(place);
        child.args(arguments).current_dir(&self.dir).envs(&self.manifest.env).stdin(Stdio::null());
        let run = tokio::task::spawn_blocking(move || child.output());
        let output = match run.await.context("the command was not waited for")? {
            Ok(output) => output,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("{}", tools::absent(program, &self.manifest.language))
            }
            Err(error) => return Err(error).with_context(|| format!("{program} cannot be run")),
        };
        if output.status.success() {
            return Ok(());
        }
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        let mut message = format!("`{shown}` failed ({})", output.status);
        for line in said.trim_end().lines() {
            // Writing to a String cannot fail, here and below.
            write!(message, "\n  {}", super::super::terminal::one_line(line)).ok();
        }
        if let Some(mend) = tools::mend(&said) {
            write!(message, "\nto mend it: {mend}").ok();
        }
        bail!("{message}")
    }

    /// What the sources are now: it differs from what it was where something is to be built again.
    pub(in crate::cli) fn state(&self) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
        let mut found = Vec::new();
        match &self.manifest.watch {
            Some(paths) => paths.iter().for_each(|path| self.gather(&self.dir.join(path), &mut found)),
            None => self.gather(&self.dir, &mut found),
        }
        // A change of the manifest itself is told by hand: it is read once.
        found.sort();
        found
    }

    fn gather(&self, path: &Path, found: &mut Vec<(PathBuf, u64, std::time::SystemTime)>) {
        let Ok(metadata) = std::fs::metadata(path) else { return };
        if metadata.is_file() {
            let is_made = path.extension().is_some_and(|extension| extension == "wasm");
            if !is_made {
                found.push((path.to_owned(), metadata.len(), metadata.modified().unwrap_or(std::time::UNIX_EPOCH)));
            }
            return;
        }
        let outputs = [Some(&self.manifest.output), self.manifest.dev.as_ref().map(|dev| &dev.output)];
        let is_of_an_output = |folder: &Path| {
            let mut parents = outputs.iter().flatten().filter_map(|output| output.parent());
            parents.any(|parent| !parent.as_os_str().is_empty() && self.dir.join(parent) == folder)
        };
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            if !name.starts_with('.') && !NOT_WATCHED.contains(&name.as_str()) && !is_of_an_output(&path) {
                self.gather(&path, found);
            }
        }
    }
}

impl Manifest {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let manifest: Self =
            toml::from_str(text).map_err(|error| anyhow::anyhow!("{}", error.to_string().trim_end()))?;
        ensure!(
            tools::LANGUAGES.contains(&manifest.language.as_str()),
            "language = {:?}: one of {} is wanted",
            manifest.language,
            tools::LANGUAGES.join(", ")
        );
        let builds =
            [Some((&manifest.build, &manifest.output)), manifest.dev.as_ref().map(|dev| (&dev.build, &dev.output))];
        for (commands, output) in builds.into_iter().flatten() {
            ensure!(
                !commands.is_empty() && commands.iter().all(|command| !command.is_empty()),
                "build: a list of commands is wanted, each a list of a program and its arguments, as in [[\"make\", \"plugin\"]]"
            );
            ensure!(!output.as_os_str().is_empty(), "output: the file that the commands leave is wanted");
        }
        Ok(manifest)
    }
}

/// The defaults of the engine, with compiled code kept in `cache`.
pub(in crate::cli) fn config(cache: &Path) -> anyhow::Result<Config> {
    let cache = cache.to_str().context("the folder's path is not UTF-8")?;
    let overrides = vec![format!("cache_dir={cache}")];
    if let Some(parent) = Path::new(cache).parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
    }
    Ok(Config::load(&Inputs { file: ConfigFile::Absent, overrides, ..Inputs::default() })?.config)
}

/// A word as a shell would take it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_and_its_mistakes_are_named() {
        let good = "language = \"go\"\nbuild = [[\"go\", \"build\"]]\noutput = \"build/p.wasm\"\nwatch = [\"a.go\"]\nenv = { GOOS = \"wasip1\" }\n";
        let manifest = Manifest::parse(good).unwrap();
        assert_eq!((manifest.language.as_str(), manifest.env["GOOS"].as_str(), manifest.dev), ("go", "wasip1", None));
        for (text, expected) in [
            (good.replace("watch", "wach"), "wach"),
            (good.replace("\"go\"\n", "\"cobol\"\n"), "one of rust"),
            (good.replace("[[\"go\", \"build\"]]", "[[]]"), "a list of commands"),
            (good.replace("[[\"go\", \"build\"]]", "\"make\""), "build"),
            (good.replace("output", "outputs"), "output"),
        ] {
            let error = Manifest::parse(&text).map(|_| ()).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }

    #[test]
    fn what_a_build_leaves_is_no_source() {
        let dir = tempfile::tempdir().unwrap();
        let text = "language = \"go\"\nbuild = [[\"go\", \"build\"]]\noutput = \"made/p.wasm\"\n";
        std::fs::write(dir.path().join(MANIFEST), text).unwrap();
        std::fs::write(dir.path().join("main.go"), "a").unwrap();
        let project = Project::open(dir.path()).unwrap();
        let before = project.state();
        for (folder, name) in [("made", "x.o"), ("target", "x"), (".laterna", "dev.db"), (".", "p.wasm")] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
            std::fs::write(dir.path().join(folder).join(name), "x").unwrap();
        }
        assert_eq!(project.state(), before);
        std::fs::write(dir.path().join("main.go"), "ab").unwrap();
        assert_ne!(project.state(), before);
    }

    #[test]
    fn a_command_is_shown_as_a_shell_takes_it() {
        assert_eq!([quoted("a b"), quoted("--x=1"), quoted(""), quoted("it's")].join(" "), "'a b' --x=1 '' 'it'\\''s'");
    }
}
