//! What plugins are built with: one table for `doctor`, which tells what is here, and for `build`, which names what is missing.

/// The languages of plugin.toml.
pub(in crate::cli) const LANGUAGES: [&str; 9] =
    ["rust", "typescript", "javascript", "python", "go", "tinygo", "c", "cpp", "zig"];

/// A program that building needs.
pub(in crate::cli) struct Tool {
    pub(in crate::cli) program: &'static str,
    /// How it says its version.
    pub(in crate::cli) ask: &'static [&'static str],
    /// The languages that need it.
    pub(in crate::cli) languages: &'static [&'static str],
    /// What it is for.
    pub(in crate::cli) purpose: &'static str,
    /// The one line that mends its absence.
    pub(in crate::cli) mend: &'static str,
}

/// In the order in which `doctor` tells them.
pub(in crate::cli) const TOOLS: &[Tool] = &[
    Tool {
        program: "cargo",
        ask: &["--version"],
        languages: &["rust"],
        purpose: "plugins in Rust",
        mend: "curl -sSf https://sh.rustup.rs | sh",
    },
    Tool {
        program: "node",
        ask: &["--version"],
        languages: &["javascript", "typescript"],
        purpose: "plugins in JavaScript and TypeScript",
        mend: "install Node.js 22 or newer: https://nodejs.org",
    },
    Tool {
        program: "npm",
        ask: &["--version"],
        languages: &["javascript", "typescript"],
        purpose: "the packages of plugins in JavaScript and TypeScript",
        mend: "install Node.js 22 or newer: https://nodejs.org",
    },
    Tool {
        program: "python3",
        ask: &["--version"],
        languages: &["python"],
        purpose: "plugins in Python",
        mend: "install Python 3.10 or newer: https://python.org",
    },
    Tool {
        program: "componentize-py",
        ask: &["--version"],
        languages: &["python"],
        purpose: "makes a component of a plugin in Python",
        mend: "pip install componentize-py",
    },
    Tool {
        program: "go",
        ask: &["version"],
        languages: &["go", "tinygo"],
        purpose: "plugins in Go",
        mend: "install Go 1.25 or newer: https://go.dev/dl",
    },
    Tool {
        program: "tinygo",
        ask: &["version"],
        languages: &["tinygo"],
        purpose: "plugins in Go, smaller and quicker than Go's own",
        mend: "install TinyGo: https://tinygo.org/getting-started/install",
    },
    Tool {
        program: "clang",
        ask: &["--version"],
        languages: &["c", "cpp"],
        purpose: "plugins in C and C++",
        mend: "apt-get install clang lld wasi-libc libclang-rt-dev-wasm32 (or the WASI SDK: https://github.com/WebAssembly/wasi-sdk)",
    },
    Tool {
        program: "zig",
        ask: &["version"],
        languages: &["zig", "c", "cpp"],
        purpose: "plugins in Zig, and a compiler for those in C and C++",
        mend: "pip install ziglang (then it is `python3 -m ziglang`), or https://ziglang.org/download",
    },
];

/// Words of a compiler that say what is missing, and what mends it.
const SIGNS: &[(&str, &str)] = &[
    ("target may not be installed", "rustup target add wasm32-unknown-unknown"),
    ("can't find crate for `core`", "rustup target add wasm32-unknown-unknown"),
    ("No module named ziglang", "pip install ziglang"),
    ("No module named 'ziglang'", "pip install ziglang"),
    ("No module named componentize_py", "pip install componentize-py"),
    ("No module named 'componentize_py'", "pip install componentize-py"),
    (
        "ModuleNotFoundError: No module named",
        "put the module beside plugin.py; only what is written in Python itself runs in the sandbox",
    ),
    (
        "Could not resolve \"node:",
        "leave it out: the sandbox has no files, network or processes; put what the projection needs into the event",
    ),
    ("Cannot find package", "npm install"),
    ("Cannot find module", "npm install"),
    ("could not determine executable to run", "npm install"),
    ("missing go.sum entry", "go mod tidy"),
    ("no required module provides package", "go mod tidy"),
    ("'wasi/api.h' file not found", "apt-get install wasi-libc"),
    ("unable to find library -lc", "apt-get install wasi-libc"),
    ("libclang_rt.builtins", "apt-get install libclang-rt-dev-wasm32"),
    ("invalid linker name in", "apt-get install lld"),
    ("unable to execute command: Executable \"wasm-ld", "apt-get install lld"),
];

/// The name under which a program stands in the table: `clang-19` and the like are known by what stands before the number.
pub(in crate::cli) fn stem(program: &str) -> &str {
    let name = program.rsplit('/').next().unwrap_or(program);
    if TOOLS.iter().any(|tool| tool.program == name) {
        return name;
    }
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').trim_end_matches('-');
    if stem == "npx" {
        "npm"
    } else if stem == "python" {
        "python3"
    } else {
        stem
    }
}

/// What to say where a command's program is not there.
pub(in crate::cli) fn absent(program: &str, language: &str) -> String {
    if program.contains("node_modules/") {
        return format!("{program} is not there: the project's packages are not installed\nto mend it: npm install");
    }
    let known = TOOLS.iter().find(|tool| tool.program == stem(program));
    match known {
        Some(tool) => {
            format!("{program} is not installed, or not on PATH: {}\nto mend it: {}", tool.purpose, tool.mend)
        }
        None => {
            format!(
                "{program} is not installed, or not on PATH; plugin.toml says that plugins in {language} are built with it"
            )
        }
    }
}

/// The line that mends what a compiler complains about, where it is known.
pub(in crate::cli) fn mend(output: &str) -> Option<&'static str> {
    SIGNS.iter().find(|(sign, _)| output.contains(sign)).map(|(_, mend)| *mend)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_what_mends_it() {
        assert!(absent("tinygo", "tinygo").contains("to mend it: install TinyGo"));
        assert!(absent("clang-19", "c").contains("to mend it: apt-get install clang"));
        assert!(absent("node_modules/.bin/jco", "javascript").ends_with("to mend it: npm install"));
        assert!(absent("fpc", "go").contains("plugin.toml says"));
        let cargo = "error[E0463]: can't find crate for `core`\n  = note: the `wasm32-unknown-unknown` target may not be installed";
        assert_eq!(mend(cargo), Some("rustup target add wasm32-unknown-unknown"));
        assert!(mend("ERROR: Could not resolve \"node:fs\"").is_some_and(|mend| mend.contains("into the event")));
        assert!(
            mend("ModuleNotFoundError: No module named 'numpy'").is_some_and(|mend| mend.contains("in the sandbox"))
        );
        assert_eq!(mend("No module named 'componentize_py'"), Some("pip install componentize-py"));
        assert_eq!(mend("error: expected `;`"), None);
    }

    #[test]
    fn every_language_has_a_tool() {
        for language in LANGUAGES {
            assert!(TOOLS.iter().any(|tool| tool.languages.contains(&language)), "{language}");
        }
    }
}
