//! `laterna-bench languages`: one projection in every language. Started by `tests/languages/run`, which builds the plugins and says
//! how that went in a file of JSON lines; this holds them against the native code and an oracle, measures them, and tells it all.

mod events;
mod outcomes;
mod rows;
mod speed;
mod table;
pub(crate) mod transcript;

use std::path::{Path, PathBuf};
use std::time::Instant;

use laterna::change::Schema;
use laterna::plugin::{Host, HostSettings, Limits, Plugin};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use events::{Law, Ugly};
use outcomes::{Compared, Outcome};
use rows::Stage;
use speed::{Runner, Speed};

const USAGE: &str = "usage: laterna-bench languages STATES [--json FILE] [--docs FILE] [--rounds N] [--without-rows]
  STATES  a file of JSON lines: {\"language\", \"toolchain\", \"wasm\": FILE or null, \"scaffold\", \"build\", \"unit_test\",
          \"golden\", \"raw_build\": \"ok\" or what is wrong, \"raw\": FILE or null, its program without the SDK,
          \"seconds\": what the steps of its session took}
environment: LATERNA_BIN (the engine)";
/// Any number: what matters is that it stays.
const SEED: u64 = 20_260_131;

/// What is asked for.
struct Options {
    states: PathBuf,
    json: Option<PathBuf>,
    docs: Option<PathBuf>,
    rounds: usize,
    with_rows: bool,
}

/// A language and all that is known of it.
struct Language {
    /// What the build said: its fields are the columns that come from there.
    state: Value,
    wasm_bytes: Option<u64>,
    /// One for the descriptor, the outcomes and the rows.
    digest: Option<String>,
    compared: Option<Compared>,
    /// Which of the programs without an SDK is this language's.
    raw: Option<usize>,
    speed: Option<Speed>,
    problems: Vec<String>,
}

impl Language {
    fn of(state: Value) -> Self {
        let mut problems = Vec::new();
        for step in ["scaffold", "build", "unit_test", "golden"] {
            match state[step].as_str() {
                Some("ok") => {}
                Some(wrong) => problems.push(format!("{}: {wrong}", step.replace('_', " "))),
                None => problems.push(format!("{step}: nothing was said of it")),
            }
        }
        // Not every language has a program without its SDK.
        if let Some(wrong) = state["raw_build"].as_str().filter(|said| *said != "ok") {
            problems.push(format!("raw build: {wrong}"));
        }
        Self { state, wasm_bytes: None, digest: None, compared: None, raw: None, speed: None, problems }
    }

    fn name(&self) -> &str {
        self.state["language"].as_str().unwrap_or("?")
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        self.state[name].as_str().map(PathBuf::from)
    }

    fn to_json(&self) -> Value {
        let mut value = self.state.clone();
        let compared = self.compared.as_ref();
        let figures = json!({
            "digest": self.digest,
            "wasm_bytes": self.wasm_bytes,
            "start_ms": self.speed.map(|speed| speed.start_ms),
            "call_us": self.speed.map(|speed| speed.call_us),
            "ns_per_event": self.speed.map(|speed| speed.small.ns),
            "ratio_to_native": self.speed.map(|speed| speed.small.ratio),
            "raw_ns_per_event": self.speed.map(|speed| speed.small.raw_ns),
            "sdk_vs_raw": self.speed.map(|speed| speed.small.vs_raw),
            "ns_per_event_1700b": self.speed.map(|speed| speed.large.ns),
            "ratio_to_native_1700b": self.speed.map(|speed| speed.large.ratio),
            "sdk_vs_raw_1700b": self.speed.map(|speed| speed.large.vs_raw),
            "open_differences": compared.map(|compared| &compared.open_differences),
            "problems": self.problems,
        });
        if let (Some(value), Value::Object(figures)) = (value.as_object_mut(), figures) {
            value.remove("wasm");
            value.remove("raw");
            value.extend(figures);
        }
        value
    }
}

/// The whole of it; gives the exit code.
pub(crate) async fn main(arguments: &[String]) -> i32 {
    let options = match parse(arguments) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return 2;
        }
    };
    let states = std::fs::read_to_string(&options.states)
        .unwrap_or_else(|error| panic!("{}: {error}", options.states.display()));
    let states = states.lines().map(|line| serde_json::from_str(line).expect("a state is JSON"));
    let mut languages: Vec<Language> = states.map(Language::of).collect();
    let host = Host::new(HostSettings::default()).expect("a host");
    let native_ns = check(&host, &mut languages, &options).await;

    table::print(&languages, native_ns);
    if let Some(file) = &options.json {
        let all: Vec<Value> = languages.iter().map(Language::to_json).collect();
        let all =
            json!({ "native_ns_per_event": native_ns[0], "native_ns_per_event_1700b": native_ns[1], "languages": all });
        std::fs::write(file, format!("{all:#}\n")).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    let failed: Vec<&Language> = languages.iter().filter(|language| !language.problems.is_empty()).collect();
    for language in &failed {
        for problem in &language.problems {
            println!("{}: {problem}", language.name());
        }
    }
    println!("{} of {} languages hold", languages.len() - failed.len(), languages.len());
    if let Some(file) = &options.docs {
        if failed.is_empty() {
            table::write_docs(file, &languages, native_ns);
        } else {
            println!("{} stays as it is: it tells of languages that hold", file.display());
        }
    }
    i32::from(!failed.is_empty())
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options { states: PathBuf::new(), json: None, docs: None, rounds: 15, with_rows: true };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().cloned().ok_or_else(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--json" => options.json = Some(value()?.into()),
            "--docs" => options.docs = Some(value()?.into()),
            "--rounds" => options.rounds = value()?.parse().map_err(|error| format!("--rounds: {error}"))?,
            "--without-rows" => options.with_rows = false,
            other if other.starts_with('-') => return Err(format!("unknown argument {other}")),
            file => options.states = file.into(),
        }
    }
    if options.states.as_os_str().is_empty() { Err("which STATES?".to_owned()) } else { Ok(options) }
}

/// Runs every check on every plugin that there is. Gives the native code's nanoseconds an event, small and large.
async fn check(host: &Host, languages: &mut [Language], options: &Options) -> [f64; 2] {
    let drawn = events::draw(SEED);
    let mut started: Vec<(usize, (Plugin, f64))> = Vec::new();
    for (at, language) in languages.iter_mut().enumerate() {
        let Some(file) = language.file("wasm") else { continue };
        match load(host, &file).await {
            Ok((plugin, start_ms, bytes)) => {
                language.wasm_bytes = Some(bytes);
                started.push((at, (plugin, start_ms)));
            }
            Err(problem) => language.problems.push(format!("load: {problem}")),
        }
    }
    // What native code says is judged by a schema; whose it is does not matter, as descriptors are compared too.
    let Some((_, (first, _))) = started.first() else { return [f64::NAN; 2] };
    let native = outcomes::native(first.schema(), &drawn);
    for (ugly, native) in drawn.iter().zip(&native) {
        let surprising = ugly.applies.is_some_and(|applies| applies != native.applies()) && ugly.law != Law::TooMuch;
        assert!(!surprising, "{} should have come out otherwise natively: {native:?}, {:?}", ugly.kind, ugly.event);
    }
    let applying = |ugly: &Ugly, native: &Outcome| ugly.law == Law::Same && native.applies();
    let applied: Vec<&Ugly> =
        drawn.iter().zip(&native).filter(|(ugly, native)| applying(ugly, native)).map(|(ugly, _)| ugly).collect();
    let faulty = native.iter().filter(|native| !native.applies()).count();
    println!("{} events, {faulty} of them at fault natively; {} go through the engine", drawn.len(), applied.len());
    let stage = options.with_rows.then(|| Stage::new(applied.iter().copied()));
    if let Some(stage) = &stage {
        println!("the oracle has {} rows", stage.rows());
    }
    for (at, (plugin, _)) in &started {
        let language = &mut languages[*at];
        let begin = Instant::now();
        let digest = check_one(language, plugin, &drawn, &native, stage.as_ref()).await;
        match digest {
            Ok(digest) => language.digest = Some(digest),
            Err(problem) => language.problems.push(problem),
        }
        println!("{:<12} checked in {:.0} s", language.name(), begin.elapsed().as_secs_f64());
    }
    one_digest(languages);
    let raws = raws(host, languages, &drawn, &native, first.schema()).await;
    let mut running = Vec::new();
    for (at, (plugin, start_ms)) in started {
        match speed::runs(&plugin).await {
            Ok(()) => running.push((at, Runner { plugin, start_ms, raw: languages[at].raw })),
            Err(problem) => languages[at].problems.push(format!("speed: {problem}")),
        }
    }
    let (at, runners): (Vec<usize>, Vec<Runner>) = running.into_iter().unzip();
    match speed::measure(&runners, &raws, options.rounds).await {
        Ok((native_ns, speeds)) => {
            at.into_iter().zip(speeds).for_each(|(at, speed)| languages[at].speed = Some(speed));
            native_ns
        }
        Err(problem) => {
            at.into_iter().for_each(|at| languages[at].problems.push(format!("speed: {problem}")));
            [f64::NAN; 2]
        }
    }
}

/// The programs without an SDK, each once, as languages may share one; those that hold are noted at their languages.
async fn raws(
    host: &Host,
    languages: &mut [Language],
    drawn: &[Ugly],
    native: &[Outcome],
    schema: &Schema,
) -> Vec<Plugin> {
    let mut tried: Vec<(PathBuf, Option<usize>)> = Vec::new();
    let mut plugins = Vec::new();
    for language in languages {
        let Some(file) = language.file("raw") else { continue };
        let at = match tried.iter().find(|(known, _)| *known == file) {
            Some((_, at)) => *at,
            None => {
                let held = match load(host, &file).await {
                    Ok((plugin, ..)) => {
                        let problems = outcomes::compare_raw(&plugin, drawn, native, schema).await;
                        problems.map(|problems| (plugin, problems))
                    }
                    Err(problem) => Err(problem),
                };
                let at = match held {
                    Ok((plugin, problems)) if problems.is_empty() => {
                        plugins.push(plugin);
                        Some(plugins.len() - 1)
                    }
                    Ok((_, problems)) => {
                        language.problems.extend(problems.into_iter().map(|problem| format!("raw: {problem}")));
                        None
                    }
                    Err(problem) => {
                        language.problems.push(format!("raw: {problem}"));
                        None
                    }
                };
                tried.push((file, at));
                at
            }
        };
        language.raw = at;
    }
    plugins
}

async fn load(host: &Host, file: &Path) -> Result<(Plugin, f64, u64), String> {
    let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let (plugin, start_ms) = speed::load(host, &bytes, Limits::default()).await?;
    Ok((plugin, start_ms, bytes.len() as u64))
}

/// Holds one plugin against everything; gives its digest, where there is one to give.
async fn check_one(
    language: &mut Language,
    plugin: &Plugin,
    drawn: &[Ugly],
    native: &[Outcome],
    stage: Option<&Stage>,
) -> Result<String, String> {
    let compared = outcomes::compare(plugin, drawn, native).await.map_err(|problem| format!("outcomes: {problem}"))?;
    language.problems.extend(compared.problems.iter().cloned());
    let mut hash = Sha256::new();
    hash.update(&compared.digest);
    let same = compared.problems.is_empty();
    language.compared = Some(compared);
    if let Err(problem) = outcomes::trap(plugin).await {
        language.problems.push(format!("trap: {problem}"));
    }
    if let Some(stage) = stage {
        if !same {
            return Err("rows: not tried, as there are outcomes that differ".to_owned());
        }
        let file = language.file("wasm").ok_or("no plugin")?;
        stage.check(&file, language.name()).await.map_err(|problem| format!("rows: {problem}"))?;
        hash.update(stage.digest());
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// All digests are the first one's: also where each language agrees with the native code by itself, its descriptor may not.
fn one_digest(languages: &mut [Language]) {
    let Some(first) =
        languages.iter().find_map(|language| language.digest.clone().map(|d| (language.name().to_owned(), d)))
    else {
        return;
    };
    for language in languages {
        if language.digest.as_ref().is_some_and(|digest| *digest != first.1) {
            language
                .problems
                .push(format!("its digest is not that of {}: their descriptors or outcomes differ", first.0));
        }
    }
}
