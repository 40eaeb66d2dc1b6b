//! `laterna new`: a project from what is compiled into the binary, and from a sample of events where there is one.
//!
//! Invariants: nothing is fetched but by the language's own tools; the folder appears whole or not at all; every question has a flag, and
//! none is asked without a terminal; the expected rows of the project's test are those that the real engine gave.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use laterna::change::{NameOf, name_fault};

use super::super::golden::{self, events};
use super::super::terminal::{complain, say};
use super::super::{Global, Usage};
use super::project::{Flavour, MANIFEST, Project};
use super::{sample, source, tap, tools};

/// Every file of every SDK, by its path under `plugins/sdk`, links followed.
const SDKS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/sdks.rs"));
/// Other words for the languages.
const ALIASES: [(&str, &str); 6] =
    [("js", "javascript"), ("ts", "typescript"), ("py", "python"), ("rs", "rust"), ("c++", "cpp"), ("golang", "go")];
/// Where a project's events are that it is tested with.
const SAMPLE: &str = "tests/events.jsonl";
/// Events of a topic that are looked at, the newest.
const FROM_TOPIC_MAX: usize = 1000;

#[derive(clap::Args)]
pub(in crate::cli) struct Options {
    /// The projection: a lower-case letter, then lower-case letters, digits and underscores
    name: String,
    /// The language: rust, typescript, javascript, python, go, tinygo, c, cpp, zig
    #[arg(short, long, value_name = "LANGUAGE")]
    lang: Option<String>,
    /// Infer columns and types from these events: one JSON object a line, with key, value, timestamp
    #[arg(long, value_name = "F.jsonl", conflicts_with = "from_topic", value_hint = clap::ValueHint::FilePath)]
    from_sample: Option<PathBuf>,
    /// Infer them from the newest events of a topic of the configured source
    #[arg(long, value_name = "TOPIC")]
    from_topic: Option<String>,
    /// The topic that the projection reads; without it that of the sample, else the projection's name
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Where the project is made; without it a folder of the projection's name
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
    /// Write the project only: no tool of the language is run
    #[arg(long)]
    no_build: bool,
}

/// Makes the project, builds it, and writes the expected rows of its test.
pub(in crate::cli) async fn new(global: &Global, options: Options) -> anyhow::Result<ExitCode> {
    let name = &options.name;
    if let Some(fault) = name_fault(name, NameOf::Projection).or_else(|| name_fault(name, NameOf::Table)) {
        return Err(Usage(format!("the name {fault}")).into());
    }
    if sample::is_keyword(name) {
        return Err(
            Usage(format!("the name {name:?} is a key word of a programming language, choose another name")).into()
        );
    }
    let template = Template::of(&language(options.lang.as_deref())?)?;
    let dir = options.dir.clone().unwrap_or_else(|| PathBuf::from(name));
    ensure!(!dir.exists(), "{} exists already: choose another name, or another folder with --dir", dir.display());
    let sample = sample_of(global, &options).await?;
    let topic = sample
        .as_ref()
        .map_or_else(|| options.topic.clone().unwrap_or_else(|| name.clone()), |sample| sample.model.topic.clone());
    template.write(&dir, name, &topic, sample.as_ref())?;
    say(&format!("{}: a projection in {} that reads the topic {topic}", dir.display(), template.language));
    sample.iter().flat_map(|sample| &sample.notes).for_each(|note| say(&format!("note: {note}")));
    if !options.no_build && !finish(&dir).await {
        return Ok(ExitCode::from(super::super::FAILURE));
    }
    let next = [
        format!("cd {}", dir.display()),
        "laterna dev      # builds at every save, and shows rows and the dashboard".to_owned(),
        "laterna test     # events in tests/ against the rows beside them".to_owned(),
    ];
    say(&format!("\nnext:\n  {}", next.join("\n  ")));
    Ok(ExitCode::SUCCESS)
}

/// Builds, and writes the rows that the test expects; what fails is told, and the project stays.
async fn finish(dir: &Path) -> bool {
    let done = async {
        let project = Project::open(dir)?;
        if dir.join("package.json").is_file() {
            project.run(&["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"].map(str::to_owned)).await?;
        }
        let built = project.build(Flavour::Release).await?;
        built.write(&project, None)?;
        golden::update(dir, &built.plugin).await
    };
    match done.await {
        Ok(()) => true,
        Err(error) => {
            let dir = dir.display();
            complain(&format!(
                "{error:#}\nthe project is in {dir}; once this is mended: cd {dir} && laterna test --update"
            ));
            false
        }
    }
}

fn language(named: Option<&str>) -> anyhow::Result<String> {
    let known = tools::LANGUAGES.join(", ");
    let answer = match named {
        Some(language) => language.to_owned(),
        None if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() => {
            print_question(&format!("language ({known}): "))?;
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).context("the answer cannot be read")?;
            line.trim().to_owned()
        }
        None => return Err(Usage(format!("say in which language: --lang, one of {known}")).into()),
    };
    let answer = answer.to_lowercase();
    let language = ALIASES.iter().find(|(alias, _)| *alias == answer).map_or(answer.as_str(), |(_, language)| language);
    if !tools::LANGUAGES.contains(&language) {
        return Err(Usage(format!("{answer:?} is no language that there is a template for: {known}")).into());
    }
    Ok(language.to_owned())
}

fn print_question(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).context("the question cannot be shown")
}

async fn sample_of(global: &Global, options: &Options) -> anyhow::Result<Option<sample::Sample>> {
    let default = options.topic.clone().or_else(|| options.from_topic.clone()).unwrap_or_else(|| options.name.clone());
    let golden = if let Some(file) = &options.from_sample {
        let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        events::read(&text, &default).with_context(|| {
            format!(
                "{}: each line is an event, as in {{\"key\": \"a-1\", \"value\": {{\"total\": \"12.50\"}}}}",
                file.display()
            )
        })?
    } else if let Some(topic) = &options.from_topic {
        let lines = tap::newest(global, topic, FROM_TOPIC_MAX).await?;
        ensure!(!lines.is_empty(), "the topic {topic} holds no event yet");
        events::read(&lines.join("\n"), &default)?
    } else {
        return Ok(None);
    };
    let mut topics: Vec<&str> = golden.iter().map(|one| &*one.at.topic).collect();
    topics.sort_unstable();
    topics.dedup();
    let topic = match (topics.as_slice(), &options.topic) {
        ([topic], _) => (*topic).to_owned(),
        (_, Some(topic)) if topics.contains(&topic.as_str()) => topic.clone(),
        _ => bail!("the sample has events of the topics {}: choose one with --topic", topics.join(", ")),
    };
    let golden: Vec<_> = golden.into_iter().filter(|one| *one.at.topic == *topic).collect();
    Ok(Some(sample::infer(&options.name, &topic, &golden)?))
}

/// The files of a language's project.
struct Template {
    language: String,
    /// The SDK's folder, and the template's in it.
    sdk: &'static str,
    folder: &'static str,
}

impl Template {
    /// A folder of an SDK whose name begins with `template` and whose plugin.toml names the language.
    fn of(language: &str) -> anyhow::Result<Self> {
        for (path, bytes) in SDKS {
            let Some((sdk, rest)) = path.split_once('/') else { continue };
            let Some((folder, file)) = rest.split_once('/') else { continue };
            if !folder.starts_with("template") || file != MANIFEST {
                continue;
            }
            let named = String::from_utf8_lossy(bytes);
            let is_it = named.lines().any(|line| {
                let value = line.strip_prefix("language").and_then(|rest| rest.trim_start().strip_prefix('='));
                value.is_some_and(|value| value.trim_start().starts_with(&format!("\"{language}\"")))
            });
            if is_it {
                return Ok(Self { language: language.to_owned(), sdk, folder });
            }
        }
        bail!("this build of laterna has no template for {language}")
    }

    /// Writes the project beside its place, then moves it there.
    fn write(&self, dir: &Path, name: &str, topic: &str, sample: Option<&sample::Sample>) -> anyhow::Result<()> {
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        let beside = parent.join(format!(".{name}.{}.new", std::process::id()));
        let written = self
            .write_to(&beside, name, topic, sample)
            .and_then(|()| std::fs::rename(&beside, dir).with_context(|| format!("{} cannot be made", dir.display())));
        if written.is_err() {
            let _never_made = std::fs::remove_dir_all(&beside);
        }
        written
    }

    /// The file that says what the projection is: it names the topic.
    fn source(&self, ending: &str) -> Option<&'static str> {
        let own = SDKS.iter().filter_map(|(path, bytes)| {
            let file = path.strip_prefix(self.sdk)?.strip_prefix('/')?.strip_prefix(self.folder)?.strip_prefix('/')?;
            let is_it = Path::new(file).extension().is_some_and(|found| found == ending)
                && std::str::from_utf8(bytes).is_ok_and(|text| text.contains("{{topic}}"));
            is_it.then_some(file)
        });
        // A test of the language's own may name it too.
        own.min_by_key(|file| (file.contains("test"), file.len()))
    }

    fn write_to(&self, dir: &Path, name: &str, topic: &str, sample: Option<&sample::Sample>) -> anyhow::Result<()> {
        let put = |path: &str, bytes: &[u8]| {
            let file = dir.join(path);
            let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
            made.and_then(|()| std::fs::write(&file, bytes))
                .with_context(|| format!("{} cannot be written", file.display()))
        };
        let fill = |text: &str| text.replace("{{name}}", name).replace("{{topic}}", topic);
        for (path, bytes) in SDKS {
            let Some(rest) = path.strip_prefix(self.sdk).and_then(|rest| rest.strip_prefix('/')) else { continue };
            match rest.split_once('/') {
                Some((folder, file)) if folder == self.folder => {
                    // The events and rows of the template are not those of a sample, and neither are the tests of its source.
                    if sample.is_some() && file.contains("test") {
                        continue;
                    }
                    match std::str::from_utf8(bytes) {
                        Ok(text) => put(&fill(file), fill(text).as_bytes())?,
                        Err(_) => put(&fill(file), bytes)?,
                    }
                }
                Some((folder, _)) if folder.starts_with("template") => {}
                _ => put(&format!("sdk/{rest}"), bytes)?,
            }
        }
        if let Some(sample) = sample {
            let (ending, text) = source::write(&self.language, &sample.model)
                .with_context(|| format!("this build of laterna infers nothing for {}", self.language))?;
            let path =
                self.source(ending).with_context(|| format!("the template of {} has no source", self.language))?;
            put(&fill(path), text.as_bytes())?;
            put(SAMPLE, (sample.events.join("\n") + "\n").as_bytes())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_leaves_nothing_to_be_filled_in() {
        for language in tools::LANGUAGES {
            // Which languages there are is the folders' say; that Rust is one is this crate's.
            let Ok(template) = Template::of(language) else {
                assert_ne!(language, "rust");
                continue;
            };
            let dir = tempfile::tempdir().unwrap();
            let project = dir.path().join("p");
            template.write(&project, "my_rows", "my-topic", None).unwrap();
            assert_eq!(Project::open(&project).unwrap().language(), language);
            let mut pending = vec![project.clone()];
            let mut files = 0;
            while let Some(folder) = pending.pop() {
                for entry in std::fs::read_dir(folder).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        pending.push(path);
                    } else if let Ok(text) = std::fs::read_to_string(&path) {
                        files += 1;
                        let is_sdk = path.starts_with(project.join("sdk"));
                        assert!(is_sdk || !text.contains("{{"), "{}", path.display());
                    }
                }
            }
            assert!(files > 5 && project.join(SAMPLE).is_file(), "{language}");
            assert!(!std::fs::exists(project.join("sdk/template")).unwrap());
        }
    }
}
