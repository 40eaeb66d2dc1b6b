//! Puts every file of the pages (`src/http/ui`, `src/http/docs`) into a table, so that a new file is served without being named anywhere.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?);
    let mut table = String::from("&[\n");
    for folder in ["ui", "docs"] {
        let root = Path::new("src/http").join(folder);
        println!("cargo:rerun-if-changed={}", root.display());
        let mut files = files_in(&root)?;
        files.sort();
        for file in files {
            let name = file.strip_prefix("src/http").map_err(io::Error::other)?;
            let path = fs::canonicalize(&file)?;
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
    fs::write(out.join("assets.rs"), table)
}

fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { files.extend(files_in(&path)?) } else { files.push(path) }
    }
    Ok(files)
}
