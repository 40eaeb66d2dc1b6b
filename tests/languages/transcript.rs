//! `laterna-bench transcript PAGE LANGUAGE TIMES`: the box of a page that makes a project in this language is typed into a terminal, word
//! for word, with a new folder and the toolchains that are on PATH; what its steps took goes to the file TIMES, as JSON.

use std::path::Path;

use laterna_tests::guardian::Folder;
use laterna_tests::services::free_port;
use laterna_tests::transcript::{Session, Step, Took, steps};
use serde_json::{Value, json};

const USAGE: &str = "usage: laterna-bench transcript PAGE LANGUAGE TIMES";

/// The steps that are told: a name, and what the command begins with.
pub(super) const STEPS: [(&str, &str); 6] = [
    ("new", "laterna new"),
    ("test", "laterna test"),
    ("dev", "laterna dev"),
    ("edit", "sed"),
    ("build", "laterna build"),
    ("drop", "sqlite3"),
];

/// The whole of it; gives the exit code.
pub(crate) fn main(arguments: &[String]) -> i32 {
    let [page, language, times] = arguments else {
        eprintln!("{USAGE}");
        return 2;
    };
    match session(Path::new(page), language) {
        Ok(took) => {
            println!("{took}");
            std::fs::write(times, took.to_string()).unwrap_or_else(|error| panic!("{times}: {error}"));
            0
        }
        Err(wrong) => {
            eprintln!("{wrong}\n{page}: the session in {language} is not what happens");
            1
        }
    }
}

fn session(page: &Path, language: &str) -> Result<Value, String> {
    let text = std::fs::read_to_string(page).map_err(|error| format!("{}: {error}", page.display()))?;
    let begins = |step: &Step| step.command.starts_with("laterna new ");
    let of = |step: &Step| step.command.ends_with(&format!(" --lang {language}"));
    let all = steps(&text)?;
    let first = all.iter().position(|step| begins(step) && of(step));
    let first =
        first.ok_or_else(|| format!("{}: no box begins with laterna new .. --lang {language}", page.display()))?;
    let end = all.iter().skip(first + 1).position(begins).map_or(all.len(), |length| first + 1 + length);
    let folder = Folder::new("transcript");
    let bin = std::env::var("LATERNA_BIN").map_err(|_| "LATERNA_BIN is not set".to_owned())?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let bin = Path::new(&bin).parent().map(Path::to_owned);
    let path = std::env::join_paths(bin.into_iter().chain(std::env::split_paths(&path))).map_err(|e| e.to_string())?;
    // Several of us may run on one machine.
    let listen = format!("127.0.0.1:{}", free_port()).into();
    let environment = vec![("PATH".to_owned(), path), ("LATERNA__HTTP__LISTEN".to_owned(), listen)];
    let took = Session::new(folder.path(), environment).run(&all[first..end])?;
    let seconds = |(name, start): &(&str, &str)| {
        let is_it = |took: &&Took| took.command.starts_with(start);
        let seconds = took
            .iter()
            .filter(is_it)
            .map(|took| took.seconds)
            .fold(None, |sum: Option<f64>, s| Some(sum.unwrap_or(0.0) + s));
        let seconds = seconds.ok_or_else(|| format!("{}: the session has no `{start}`", page.display()))?;
        Ok(((*name).to_owned(), json!((seconds * 100.0).round() / 100.0)))
    };
    let steps: Result<serde_json::Map<String, Value>, String> = STEPS.iter().map(seconds).collect();
    Ok(Value::Object(steps?))
}
