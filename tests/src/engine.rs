//! The engine as a user runs it: a binary, a configuration file, an address. A [`Home`] is the folder that a
//! user would keep; an [`Engine`] is one process on it, and several can share plugins and database.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::guardian::{self, Folder};
use crate::services::free_port;
use crate::wait::{self, PATIENCE};

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// The engine's binary: `LATERNA_BIN`, else the newer one of the workspace's builds.
///
/// # Panics
/// There is none.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("LATERNA_BIN") {
        return path.into();
    }
    let built = ["release", "debug"].map(|profile| workspace().join("target").join(profile).join("laterna"));
    let newest = built.into_iter().filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path))).max();
    newest.expect("no engine: run `cargo build -p laterna`, or set LATERNA_BIN").1
}

/// The engine's debug build, which alone has the points at which a test ends it: `LATERNA_DEBUG_BIN`, else the workspace's.
///
/// # Panics
/// There is none.
pub fn debug_binary() -> PathBuf {
    let path = std::env::var_os("LATERNA_DEBUG_BIN")
        .map_or_else(|| workspace().join("target").join("debug").join("laterna"), PathBuf::from);
    assert!(path.exists(), "no {}: run `cargo build -p laterna`, or set LATERNA_DEBUG_BIN", path.display());
    path
}

/// A guest of `tests/guests`, built by `tests/guests/build`.
///
/// # Panics
/// It is not there.
pub fn guest(name: &str) -> PathBuf {
    let folder =
        std::env::var_os("LATERNA_TEST_GUESTS").map_or_else(|| workspace().join("target/guests"), PathBuf::from);
    let path = folder.join(format!("{name}.wasm"));
    assert!(path.exists(), "no {}: run tests/guests/build", path.display());
    path
}

/// The bytes of a guest with `build` in a section of its own: another build of the same meaning.
///
/// # Panics
/// It is missing.
pub fn build_of(guest_name: &str, build: u32) -> Vec<u8> {
    let mut bytes = std::fs::read(guest(guest_name)).expect("read the guest");
    // A custom section: its kind, its size, the size of its name, its name, its content.
    bytes.extend([0, 1 + 5 + 4, 5]);
    bytes.extend(b"build");
    bytes.extend(build.to_be_bytes());
    bytes
}

/// Where events come from, in the configuration.
#[derive(Clone, Debug)]
pub enum From {
    /// `bootstrap_servers`
    Kafka(String),
    /// A folder of `TOPIC/PARTITION.jsonl`.
    Files(PathBuf),
}

/// A folder with plugins, and what all processes on it are configured with.
#[derive(Debug)]
pub struct Home {
    folder: Folder,
    from: From,
    database: String,
    extra: Vec<(&'static str, String)>,
}

impl Home {
    /// A new folder with these guests in `plugins/`.
    ///
    /// # Panics
    /// A guest is missing.
    pub fn new(from: From, database: &str, guests: &[&str]) -> Self {
        let folder = Folder::new("engine");
        std::fs::create_dir(folder.path().join("plugins")).expect("create");
        let home = Self { folder, from, database: database.to_owned(), extra: Vec::new() };
        guests.iter().for_each(|name| home.drop_in(name));
        home
    }

    /// The same, with a line in a section of the configuration.
    #[must_use]
    pub fn with(mut self, section: &'static str, line: impl Into<String>) -> Self {
        self.extra.push((section, line.into()));
        self
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Copies a guest into `plugins/`.
    ///
    /// # Panics
    /// It is missing.
    pub fn drop_in(&self, name: &str) {
        std::fs::copy(guest(name), self.path().join("plugins").join(format!("{name}.wasm"))).expect("copy the guest");
    }

    /// Copies a guest into `plugins/` under another file's name, at once, with `build` in a section of its own: another build of the same meaning.
    ///
    /// # Panics
    /// It is missing.
    pub fn drop_in_build(&self, guest_name: &str, file: &str, build: u32) {
        let bytes = build_of(guest_name, build);
        let plugins = self.path().join("plugins");
        std::fs::write(plugins.join(".part"), bytes).expect("write the build");
        std::fs::rename(plugins.join(".part"), plugins.join(file)).expect("rename the build");
    }

    /// Takes a file out of `plugins/`.
    ///
    /// # Panics
    /// It is not there.
    pub fn take_out(&self, file: &str) {
        std::fs::remove_file(self.path().join("plugins").join(file)).expect("remove the plugin");
    }

    fn config(&self, listen: u16) -> String {
        let mut sections: Vec<(&str, Vec<String>)> = vec![
            ("http", vec![format!("listen = \"127.0.0.1:{listen}\"")]),
            ("database", vec![format!("url = \"{}\"", self.database)]),
        ];
        let source = match &self.from {
            From::Kafka(servers) => {
                sections.push(("kafka", vec![format!("bootstrap_servers = \"{servers}\"")]));
                // A killed member holds its partitions until its session ends; new partitions are found by a refresh.
                let quick = [
                    ("session.timeout.ms", 2000),
                    ("heartbeat.interval.ms", 300),
                    ("topic.metadata.refresh.interval.ms", 1000),
                ];
                sections
                    .push(("kafka.properties", quick.map(|(key, value)| format!("\"{key}\" = \"{value}\"")).to_vec()));
                "kafka"
            }
            From::Files(folder) => {
                sections.push(("file", vec![format!("dir = \"{}\"", folder.display())]));
                "file"
            }
        };
        for (section, line) in &self.extra {
            match sections.iter_mut().find(|(name, _)| name == section) {
                Some((_, lines)) => lines.push(line.clone()),
                None => sections.push((section, vec![line.clone()])),
            }
        }
        let mut text = format!("plugins_dir = \"plugins\"\nsource = \"{source}\"\n");
        for (section, lines) in sections {
            write!(text, "[{section}]\n{}\n", lines.join("\n")).expect("write to a string");
        }
        text
    }

    /// Starts a process; does not wait for it.
    ///
    /// # Panics
    /// The binary is missing.
    pub fn start(&self) -> Engine {
        self.start_with(&[])
    }

    /// Starts a process with more in its environment.
    ///
    /// # Panics
    /// The binary is missing.
    pub fn start_with(&self, environment: &[(&str, &str)]) -> Engine {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let port = free_port();
        let config = self.path().join(format!("laterna-{number}.toml"));
        std::fs::write(&config, self.config(port)).expect("write the configuration");
        let log = self.path().join(format!("engine-{number}.log"));
        let out = File::create(&log).expect("create the log");
        let crashes = environment.iter().any(|(name, _)| *name == "LATERNA_CRASH_POINT");
        let binary = if crashes { debug_binary() } else { binary() };
        let mut command = Command::new(&binary);
        command.current_dir(self.path()).args(["run", "-c"]).arg(&config).process_group(0);
        for name in ["DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "KAFKA_BROKERS", "LATERNA_CONFIG"] {
            command.env_remove(name);
        }
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"OTEL_") {
                command.env_remove(name);
            }
        }
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(out.try_clone().expect("clone")).stderr(out);
        let child = command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", binary.display()));
        guardian::watch(child.id());
        Engine { child, port, log, ended: None }
    }
}

/// One process of the engine. Dropping it kills it.
#[derive(Debug)]
pub struct Engine {
    child: Child,
    port: u16,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Engine {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it is, for commands.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("wait");
            if self.ended.is_some() {
                guardian::gone(self.child.id());
            }
        }
        self.ended
    }

    /// Waits for its end.
    pub fn wait_end(&mut self, patience: Duration) -> ExitStatus {
        wait::until("the engine to end", patience, || self.ended().ok_or_else(|| "it runs".to_owned()))
    }

    /// Sends a signal: `STOP`, `CONT`, `TERM`.
    pub fn signal(&self, name: &str) {
        guardian::signal(self.child.id(), name);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            self.signal("KILL");
            self.wait_end(PATIENCE);
        }
    }

    /// SIGTERM; gives how it ended and how long that took.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let begin = Instant::now();
        self.signal("TERM");
        let status = self.wait_end(Duration::from_secs(60));
        (status, begin.elapsed())
    }

    /// `GET` of a path: the status code and the body.
    ///
    /// # Errors
    /// What the connection said.
    pub fn get(&self, path: &str) -> Result<(u16, String), String> {
        self.exchange("GET", path, None)
    }

    /// A request with a JSON body, or without one: the status code and the answer, which is JSON or null.
    ///
    /// # Errors
    /// What the connection said.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value), String> {
        let body = body.map(|body| ("application/json", body.to_string().into_bytes()));
        let (code, answer) = self.exchange(method, path, body)?;
        Ok((code, serde_json::from_str(&answer).unwrap_or(Value::Null)))
    }

    /// A request that must be answered with success; gives the JSON of the answer.
    ///
    /// # Panics
    /// It is not.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (code, answer) = self.request(method, path, body).expect("an answer");
        assert!((200..300).contains(&code), "{method} {path}: {code} {answer}");
        answer
    }

    /// A request under an `Idempotency-Key`, with a body of any kind.
    ///
    /// # Errors
    /// What the connection said.
    pub fn request_under(
        &self,
        key: &str,
        method: &str,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<(u16, Value), String> {
        let (code, answer) = self.exchange_with(&format!("Idempotency-Key: {key}\r\n"), method, path, body)?;
        Ok((code, serde_json::from_str(&answer).unwrap_or(Value::Null)))
    }

    fn exchange(&self, method: &str, path: &str, body: Option<(&str, Vec<u8>)>) -> Result<(u16, String), String> {
        self.exchange_with("", method, path, body)
    }

    fn exchange_with(
        &self,
        headers: &str,
        method: &str,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<(u16, String), String> {
        let exchange = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            let mut request =
                format!("{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n{headers}", self.port);
            if let Some((kind, bytes)) = &body {
                write!(request, "Content-Type: {kind}\r\nContent-Length: {}\r\n", bytes.len()).ok();
            } else if method != "GET" {
                request.push_str("Content-Length: 0\r\n");
            }
            request.push_str("\r\n");
            stream.write_all(request.as_bytes())?;
            stream.write_all(body.as_ref().map_or(&[][..], |(_, bytes)| bytes))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = exchange().map_err(|error| error.to_string())?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no status code")?;
        Ok((code, body.to_owned()))
    }

    /// One projection from `GET /api/v1/projections`.
    ///
    /// # Errors
    /// The engine does not answer, or has no such projection.
    pub fn projection(&self, name: &str) -> Result<Value, String> {
        let (code, body) = self.get("/api/v1/projections")?;
        let value: Value = serde_json::from_str(&body).map_err(|error| format!("{code}: {error}"))?;
        let list = value["projections"].as_array().ok_or_else(|| format!("{code}: {body}"))?;
        list.iter().find(|one| one["name"] == name).cloned().ok_or_else(|| format!("no projection {name} in {body}"))
    }

    /// Waits until a projection looks as `what` says.
    pub fn wait_projection(&mut self, name: &str, what: &str, accept: impl Fn(&Value) -> bool) -> Value {
        let what = format!("{name} to be {what}");
        wait::until(&what, PATIENCE, || {
            let ended = self.ended();
            assert!(ended.is_none(), "the engine ended ({ended:?}) while waiting for {what}:\n{}", self.tail());
            let status = self.projection(name)?;
            if accept(&status) { Ok(status) } else { Err(format!("{status}\n{}", self.tail())) }
        })
    }

    /// Waits until a projection is halted under a code.
    pub fn wait_halted(&mut self, name: &str, code: &str) -> Value {
        let status = self.wait_projection(name, "halted", |status| status["state"] == "halted");
        assert_eq!(status["halt"]["code"], code, "{status}");
        status
    }

    /// The sum of a metric's series, by the beginning of their names (`laterna_fenced_commits_total`); 0 without any.
    ///
    /// # Errors
    /// The engine does not answer.
    pub fn metric(&self, name: &str, label: &str) -> Result<f64, String> {
        let (_, body) = self.get("/metrics")?;
        let lines = body.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
        });
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Resident memory.
    pub fn rss_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024
    }

    /// The end of what it has printed.
    pub fn tail(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        format!("---- {}\n{}", self.log.display(), lines[lines.len().saturating_sub(30)..].join("\n"))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.tail());
        }
        if self.ended.is_none() {
            guardian::signal(self.child.id(), "KILL");
            self.child.wait().ok();
            guardian::gone(self.child.id());
        }
    }
}
