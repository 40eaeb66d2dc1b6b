//! What a file is before anything of it runs: a component of the contract, a core module that we wrap, or neither.
//!
//! Reads names only, with a parser that is made for hostile input. Every refusal names what was found and what to do.
//! A core module needs no more than the contract's functions: the types that its toolchain did not embed are embedded here.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use wasmparser::{ComponentExternName, ComponentTypeRef, KnownCustom, Parser, Payload};

use super::PluginError;
use super::logs::for_people;

/// The largest file that is looked at.
pub const WASM_BYTES_MAX: usize = 64 << 20;
/// The versions of the contract (`laterna:projection`) that this engine runs.
pub const CONTRACT_VERSIONS: &[&str] = &["0.1.0"];

/// Our preview 1 adapter: `adapter.wat`, assembled.
const ADAPTER: &[u8] = include_bytes!("adapter.wasm");
const CONTRACT: &str = "laterna:projection/";
/// What is embedded in a core module that brings no types: the newest of `CONTRACT_VERSIONS`.
const CONTRACT_TEXT: &str = include_str!("../../../wit/projection.wit");
/// What such a module exports, and what it is told where one is missing.
const CORE_EXPORTS: [(&str, &str); 4] = [
    ("describe", "the SDK exports it with the projection; in C, C++ and Zig, name the SDK's source file in the build"),
    ("apply", "the SDK exports it with the projection; in C, C++ and Zig, name the SDK's source file in the build"),
    ("cabi_realloc", "the SDK exports it; by hand, it is `(old pointer, old size, alignment, new size) -> pointer`"),
    ("memory", "every linker for WebAssembly exports it unless told otherwise"),
];
const BUILD_HINT: &str = "build it against wit/projection.wit (docs: wit/README.md)";

/// What the sandbox has, by the part of the name before the version. WASI is there for runtimes that cannot do without, and is empty.
const PROVIDED: &[&str] = &[
    "laterna:projection/types",
    "laterna:projection/log",
    "laterna:adapter/stdio",
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

/// A file that is worth compiling.
#[derive(Clone, Debug)]
pub(super) struct Binary {
    /// The file.
    pub(super) file: Arc<[u8]>,
    /// The component: the file itself, or the core module wrapped.
    pub(super) component: Arc<[u8]>,
    /// SHA-256 of the file, in hexadecimal.
    pub(super) digest: String,
    /// Whether the file was a core module.
    pub(super) wrapped: bool,
    /// What it imports, by full name.
    pub(super) imports: Vec<String>,
    /// The version of the contract that it was built for.
    pub(super) contract_version: String,
    /// The language that the toolchain noted in the file, where it did.
    pub(super) language: Option<String>,
}

/// Looks at a file and wraps it where need be.
///
/// # Errors
/// `too_large`, `not_wasm`, `precompiled`, `not_a_projection`, `contract_version`, `missing_import`, `invalid_wasm`.
pub(super) fn read(bytes: &Arc<[u8]>) -> Result<Binary, PluginError> {
    if bytes.len() > WASM_BYTES_MAX {
        return Err(PluginError::fatal(
            "too_large",
            format!("the file has {} bytes; at most {WASM_BYTES_MAX} are compiled: strip debug sections", bytes.len()),
        ));
    }
    let wrapped = match kind(bytes)? {
        Kind::Component => false,
        Kind::Core => true,
    };
    let component = if wrapped { Arc::from(wrap(bytes)?) } else { Arc::clone(bytes) };
    let outline = outline(&component)?;
    let contract_version = contract_version(&outline)?;
    missing_imports(&outline.imports)?;
    Ok(Binary {
        file: Arc::clone(bytes),
        digest: digest(bytes),
        wrapped,
        language: outline.language.or_else(|| self::outline(bytes).ok().and_then(|core| core.language)),
        imports: outline.imports,
        contract_version,
        component,
    })
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        // Writing to a String cannot fail.
        write!(out, "{byte:02x}").ok();
        out
    })
}

enum Kind {
    Component,
    Core,
}

fn kind(bytes: &[u8]) -> Result<Kind, PluginError> {
    let what = match bytes {
        [] => "the file is empty",
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => return Ok(Kind::Core),
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => return Ok(Kind::Component),
        [0, b'a', b's', b'm', ..] => "the file is WebAssembly of an unknown version",
        [0x7f, b'E', b'L', b'F', ..] => {
            return Err(PluginError::fatal(
                "precompiled",
                "the file is an ELF file: native code, or a plugin compiled ahead (.cwasm), which is never run from \
                 the plugins folder; put the .wasm file there, the engine compiles it"
                    .to_owned(),
            ));
        }
        [0x1f, 0x8b, ..] => "the file is compressed (gzip); unpack it, the engine never does",
        [b'P', b'K', 3, 4, ..] => "the file is a zip archive; unpack it, the engine never does",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "the file is compressed (zstd); unpack it, the engine never does",
        [b'B', b'C', 0xc0, 0xde, ..] => "the file is LLVM bitcode; link it into a .wasm file",
        _ if bytes.iter().take(4096).all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) => {
            "the file is text; a binary WebAssembly file is wanted (assemble .wat with `wasm-tools parse`)"
        }
        _ => "the file is not WebAssembly",
    };
    Err(PluginError::fatal("not_wasm", format!("{what}; a .wasm file begins with the bytes 00 61 73 6d")))
}

/// Names that stand in a component or module.
#[derive(Default)]
struct Outline {
    imports: Vec<String>,
    exports: Vec<String>,
    language: Option<String>,
    has_world: bool,
}

fn outline(bytes: &[u8]) -> Result<Outline, PluginError> {
    let mut outline = Outline::default();
    // Nested modules and components are passed over: only what stands at the outermost level is asked of the host.
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| invalid(&error))?;
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import.map_err(|error| invalid(&error))?;
                    // Types that the world uses are imports too, but bring nothing in.
                    if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                        outline.imports.push(name(&import.name));
                    }
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    outline.exports.push(name(&export.map_err(|error| invalid(&error))?.name));
                }
            }
            Payload::ExportSection(section) if depth == 0 => {
                for export in section {
                    outline.exports.push(export.map_err(|error| invalid(&error))?.name.to_owned());
                }
            }
            Payload::ImportSection(section) if depth == 0 => {
                for import in section.into_imports() {
                    let import = import.map_err(|error| invalid(&error))?;
                    outline.imports.push(format!("{}#{}", import.module, import.name));
                }
            }
            Payload::CustomSection(section) => {
                outline.has_world |= section.name().starts_with("component-type");
                if let (None, KnownCustom::Producers(producers)) = (&outline.language, section.as_known()) {
                    outline.language = language(producers);
                }
            }
            _ => {}
        }
    }
    Ok(outline)
}

fn name(name: &ComponentExternName<'_>) -> String {
    name.name.to_owned()
}

fn language(producers: wasmparser::ProducersSectionReader<'_>) -> Option<String> {
    for field in producers {
        let field = field.ok()?;
        if field.name == "language" {
            let value = field.values.into_iter().next()?.ok()?;
            return Some(for_people(&format!("{} {}", value.name, value.version), 60));
        }
    }
    None
}

fn contract_version(outline: &Outline) -> Result<String, PluginError> {
    let names = outline.imports.iter().chain(&outline.exports);
    let version = names.filter_map(|name| name.strip_prefix(CONTRACT)).find_map(|rest| rest.split_once('@'));
    let Some((_, version)) = version else {
        return Err(PluginError::fatal(
            "not_a_projection",
            format!(
                "it is a WebAssembly component, but not a projection: nothing in it is of laterna:projection (it \
                 exports {}); {BUILD_HINT}",
                list(&outline.exports)
            ),
        ));
    };
    known_version(version)?;
    let missing: Vec<_> =
        ["describe", "apply"].into_iter().filter(|name| !outline.exports.iter().any(|e| e == name)).collect();
    if !missing.is_empty() {
        return Err(PluginError::fatal(
            "not_a_projection",
            format!("it does not export {}; {BUILD_HINT}", missing.join(" and ")),
        ));
    }
    Ok(version.to_owned())
}

fn known_version(version: &str) -> Result<(), PluginError> {
    if CONTRACT_VERSIONS.contains(&version) {
        return Ok(());
    }
    Err(PluginError::fatal(
        "contract_version",
        format!(
            "it was built for version {} of laterna:projection, this engine runs version {}; build it against that \
             version's wit/projection.wit, or run the engine that goes with it",
            for_people(version, 40),
            CONTRACT_VERSIONS.join(", ")
        ),
    ))
}

fn missing_imports(imports: &[String]) -> Result<(), PluginError> {
    let provided = |import: &String| {
        let (interface, version) = import.split_once('@').unwrap_or((import, ""));
        let wasi_is_02 = !interface.starts_with("wasi:") || version.starts_with("0.2.");
        wasi_is_02 && PROVIDED.iter().any(|p| if p.ends_with('/') { interface.starts_with(p) } else { interface == *p })
    };
    let missing: Vec<_> = imports.iter().filter(|import| !provided(import)).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut hint = "plugins get events and a log, nothing else of the world";
    if missing.iter().any(|m| m.starts_with("wasi:http")) {
        hint = "plugins cannot use the network: put what they need into the event (for JavaScript: build with \
                `-d http -d fetch-event`)";
    } else if missing.iter().any(|m| m.starts_with("wasi:")) {
        hint = "only WASI 0.2 is there, and of it no more than wasi:cli, clocks, filesystem, io, random and sockets, all empty";
    }
    Err(PluginError::fatal(
        "missing_import",
        format!("it imports {}, which the sandbox does not have; {hint}", list(&missing)),
    ))
}

fn wrap(core: &[u8]) -> Result<Vec<u8>, PluginError> {
    let outline = outline(core)?;
    let core = if outline.has_world { Cow::Borrowed(core) } else { Cow::Owned(with_contract(core, &outline)?) };
    // What the encoder resolves: interfaces of worlds, its own intrinsics, and preview 1 by the adapter.
    let known = |module: &str| {
        module.contains(':')
            || module.starts_with('$')
            || module.starts_with('[')
            || module == "wasi_snapshot_preview1"
            || module.starts_with("cm32p2")
    };
    let foreign: Vec<_> =
        outline.imports.iter().filter(|import| !known(import.split('#').next().unwrap_or_default())).cloned().collect();
    if !foreign.is_empty() {
        return Err(PluginError::fatal(
            "missing_import",
            format!(
                "the core module imports {}, which nothing provides: link the library that defines it, or drop what \
                 uses it",
                list(&foreign)
            ),
        ));
    }
    let encode = || {
        wit_component::ComponentEncoder::default()
            .validate(true)
            .module(&core)?
            .adapter("wasi_snapshot_preview1", ADAPTER)?
            .encode()
    };
    encode().map_err(|error| {
        let text = for_people(&format!("{error:#}"), 1000);
        PluginError::fatal("invalid_wasm", format!("the core module cannot be made a component: {text}; {BUILD_HINT}"))
    })
}

/// The core module with the contract's types in it, as `wasm-tools component embed` would leave it.
fn with_contract(core: &[u8], outline: &Outline) -> Result<Vec<u8>, PluginError> {
    let missing: Vec<_> =
        CORE_EXPORTS.iter().filter(|(name, _)| !outline.exports.iter().any(|export| export == name)).collect();
    if let Some((_, hint)) = missing.first() {
        let names: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
        return Err(PluginError::fatal(
            "not_a_projection",
            format!(
                "it is a core module that does not export {} (it exports {}); {hint}; {BUILD_HINT}",
                names.join(", "),
                list(&outline.exports)
            ),
        ));
    }
    let versions = outline.imports.iter().filter_map(|import| import.strip_prefix(CONTRACT)?.split_once('@'));
    for (_, version) in versions {
        known_version(version.split('#').next().unwrap_or_default())?;
    }
    let broken = |error: &dyn Display| {
        let text = for_people(&format!("{error:#}"), 1000);
        PluginError::fatal("invalid_wasm", format!("the contract cannot be embedded in the core module: {text}"))
    };
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("projection.wit", CONTRACT_TEXT).map_err(|error| broken(&error))?;
    let world = resolve.select_world(&[package], Some("projection")).map_err(|error| broken(&error))?;
    let mut core = core.to_vec();
    wit_component::embed_component_metadata(&mut core, &resolve, world, wit_component::StringEncoding::UTF8)
        .map_err(|error| broken(&error))?;
    Ok(core)
}

fn invalid(error: &wasmparser::BinaryReaderError) -> PluginError {
    PluginError::fatal(
        "invalid_wasm",
        format!("the file is broken WebAssembly: {}", for_people(&error.to_string(), 500)),
    )
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 20;
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let mut shown: Vec<_> = names.iter().take(SHOWN).map(|name| for_people(name, 120)).collect();
    if names.len() > SHOWN {
        shown.push(format!("and {} more", names.len() - SHOWN));
    }
    shown.join(", ")
}

/// SHA-256 of a file's bytes, 64 hexadecimal digits: the name of a build.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
