//! The thread that owns the consumer: polls, answers rebalances, looks at the cluster, fills the buffers.
//!
//! Invariants: nothing here waits for the runner or the database, except up to a second for room in the buffers; a partition
//! is read only under the tag that the runner's wish has; after a betrayal nothing more of the partition enters.
//!
//! Looks at the cluster (bounds of the logs, topic ids) are asked without blocking and answered through the same queue as
//! records. Each has a ticket, in rising order: what must be known *after* some moment waits for a ticket above the last
//! one that was given then.

mod looks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::super::buffer::Tag;
use super::super::{SourceError, SourceEvent};
use super::raw::{Client, Failure, Message, Place, Polled};
use super::verdict::{self, About, Meaning, Troubles};
use super::{Link, config_error, transient};
use crate::event::{Event, OFFSET_MAX, TopicPartition};

/// Records that are handed over under one lock, at most, and their bytes.
const RUN_EVENTS_MAX: usize = 1000;
const RUN_BYTES_MAX: usize = 1 << 20;
/// The longest poll; wishes and the end wake it.
const POLL_MAX: Duration = Duration::from_millis(100);
/// How long to wait for room before everything is unassigned, so that polling goes on.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long the cluster has to answer a look, and how often to look.
const LOOK_MAX: Duration = Duration::from_secs(5);
const OFFSETS_EVERY: Duration = Duration::from_secs(2);
const TOPICS_EVERY: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(250);
const MIRROR_EVERY: Duration = Duration::from_secs(3);
/// How long a partition may be behind its end without the fetcher moving.
const STUCK_AFTER: Duration = Duration::from_secs(30);
/// How often a topic must look like another one, or a log like shorter than what was read of it: a broker that lags
/// behind may say so once.
const RECREATED_LOOKS: u32 = 2;
const SHORTER_LOOKS: u32 = 3;
const REBUILD_BACKOFF_MAX: Duration = Duration::from_secs(30);

/// librdkafka's logs go to ours.
pub(super) struct Context;

impl ClientContext for Context {
    // Never asked for; the default would decode them.
    fn stats_raw(&self, _statistics: &[u8]) {}

    fn log(&self, level: RDKafkaLogLevel, fac: &str, text: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!(target: "librdkafka", "{fac} {text}");
            }
            // A broker away is told as a state, once; librdkafka says it at every attempt.
            _ => tracing::debug!(target: "librdkafka", "{fac} {text}"),
        }
    }
}

impl ConsumerContext for Context {}

/// Makes a client. Nothing is sent yet.
pub(super) fn connect(config: &ClientConfig) -> Result<Client<Context>, SourceError> {
    let consumer = BaseConsumer::from_config_and_context(config, Context).map_err(|error| config_error(&error))?;
    Client::new(consumer)
        .ok_or_else(|| super::fatal("bad_kafka_property", "the consumer has no group", "set the group"))
}

/// Why a session with one client ended.
enum Ended {
    Closed,
    /// The client is of no use any more.
    Broken(String),
}

/// Reads until the source is closed; makes new clients as they break.
pub(super) fn run(link: &Arc<Link>, config: &ClientConfig, first: Client<Context>) {
    let mut client = Some(first);
    let mut backoff = Duration::from_secs(1);
    let mut troubles = Troubles::default();
    while !link.closing() {
        let Some(current) = client.take().or_else(|| connect(config).ok()) else {
            link.shared.wait(backoff, |_| link.closing());
            continue;
        };
        let waker = current.waker();
        link.shared.set_waker(Some(Box::new(move || waker.wake())));
        let begun = Instant::now();
        let mut session = Session::new(link, std::mem::take(&mut troubles));
        let ended = session.run(&current);
        link.shared.set_waker(None);
        let Ended::Broken(reason) = ended else {
            session.mirror(&current);
            // Leaves the group, and may take its time when the broker is gone; `close` does not wait for ever.
            drop(current);
            return;
        };
        let all = session.parts.drain(..).filter(|part| part.announced).map(|part| part.partition).collect();
        link.shared.revoke(all);
        troubles = session.troubles;
        tracing::warn!(group = link.settings.group_id, reason, "the consumer is made anew");
        let remedy = "wait: a new one is made; look at the broker if it goes on";
        let news = troubles.raise(About::Consumer, transient("consumer_restarting", reason, remedy));
        news.into_iter().for_each(|event| link.shared.tell(event));
        // A client that hangs in its end must not hold up the next one.
        std::thread::spawn(move || drop(current));
        if begun.elapsed() > REBUILD_BACKOFF_MAX * 2 {
            backoff = Duration::from_secs(1);
        }
        link.shared.wait(backoff, |_| link.closing());
        backoff = (backoff * 2).min(REBUILD_BACKOFF_MAX);
    }
}

/// One partition that is ours.
struct Part {
    partition: TopicPartition,
    /// Told to the runner. Before that, it's looked at.
    announced: bool,
    /// What must be known is to be younger than this ticket.
    since: usize,
    /// The bounds of the log, and the ticket they came with.
    start: Option<(usize, i64)>,
    end: Option<(usize, i64)>,
    /// The topic's id when it was announced.
    topic_id: Option<String>,
    /// The tag under which it's being read.
    running: Option<Tag>,
    /// Read it anew from its position.
    redo: bool,
    /// The client says that the position is not in the log; to be judged with what is known after `since`.
    suspect: bool,
    /// Nothing more is read of it.
    betrayed: bool,
    recreated_looks: u32,
    shorter_looks: u32,
    /// Records on their way to the buffer.
    run: Vec<Event>,
    /// Where the fetcher stood, and since when.
    progress: (i64, i64),
    progress_at: Instant,
    fetched: i64,
    strikes: u32,
}

impl Part {
    fn new(partition: TopicPartition, since: usize) -> Self {
        Self {
            partition,
            announced: false,
            since,
            start: None,
            end: None,
            topic_id: None,
            running: None,
            redo: false,
            suspect: false,
            betrayed: false,
            recreated_looks: 0,
            shorter_looks: 0,
            run: Vec::new(),
            progress: (0, 0),
            progress_at: Instant::now(),
            fetched: 0,
            strikes: 0,
        }
    }

    /// The bounds, if both are younger than `since`.
    fn bounds(&self) -> Option<(i64, i64)> {
        let (start_ticket, start) = self.start?;
        let (end_ticket, end) = self.end?;
        (start_ticket > self.since && end_ticket > self.since).then_some((start, end.max(start)))
    }
}

/// The three things that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Topics,
    Starts,
    Ends,
}

const LOOKS: [Look; 3] = [Look::Topics, Look::Starts, Look::Ends];

/// A look that was asked and not yet answered.
struct Asked {
    ticket: usize,
    /// The positions when it was asked.
    positions: BTreeMap<TopicPartition, i64>,
}

/// The time with one client.
struct Session<'l> {
    link: &'l Arc<Link>,
    topics: Vec<Arc<str>>,
    /// What the group gave us.
    group: BTreeSet<TopicPartition>,
    parts: Vec<Part>,
    /// The part of the last record; the next one is most often of the same.
    last: usize,
    /// Parts with records on their way.
    touched: Vec<usize>,
    run_bytes: usize,
    wishes_version: u64,
    dirty: bool,
    stalled: bool,
    full_since: Option<Instant>,
    ticket: usize,
    asked: [Option<Asked>; 3],
    due: [Instant; 3],
    /// Which looks were not answered the last time.
    failing: [bool; 3],
    /// What the cluster says of the topics, and the ticket it came with.
    facts: BTreeMap<Arc<str>, (usize, Option<String>, i32)>,
    troubles: Troubles,
    /// What the client said last about a connection.
    heard: Option<String>,
    mirror_due: Instant,
    watch_due: Instant,
}

impl<'l> Session<'l> {
    fn new(link: &'l Arc<Link>, troubles: Troubles) -> Self {
        let now = Instant::now();
        Self {
            link,
            topics: link.settings.topics.iter().map(|topic| Arc::from(topic.as_str())).collect(),
            group: BTreeSet::new(),
            parts: Vec::new(),
            last: 0,
            touched: Vec::new(),
            run_bytes: 0,
            wishes_version: 0,
            dirty: false,
            stalled: false,
            full_since: None,
            ticket: 0,
            asked: [None, None, None],
            due: [now; 3],
            failing: [false; 3],
            facts: BTreeMap::new(),
            troubles,
            heard: None,
            mirror_due: now + MIRROR_EVERY,
            watch_due: now,
        }
    }

    fn run(&mut self, client: &Client<Context>) -> Ended {
        match self.try_run(client) {
            Ok(()) => Ended::Closed,
            Err(reason) => Ended::Broken(reason),
        }
    }

    /// Until the source is closed.
    ///
    /// # Errors
    /// The client is of no use any more, and why.
    fn try_run(&mut self, client: &Client<Context>) -> Result<(), String> {
        let topics: Vec<&str> = self.link.settings.topics.iter().map(String::as_str).collect();
        client.consumer().subscribe(&topics).map_err(|error| format!("can't subscribe: {error}"))?;
        while !self.link.closing() {
            self.reconcile(client)?;
            self.look(client);
            self.watch()?;
            if self.mirror_due <= Instant::now() {
                self.mirror(client);
            }
            if self.room() {
                self.drain(client)?;
            }
        }
        Ok(())
    }

    /// Whether to poll now. Where the buffers are full, waits a little for room, then gives up reading.
    fn room(&mut self) -> bool {
        let shared = &self.link.shared;
        let (full, has_room) = {
            let buffers = shared.lock();
            (buffers.full(), buffers.has_room())
        };
        if self.stalled {
            if has_room {
                self.stalled = false;
                self.dirty = true;
            }
            return !has_room;
        }
        if !full {
            self.full_since = None;
            return true;
        }
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= ROOM_WAIT_MAX {
            tracing::debug!(
                group = self.link.settings.group_id,
                "the buffers are full: reading stops until half is taken"
            );
            self.stalled = true;
            self.dirty = true;
            return false;
        }
        let version = self.wishes_version;
        shared
            .wait(POLL_MAX, |buffers| buffers.has_room() || buffers.wishes_version() != version || self.link.closing());
        false
    }

    /// Polls until nothing is left, or a run is full, and hands the run over.
    fn drain(&mut self, client: &Client<Context>) -> Result<(), String> {
        let mut limit = POLL_MAX;
        for _ in 0..RUN_EVENTS_MAX {
            match client.poll(limit) {
                None => break,
                Some(Polled::Message(message)) => self.message(&message),
                Some(other) => {
                    // What came before it goes first.
                    self.flush();
                    self.event(client, other)?;
                }
            }
            if self.run_bytes >= RUN_BYTES_MAX {
                break;
            }
            limit = Duration::ZERO;
        }
        self.flush();
        Ok(())
    }

    fn find(&self, topic: &[u8], partition: i32) -> Option<usize> {
        let is = |part: &Part| part.partition.partition == partition && part.partition.topic.as_bytes() == topic;
        if self.parts.get(self.last).is_some_and(is) {
            return Some(self.last);
        }
        self.parts.iter().position(is)
    }

    fn find_place(&self, place: &Place) -> Option<usize> {
        self.find(place.topic.as_bytes(), place.partition)
    }

    fn message(&mut self, message: &Message<'_>) {
        let Some(index) = self.find(message.topic(), message.partition()) else { return };
        self.last = index;
        let part = &mut self.parts[index];
        if part.running.is_none() || part.betrayed {
            return;
        }
        let event = message.to_event();
        if event.offset > OFFSET_MAX {
            let error = verdict::too_large(&part.partition, event.offset);
            self.flush();
            self.betray(index, error);
            return;
        }
        self.run_bytes += event.bytes();
        if part.run.is_empty() {
            self.touched.push(index);
        }
        part.run.push(event);
    }

    /// Hands over what was read.
    fn flush(&mut self) {
        if self.touched.is_empty() {
            return;
        }
        let (mut ready, mut repeats) = (false, 0);
        let mut buffers = self.link.shared.lock();
        for index in self.touched.drain(..) {
            let part = &mut self.parts[index];
            let pushed = buffers.push(&part.partition, part.running.unwrap_or_default(), &mut part.run);
            ready |= pushed.ready;
            repeats += pushed.repeats;
        }
        drop(buffers);
        self.run_bytes = 0;
        if ready {
            self.link.shared.tell_ready();
        }
        if repeats > 0 {
            let total = self.link.repeats.fetch_add(repeats as u64, std::sync::atomic::Ordering::Relaxed);
            tracing::debug!(
                group = self.link.settings.group_id,
                repeats,
                total,
                "events below the position were dropped"
            );
        }
    }

    fn event(&mut self, client: &Client<Context>, event: Polled<'_>) -> Result<(), String> {
        match event {
            Polled::Message(_) => {}
            Polled::Eof(place) => self.eof(&place),
            Polled::Error { failure, at, fatal } => {
                if fatal {
                    return Err(format!("librdkafka gave up: {}: {}", failure.code, failure.text));
                }
                self.error(&failure, at.as_ref());
            }
            Polled::Assign(places) => {
                self.clear(About::Group);
                let given: Vec<TopicPartition> = places.iter().map(|place| self.named(place)).collect();
                self.group.extend(given);
                let gone = self.retarget();
                unassign(client, &gone)?;
                // The group has its answer; what is read follows when the runner says from where.
                assign(client, &[])?;
            }
            Polled::Revoke(places) => {
                for place in &places {
                    let partition = self.named(place);
                    self.group.remove(&partition);
                }
                let gone = self.retarget();
                list_call(&gone, |list| client.consumer().incremental_unassign(list))?;
            }
            Polled::Stats(json) => self.stats(&json),
            Polled::Topics { ticket, result } => self.topics_answer(ticket, result),
            Polled::Offsets { ticket, result } => self.offsets_answer(ticket, result),
            Polled::Other(failure) => {
                if let Some(failure) = failure {
                    tracing::debug!(group = self.link.settings.group_id, "{}: {}", failure.code, failure.text);
                }
            }
        }
        Ok(())
    }

    fn named(&self, place: &Place) -> TopicPartition {
        let topic = self.topics.iter().find(|topic| ***topic == *place.topic).cloned();
        TopicPartition { topic: topic.unwrap_or_else(|| place.topic.as_str().into()), partition: place.partition }
    }

    /// The fetcher is past everything that is visible.
    fn eof(&mut self, place: &Place) {
        let Some(index) = self.find_place(place) else { return };
        let part = &self.parts[index];
        let Some(tag) = part.running else { return };
        if place.offset < 0 || place.offset > OFFSET_MAX {
            return;
        }
        let ready = self.link.shared.lock().advance(&part.partition, tag, place.offset);
        if ready {
            self.link.shared.tell_ready();
        }
    }

    fn error(&mut self, failure: &Failure, at: Option<&Place>) {
        tracing::debug!(group = self.link.settings.group_id, ?at, "{}: {}", failure.code, failure.text);
        let index = at.and_then(|place| self.find_place(place)).filter(|index| !self.parts[*index].betrayed);
        let meaning = verdict::meaning(failure);
        match (meaning, index) {
            (Meaning::OutOfRange, Some(index)) => {
                self.parts[index].suspect = true;
                self.parts[index].since = self.ticket;
                self.hurry();
            }
            (Meaning::Truncated, Some(index)) => {
                let error = verdict::truncated(&self.parts[index].partition, self.position(index), &failure.text);
                self.betray(index, error);
            }
            (Meaning::Corrupt, Some(index)) => {
                let error = verdict::corrupt(&self.parts[index].partition, self.position(index), &failure.text);
                self.betray(index, error);
            }
            (Meaning::TopicMissing, _) => self.due[Look::Topics as usize] = Instant::now(),
            (Meaning::Passing, _) => {
                if matches!(failure.code, Code::BrokerTransportFailure | Code::Resolve) {
                    self.heard = Some(failure.text.clone());
                }
            }
            _ => {
                let servers = &self.link.settings.bootstrap_servers;
                if let Some((about, error)) = verdict::trouble(failure, servers, self.heard.as_deref()) {
                    self.raise(about, error);
                }
            }
        }
    }

    fn position(&self, index: usize) -> i64 {
        self.link.shared.lock().position(&self.parts[index].partition).unwrap_or(0)
    }

    /// Lets nothing more in of a partition, and halts the projection.
    fn betray(&mut self, index: usize, error: SourceError) {
        let part = &mut self.parts[index];
        if std::mem::replace(&mut part.betrayed, true) {
            return;
        }
        part.run.clear();
        self.link.shared.lock().freeze(&part.partition);
        self.link.shared.tell(SourceEvent::Failed(error));
    }

    fn raise(&mut self, about: About, error: SourceError) {
        let news = self.troubles.raise(about, error);
        news.into_iter().for_each(|event| self.link.shared.tell(event));
    }

    fn clear(&mut self, about: About) {
        let news = self.troubles.clear(about);
        news.into_iter().for_each(|event| self.link.shared.tell(event));
    }

    /// Which partitions this source should have: the group's, or, where one instance reads all, all or none.
    fn target(&self) -> BTreeSet<TopicPartition> {
        if !self.link.settings.serial {
            return self.group.clone();
        }
        let first =
            self.topics.first().is_some_and(|topic| self.group.contains(&TopicPartition::new(topic.clone(), 0)));
        if !first {
            return BTreeSet::new();
        }
        let all = |(topic, (_, _, count)): (&Arc<str>, &(usize, Option<String>, i32))| {
            let topic = topic.clone();
            (0..*count).map(move |partition| TopicPartition::new(topic.clone(), partition))
        };
        // What is held stays held while we are the one: a topic that can't be seen for a moment is not given back.
        let held = self.parts.iter().map(|part| part.partition.clone());
        self.facts.iter().flat_map(all).chain(self.group.iter().cloned()).chain(held).collect()
    }

    /// Takes in and lets go what the target says; gives back what was being read and must be unassigned.
    fn retarget(&mut self) -> Vec<(TopicPartition, i64)> {
        self.flush();
        let target = self.target();
        let (mut gone, mut told) = (Vec::new(), Vec::new());
        self.parts.retain(|part| {
            if target.contains(&part.partition) {
                return true;
            }
            if part.running.is_some() {
                gone.push((part.partition.clone(), 0));
            }
            if part.announced {
                told.push(part.partition.clone());
            }
            false
        });
        self.link.shared.revoke(told);
        for partition in target {
            if !self.parts.iter().any(|part| part.partition == partition) {
                self.parts.push(Part::new(partition, self.ticket));
                self.hurry();
            }
        }
        gone
    }

    /// Makes what is read what is wished.
    fn reconcile(&mut self, client: &Client<Context>) -> Result<(), String> {
        let wishes = {
            let buffers = self.link.shared.lock();
            if !self.dirty && buffers.wishes_version() == self.wishes_version {
                return Ok(());
            }
            self.wishes_version = buffers.wishes_version();
            buffers.wishes()
        };
        self.dirty = false;
        let (mut stop, mut start) = (Vec::new(), Vec::new());
        for part in &mut self.parts {
            let wish = wishes.iter().find(|wish| wish.partition == part.partition);
            let want = wish.filter(|_| !self.stalled).and_then(|wish| Some((wish.tag, wish.from?)));
            if part.running.is_some() && part.running == want.map(|(tag, _)| tag) && !part.redo {
                continue;
            }
            part.redo = false;
            if part.running.take().is_some() {
                stop.push((part.partition.clone(), 0));
            }
            if let Some((tag, from)) = want {
                part.running = Some(tag);
                // A restart is the runner's word that it's well: it may know more than we do.
                part.betrayed = false;
                part.suspect = false;
                part.progress_at = Instant::now();
                start.push((part.partition.clone(), from));
            }
        }
        unassign(client, &stop)?;
        if start.is_empty() { Ok(()) } else { assign(client, &start) }
    }

    /// Best-effort: where the checkpoints are, for tools that look at the group.
    fn mirror(&mut self, client: &Client<Context>) {
        self.mirror_due = Instant::now() + MIRROR_EVERY;
        let checkpoints = std::mem::take(&mut *self.link.mirror.lock().unwrap_or_else(PoisonError::into_inner));
        let ours: Vec<_> = checkpoints
            .into_iter()
            .filter(|(partition, _)| self.parts.iter().any(|part| part.partition == *partition))
            .collect();
        if ours.is_empty() {
            return;
        }
        let sent = list_call(&ours, |list| client.consumer().commit(list, CommitMode::Async));
        if let Err(error) = sent {
            tracing::debug!(group = self.link.settings.group_id, error, "checkpoints were not mirrored");
        }
    }

    /// Finds partitions that are behind and do not move.
    ///
    /// # Errors
    /// One of them did not move after it was assigned anew either.
    fn watch(&mut self) -> Result<(), String> {
        let now = Instant::now();
        if self.watch_due > now {
            return Ok(());
        }
        self.watch_due = now + Duration::from_secs(1);
        let well = !self.stalled && !self.troubles.stands(About::Brokers) && !self.troubles.stands(About::Topics);
        let buffers = self.link.shared.lock();
        for part in self.parts.iter_mut().filter(|part| part.running.is_some() && !part.betrayed && !part.suspect) {
            let position = buffers.position(&part.partition).unwrap_or(0);
            let behind = buffers.end(&part.partition).is_some_and(|end| position < end);
            let progress = (position, part.fetched);
            if progress != part.progress || !behind || !well || buffers.full() {
                if progress != part.progress || !behind {
                    part.strikes = 0;
                }
                part.progress = progress;
                part.progress_at = now;
                continue;
            }
            if now.duration_since(part.progress_at) < STUCK_AFTER {
                continue;
            }
            part.strikes += 1;
            part.progress_at = now;
            if part.strikes > 1 {
                return Err(format!("{} does not move from offset {position}", part.partition));
            }
            tracing::warn!(partition = %part.partition, position, "the partition does not move: it is assigned anew");
            part.redo = true;
            self.dirty = true;
        }
        Ok(())
    }
}

fn assign(client: &Client<Context>, partitions: &[(TopicPartition, i64)]) -> Result<(), String> {
    list_call(partitions, |list| client.consumer().incremental_assign(list))
}

fn unassign(client: &Client<Context>, partitions: &[(TopicPartition, i64)]) -> Result<(), String> {
    if partitions.is_empty() {
        return Ok(());
    }
    list_call(partitions, |list| client.consumer().incremental_unassign(list))
}

fn list_call(
    partitions: &[(TopicPartition, i64)],
    call: impl FnOnce(&TopicPartitionList) -> rdkafka::error::KafkaResult<()>,
) -> Result<(), String> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (partition, offset) in partitions {
        list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(*offset))
            .map_err(|error| format!("offset {offset} of {partition}: {error}"))?;
    }
    call(&list).map_err(|error| error.to_string())
}
