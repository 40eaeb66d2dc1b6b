//! Kafka and PostgreSQL as processes of our own: own ports, own folders, ended by process group.
//!
//! A test takes a [`Lease`], so that it can do to the service what it likes; the next test goes on with the same one.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::guardian::{self, Folder};
use crate::wait;

/// A port that was free a moment ago, and that nobody in this process is given twice.
///
/// It lies below the range that the kernel takes outgoing connections' ports from: a service that is down would
/// otherwise lose its port to one of its own clients, or a client would meet itself there.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(7919);
    loop {
        let port = 15_000 + ((first + NEXT.fetch_add(1, Ordering::Relaxed)) % 16_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A name that no other test uses, also in another process: for topics, databases and groups.
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{what}_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Runs `services/install` once in this process.
fn install() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("services/install");
        let output = Command::new("bash").arg(&script).output().expect("start bash");
        assert!(output.status.success(), "{} failed:\n{}", script.display(), String::from_utf8_lossy(&output.stderr));
    });
}

fn cache() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    set("LATERNA_TEST_CACHE").unwrap_or_else(|| {
        let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        base.expect("HOME is set").join("laterna-tests")
    })
}

fn tail(file: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// A process in a group of its own that ends with us.
#[derive(Debug)]
struct Process(Child);

impl Process {
    fn start(command: &mut Command, log: &Path) -> Self {
        let out = File::options().create(true).append(true).open(log).expect("open the log");
        command.stdin(Stdio::null()).stdout(out.try_clone().expect("clone")).stderr(out).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        guardian::watch(child.id());
        Self(child)
    }

    fn ended(&mut self) -> bool {
        self.0.try_wait().expect("wait").is_some()
    }

    fn end(&mut self, signal: &str) {
        if !self.ended() {
            guardian::signal(self.0.id(), signal);
            self.0.wait().expect("wait");
        }
        guardian::gone(self.0.id());
    }
}

/// A certificate for 127.0.0.1 that signs itself, so that it is its own authority; in PEM.
#[derive(Debug)]
pub struct Certificate(Folder);

impl Certificate {
    /// A new one.
    ///
    /// # Panics
    /// The program `openssl` is missing or fails.
    pub fn new() -> Self {
        install();
        let folder = Folder::new("certificate");
        let output = Command::new("openssl")
            .current_dir(folder.path())
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "certificate.pem"])
            .output()
            .expect("start openssl");
        assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
        Self(folder)
    }

    /// The file that clients trust.
    pub fn authority(&self) -> PathBuf {
        self.0.path().join("certificate.pem")
    }

    fn text(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.path().join(file)).expect("read")
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}

/// Who may come in at [`Kafka::secured_bootstrap`], by SCRAM-SHA-512.
pub const USER: (&str, &str) = ("laterna", "open-sesame");

/// An Apache Kafka broker (KRaft, one node).
#[derive(Debug)]
pub struct Kafka {
    folder: Folder,
    process: Process,
    port: u16,
    secured_port: Option<u16>,
}

impl Kafka {
    /// Starts a broker and waits until it answers.
    ///
    /// # Panics
    /// It does not start; with the end of its log.
    pub fn start() -> Self {
        Self::begin_with(None)
    }

    /// Starts a broker that has a second door, with TLS and SASL, and waits until it answers.
    ///
    /// # Panics
    /// It does not start; with the end of its log.
    pub fn start_secured(certificate: &Certificate) -> Self {
        Self::begin_with(Some(certificate))
    }

    fn begin_with(certificate: Option<&Certificate>) -> Self {
        install();
        let folder = Folder::new("kafka");
        let (port, controller) = (free_port(), free_port());
        let secured_port = certificate.map(|_| free_port());
        let second = secured_port.map(|port| format!(",SASL_SSL://127.0.0.1:{port}")).unwrap_or_default();
        let mut properties = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{second}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}{second}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL\n\
             inter.broker.listener.name=PLAINTEXT\nlog.dirs={}\nauto.create.topics.enable=false\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=4\ngroup.initial.rebalance.delay.ms=0\n\
             group.min.session.timeout.ms=1000\nlog.cleaner.backoff.ms=200\nlog.retention.check.interval.ms=1000\n",
            folder.path().join("data").display(),
        );
        if let Some(certificate) = certificate {
            let store = folder.path().join("keystore.pem");
            std::fs::write(&store, certificate.text("key.pem") + &certificate.text("certificate.pem")).expect("write");
            properties += &format!(
                "ssl.keystore.type=PEM\nssl.keystore.location={}\nsasl.enabled.mechanisms=SCRAM-SHA-512\n\
                 listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
                 org.apache.kafka.common.security.scram.ScramLoginModule required;\n",
                store.display(),
            );
        }
        std::fs::write(folder.path().join("server.properties"), properties).expect("write");
        let id = "bGF0ZXJuYS10ZXN0cy0tLQ";
        let user = format!("SCRAM-SHA-512=[name={},password={}]", USER.0, USER.1);
        let format = Self::java(&folder)
            .args(["kafka.tools.StorageTool", "format", "-t", id, "-c", "server.properties", "--add-scram", &user])
            .output();
        let format = format.expect("start java");
        assert!(format.status.success(), "format: {}", String::from_utf8_lossy(&format.stderr));
        let process = Self::spawn(&folder);
        let mut broker = Self { folder, process, port, secured_port };
        broker.wait_ready();
        broker
    }

    fn java(folder: &Folder) -> Command {
        let mut java = Command::new("java");
        java.current_dir(folder.path()).args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]).arg(cache().join("kafka-4.1.0").join("*"));
        java
    }

    fn spawn(folder: &Folder) -> Process {
        Process::start(Self::java(folder).args(["kafka.Kafka", "server.properties"]), &folder.path().join("log"))
    }

    fn wait_ready(&mut self) {
        let log = self.folder.path().join("log");
        let servers = format!("127.0.0.1:{}", self.port);
        wait::until("Kafka to answer", Duration::from_secs(120), || {
            assert!(!self.process.ended(), "Kafka ended:\n{}", tail(&log));
            // Librdkafka would keep asking a broker that is not there, in the background, and log each try.
            std::net::TcpStream::connect(&servers).map_err(|error| error.to_string())?;
            let client: BaseConsumer =
                ClientConfig::new().set("bootstrap.servers", &servers).create().map_err(|error| error.to_string())?;
            let metadata = client.fetch_metadata(None, Duration::from_secs(5)).map_err(|error| error.to_string())?;
            if metadata.brokers().is_empty() { Err("no broker yet".to_owned()) } else { Ok(()) }
        });
    }

    /// `HOST:PORT` of the broker itself.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `HOST:PORT` of its door with TLS and SASL.
    ///
    /// # Panics
    /// It was not started with one.
    pub fn secured_bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.secured_port.expect("started with a certificate"))
    }

    /// Its own port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.end("KILL");
    }

    /// Starts it again on the same folder and port, after [`Kafka::kill`]; waits until it answers.
    pub fn restart(&mut self) {
        self.process = Self::spawn(&self.folder);
        self.wait_ready();
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.process.end("KILL");
    }
}

/// A PostgreSQL cluster.
#[derive(Debug)]
pub struct Postgres {
    folder: Folder,
    process: Process,
    port: u16,
}

/// Who runs PostgreSQL's programs: they refuse to be root.
fn postgres_user(command: &mut Command) -> &mut Command {
    if let Some((uid, gid)) = postgres_ids() {
        command.uid(uid).gid(gid);
    }
    command
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("/proc")) == 0
}

fn postgres_ids() -> Option<(u32, u32)> {
    if !is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let line = users
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .expect("a user `postgres`, as root cannot run PostgreSQL");
    let fields: Vec<&str> = line.split(':').collect();
    Some((fields[2].parse().expect("uid"), fields[3].parse().expect("gid")))
}

fn postgres_programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("LATERNA_TEST_POSTGRES_BIN") {
        return folder.into();
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("postgres").exists() && folder.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().map(|(_, folder)| folder).unwrap_or_else(|| {
        let output = Command::new("pg_config").arg("--bindir").output().expect("PostgreSQL's programs");
        String::from_utf8_lossy(&output.stdout).trim().into()
    })
}

impl Postgres {
    /// Starts a cluster and waits until it answers.
    ///
    /// # Panics
    /// It does not start; with the end of its log.
    pub fn start() -> Self {
        Self::begin_with(None)
    }

    /// Starts a cluster that speaks TLS to those who ask for it, and waits until it answers.
    ///
    /// # Panics
    /// It does not start; with the end of its log.
    pub fn start_secured(certificate: &Certificate) -> Self {
        Self::begin_with(Some(certificate))
    }

    fn begin_with(certificate: Option<&Certificate>) -> Self {
        install();
        let folder = Folder::new("postgres");
        if let Some((uid, gid)) = postgres_ids() {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).expect("chown");
        }
        let port = free_port();
        let data = folder.path().join("data");
        let mut initdb = Command::new(postgres_programs().join("initdb"));
        initdb.current_dir(folder.path()).arg("-D").arg(&data).args([
            "-A",
            "trust",
            "-U",
            "postgres",
            "-N",
            "-E",
            "UTF8",
            "--locale=C",
        ]);
        let output = postgres_user(&mut initdb).output().expect("start initdb");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        if let Some(certificate) = certificate {
            let owned_by_it = |file: &str, text: String| {
                let path = data.join(file);
                std::fs::write(&path, text).expect("write");
                std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
                if let Some((uid, gid)) = postgres_ids() {
                    std::os::unix::fs::chown(&path, Some(uid), Some(gid)).expect("chown");
                }
            };
            owned_by_it("server.key", certificate.text("key.pem"));
            owned_by_it("server.crt", certificate.text("certificate.pem"));
            owned_by_it("postgresql.auto.conf", "ssl = on\n".to_owned());
        }
        let process = Self::spawn(&folder, port);
        let mut cluster = Self { folder, process, port };
        cluster.wait_ready();
        cluster
    }

    fn spawn(folder: &Folder, port: u16) -> Process {
        let mut postgres = Command::new(postgres_programs().join("postgres"));
        postgres.current_dir(folder.path()).arg("-D").arg(folder.path().join("data")).args([
            "-p",
            &port.to_string(),
            "-k",
        ]);
        postgres.arg(folder.path()).args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"]);
        Process::start(postgres_user(&mut postgres), &folder.path().join("log"))
    }

    fn wait_ready(&mut self) {
        let log = self.folder.path().join("log");
        let is_ready = postgres_programs().join("pg_isready");
        wait::until("PostgreSQL to answer", Duration::from_secs(120), || {
            assert!(!self.process.ended(), "PostgreSQL ended:\n{}", tail(&log));
            let asked = Command::new(&is_ready).args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]).status();
            if asked.expect("start pg_isready").success() { Ok(()) } else { Err(tail(&log)) }
        });
    }

    /// Its own port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its first process; the others are children of it.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// The address of one of its databases.
    pub fn url(&self, database: &str) -> String {
        url(self.port, database)
    }

    /// `pg_ctl restart -m immediate`: no shutdown checkpoint, every connection cut, recovery from the write-ahead log.
    pub fn restart_immediate(&mut self) {
        self.process.end("QUIT");
        self.process = Self::spawn(&self.folder, self.port);
        self.wait_ready();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.process.end("QUIT");
    }
}

/// The address of a database behind a port on the loopback.
pub fn url(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

/// A new, empty database with a name of its own in the cluster at `port`.
///
/// # Panics
/// The cluster refuses.
pub async fn create_database(port: u16, what: &str) -> String {
    let name = unique(what);
    let mut admin = PgConnection::connect(&url(port, "postgres")).await.expect("connect to PostgreSQL");
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut admin).await.expect("create a database");
    admin.close().await.expect("close");
    name
}

/// A service that a test has for itself, and that the next test gets afterwards: starting one takes seconds.
///
/// Plugins name their topics, so two tests at the same time need two brokers. At most as many run as tests do.
#[derive(Debug)]
pub struct Lease<T: Pooled>(Option<T>);

/// A kind of service that tests hand on to each other.
pub trait Pooled: Sized + Send + 'static {
    /// Those that nobody uses now.
    fn pool() -> &'static Mutex<Vec<Self>>;
    /// A new one.
    fn begin() -> Self;
    /// Removes what the last test left; false where it can't be used again.
    fn clean(&mut self) -> bool;
}

impl Pooled for Kafka {
    fn pool() -> &'static Mutex<Vec<Self>> {
        static POOL: Mutex<Vec<Kafka>> = Mutex::new(Vec::new());
        &POOL
    }

    fn begin() -> Self {
        Self::start()
    }

    fn clean(&mut self) -> bool {
        !self.process.ended() && crate::kafka_log::delete_topics(&self.bootstrap()).is_ok()
    }
}

impl Pooled for Postgres {
    fn pool() -> &'static Mutex<Vec<Self>> {
        static POOL: Mutex<Vec<Postgres>> = Mutex::new(Vec::new());
        &POOL
    }

    fn begin() -> Self {
        Self::start()
    }

    fn clean(&mut self) -> bool {
        // Each test has a database of its own.
        !self.process.ended()
    }
}

impl<T: Pooled> Lease<T> {
    /// One that nobody uses, or a new one.
    pub fn take() -> Self {
        let free = T::pool().lock().expect("lock").pop();
        Self(Some(free.unwrap_or_else(T::begin)))
    }
}

impl<T: Pooled> std::ops::Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("held until dropped")
    }
}

impl<T: Pooled> std::ops::DerefMut for Lease<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("held until dropped")
    }
}

impl<T: Pooled> Drop for Lease<T> {
    fn drop(&mut self) {
        let Some(mut service) = self.0.take() else { return };
        if !std::thread::panicking() && service.clean() {
            T::pool().lock().expect("lock").push(service);
        }
    }
}
