//! Puts files of the repository into tables of the binary, so that a new file is taken along without being named anywhere: the pages that the engine
//! serves (`src/http/ui`, `src/http/docs`), and the SDKs with their templates (`plugins/sdk`), from which `laterna new` makes projects.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What stands beside an SDK's sources and is not part of it: what its tools leave behind, and its own tests.
const NOT_OF_AN_SDK: [&str; 13] = [
    "target",
    "node_modules",
    "__pycache__",
    ".venv",
    ".git",
    ".zig-cache",
    "zig-out",
    "build",
    "test",
    "tests",
    "test.sh",
    "cargo-wasm",
    "package-lock.json",
];

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?);
    let pages = Path::new("src/http");
    table(&out.join("assets.rs"), pages, &[pages.join("ui"), pages.join("docs")], &|_| true)?;
    let sdks = Path::new("../plugins/sdk");
    table(&out.join("sdks.rs"), sdks, &[sdks.to_owned()], &is_of_an_sdk)
}

/// The golden tests of a template are part of it; those of the SDK itself are not.
fn is_of_an_sdk(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_template = |part: &std::path::Component<'_>| part.as_os_str().to_string_lossy().starts_with("template");
    // Under `../plugins/sdk/LANGUAGE`; that of another SDK which a link brings in is not this one's.
    let (own, foreign) = (path.components().nth(4), path.components().skip(5));
    let in_template = own.as_ref().is_some_and(is_template);
    if !in_template && foreign.into_iter().any(|part| is_template(&part)) {
        return false;
    }
    !NOT_OF_AN_SDK.contains(&&*name) || (in_template && name == "tests")
}

/// Writes the expression `&[(name, bytes), ..]` with all files in `folders`, named from `root` on.
fn table(to: &Path, root: &Path, folders: &[PathBuf], is_wanted: &dyn Fn(&Path) -> bool) -> io::Result<()> {
    let mut table = String::from("&[\n");
    for folder in folders {
        println!("cargo:rerun-if-changed={}", folder.display());
        let mut files = files_in(folder, is_wanted)?;
        files.sort();
        for file in files {
            let name = file.strip_prefix(root).map_err(io::Error::other)?;
            let path = fs::canonicalize(&file)?;
            println!("cargo:rerun-if-changed={}", path.display());
            writeln!(
                table,
                "    ({:?}, include_bytes!({:?})),",
                name.display().to_string(),
                path.display().to_string()
            )
            .map_err(io::Error::other)?;
        }
    }
    table.push(']');
    fs::write(to, table)
}

/// All files under a folder; links are followed, so that what an SDK takes from `wit/` is a part of it.
fn files_in(folder: &Path, is_wanted: &dyn Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !is_wanted(&path) {
            continue;
        }
        if path.is_dir() { files.extend(files_in(&path, is_wanted)?) } else { files.push(path) }
    }
    Ok(files)
}
