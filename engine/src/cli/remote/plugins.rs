//! `plan` and `plugin`: what builds are there, what a build would need, and the files in the engine's folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use hyper::Method;

use super::answers::{Plan, PluginFile, Plugins};
use super::client::{Body, ClientError};
use super::words::{NONE, build, short};
use super::{Engine, Output, Show, file_name, operate, read, wasm};
use crate::cli::terminal::{Tone, one_line, table, toned};
use crate::peer::segment;

#[derive(clap::Args)]
pub(in crate::cli) struct PlanOptions {
    /// The build
    #[arg(value_name = "X.wasm", value_hint = clap::ValueHint::FilePath)]
    pub(super) file: PathBuf,
    #[command(flatten)]
    pub(super) show: Show,
}

#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// Put a build into the folder; it is carried out as for any file there
    Add {
        /// The build
        #[arg(value_name = "X.wasm", value_hint = clap::ValueHint::FilePath)]
        file: PathBuf,
        /// The name that the file gets in the folder; its own, if not said
        #[arg(long, value_name = "NAME.wasm")]
        name: Option<String>,
        #[command(flatten)]
        show: Show,
    },
    /// List the files, what runs, and why others do not
    Ls {
        #[command(flatten)]
        show: Show,
    },
    /// Take a file out of the folder: its projection stops, its tables stay
    Rm {
        /// The file's name in the folder
        #[arg(value_name = "NAME.wasm")]
        file: String,
        #[command(flatten)]
        show: Show,
    },
}

impl Command {
    pub(super) fn output(&self) -> Output {
        let (Self::Add { show, .. } | Self::Ls { show } | Self::Rm { show, .. }) = self;
        show.output
    }
}

/// `plan`.
pub(super) async fn plan(engine: &Engine, file: &Path) -> anyhow::Result<ExitCode> {
    let answer = engine.order(Method::POST, "/api/v1/plugins/plan", Body::Wasm(wasm(file)?)).await?;
    engine.show(answer, plan_text)?;
    Ok(ExitCode::SUCCESS)
}

/// A plan in words: what, from which build to which, and why, table by table.
pub(super) fn plan_text(plan: &Plan) -> String {
    let from =
        plan.from_digest.as_deref().map(|digest| format!("{} → ", build(plan.from_revision.unwrap_or(0), digest)));
    let held = if plan.held { " (held back until it is deployed)" } else { "" };
    let what = match plan.action.as_str() {
        "nothing" => "nothing is to be done",
        "create" => "create: it is new",
        "reload" => "reload: the build takes over between two batches",
        "alter" => "alter: columns, tables or indexes are added, then the build takes over",
        "rebuild" => "rebuild: the next generation is filled from the start of the log beside the live one",
        other => other,
    };
    let to = build(plan.to_revision, &plan.to_digest);
    let mut lines =
        vec![format!("plan for {}, {}{to}", plan.projection, from.unwrap_or_default()), format!("  {what}{held}")];
    lines.extend(plan.reasons.iter().map(|reason| format!("  because {}", one_line(reason))));
    for table in &plan.tables {
        let reasons = table.reasons.iter().map(|reason| one_line(reason)).collect::<Vec<_>>().join("; ");
        let why = if reasons.is_empty() { String::new() } else { format!(": {reasons}") };
        lines.push(format!("  table {}: {}{why}", table.table, table.action));
    }
    lines.join("\n")
}

/// `plugin ..`.
pub(super) async fn run(engine: &Engine, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Add { file, name, .. } => add(engine, &file, name).await,
        Command::Ls { .. } => {
            let answer = engine.get("/api/v1/plugins").await?;
            engine.show(answer, |files: &Plugins| list(files, engine.has_color))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Rm { file, .. } => remove(engine, &file).await,
    }
}

async fn add(engine: &Engine, file: &Path, name: Option<String>) -> anyhow::Result<ExitCode> {
    let name = name.map_or_else(|| file_name(file), Ok)?;
    let path = format!("/api/v1/plugins?file={}", segment(&name));
    let answer = engine.order(Method::POST, &path, Body::Wasm(wasm(file)?)).await?;
    engine.show(answer, |plan: &Plan| {
        format!("{name} is in the folder\n{}\nlaterna show {}", plan_text(plan), plan.projection)
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn remove(engine: &Engine, file: &str) -> anyhow::Result<ExitCode> {
    let files: Plugins = read(engine.get("/api/v1/plugins").await?)?;
    let Some(found) = files.plugins.iter().find(|plugin| plugin.file == file) else {
        let detail = format!("there is no file {file:?} in {}; laterna plugin ls lists them", files.plugins_dir);
        return Err(ClientError::Refused { code: "plugin_unknown".into(), detail }.into());
    };
    let projection = found.projection.as_deref();
    engine.tell(&match projection {
        Some(name) => {
            format!("{file} goes; {name} stops on every engine, and its tables stay until: laterna drop {name}")
        }
        None => format!("{file} goes; no projection runs from it"),
    });
    engine.consent.ask(&format!("Remove {file}?"))?;
    let answer = engine.order(Method::DELETE, &format!("/api/v1/plugins/{}", segment(file)), Body::None).await?;
    operate::done(engine, answer, &format!("{file} is removed"), &format!("{file} was removed already"))
}

fn list(files: &Plugins, has_color: bool) -> String {
    if files.plugins.is_empty() {
        return format!("{} is empty. Drop a plugin in: laterna plugin add MY.wasm", files.plugins_dir);
    }
    let columns = ["file", "projection", "on disk", "runs", "KiB", "state"].map(str::to_owned);
    let maybe = |text: Option<&str>| text.unwrap_or(NONE).to_owned();
    let row = |plugin: &PluginFile| {
        let on_disk = match (&plugin.digest, plugin.revision) {
            (Some(digest), Some(revision)) => build(revision, digest),
            (digest, _) => maybe(digest.as_deref().map(short)),
        };
        vec![
            if plugin.file.is_empty() { "(no file)".to_owned() } else { plugin.file.clone() },
            maybe(plugin.projection.as_deref()),
            on_disk,
            maybe(plugin.running_digest.as_deref().map(short)),
            plugin.bytes.map_or(NONE.to_owned(), |bytes| bytes.div_ceil(1024).to_string()),
            state(plugin),
        ]
    };
    let rows: Vec<Vec<String>> = files.plugins.iter().map(row).collect();
    let tone = |plugin: &PluginFile| if plugin.rejected.is_some() { Tone::Bad } else { Tone::Plain };
    let tones = files.plugins.iter().map(tone).collect::<Vec<_>>();
    let mut lines = vec![format!("{}\n", files.plugins_dir), toned(&table(&columns, &rows), &tones, has_color)];
    for rejected in &files.rejected {
        lines.push(format!("\n{} does not run ({}): {}", rejected.file, rejected.code, one_line(&rejected.reason)));
    }
    for plan in files.plugins.iter().filter_map(|plugin| plugin.plan.as_ref()) {
        lines.push(format!("\n{}", plan_text(plan)));
    }
    lines.join("\n")
}

fn state(plugin: &PluginFile) -> String {
    let state = match plugin {
        PluginFile { rejected: Some(_), .. } => "refused",
        PluginFile { plan: Some(plan), .. } if plan.held => "held back",
        PluginFile { plan: Some(_), .. } => "on its way",
        PluginFile { file, .. } if file.is_empty() => "stored build",
        PluginFile { digest, running_digest, .. } if digest == running_digest => "runs",
        _ => "read",
    };
    state.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_says_what_and_why() {
        let plan: Plan = serde_json::from_value(json!({
            "projection": "orders", "from_digest": "aaaaaaaa", "from_revision": 1, "to_digest": "bbbbbbbb", "to_revision": 2, "file": "",
            "action": "rebuild", "held": true, "reasons": ["the revision was 1 and is 2"],
            "tables": [{ "table": "orders", "action": "rebuild", "reasons": ["column \"a\" is new"] }, { "table": "items", "action": "keep", "reasons": [] }],
        }))
        .unwrap();
        let lines = [
            "plan for orders, r1 aaaaaa → r2 bbbbbb",
            "  rebuild: the next generation is filled from the start of the log beside the live one (held back until it is deployed)",
            "  because the revision was 1 and is 2",
            "  table orders: rebuild: column \"a\" is new",
            "  table items: keep",
        ];
        assert_eq!(plan_text(&plan), lines.join("\n"));
    }
}
