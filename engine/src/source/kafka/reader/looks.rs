//! Looks at the cluster: what they ask, and what follows from the answers. Partitions are announced when enough is known of
//! them, and betrayals of the log are judged only by answers that are younger than the suspicion.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::raw::{Client, Failure, LogSide, Place, TopicFacts};
use super::super::verdict::{self, About, Evidence, Meaning};
use super::{
    Asked, Context, LOOK_AGAIN, LOOK_MAX, LOOKS, Look, OFFSETS_EVERY, RECREATED_LOOKS, SHORTER_LOOKS, Session,
    TOPICS_EVERY,
};
use crate::checkpoint::LogBounds;

impl Session<'_> {
    /// Asks what is due to be known.
    pub(super) fn look(&mut self, client: &Client<Context>) {
        let now = Instant::now();
        for kind in LOOKS {
            let slot = kind as usize;
            if self.asked[slot].is_some() || self.due[slot] > now || (kind != Look::Topics && self.parts.is_empty()) {
                continue;
            }
            self.ticket += 1;
            let ticket = self.ticket;
            let mut positions = BTreeMap::new();
            match kind {
                Look::Topics => client.ask_topics(&self.link.settings.topics, ticket, LOOK_MAX),
                Look::Starts | Look::Ends => {
                    let buffers = self.link.shared.lock();
                    for part in &self.parts {
                        let position = part.running.and_then(|_| buffers.position(&part.partition));
                        positions.insert(part.partition.clone(), position.unwrap_or(0));
                    }
                    drop(buffers);
                    let names: Vec<(&str, i32)> =
                        self.parts.iter().map(|part| (&*part.partition.topic, part.partition.partition)).collect();
                    let side = if kind == Look::Starts { LogSide::Start } else { LogSide::End };
                    client.ask_offsets(&names, side, ticket, LOOK_MAX);
                }
            }
            self.asked[slot] = Some(Asked { ticket, positions });
        }
    }

    /// All is to be known anew.
    pub(super) fn hurry(&mut self) {
        self.due = [Instant::now(); 3];
    }

    /// The look that `ticket` answers, and when to look next.
    fn answered(&mut self, ticket: usize, well: bool) -> Option<(Look, Asked)> {
        let kind =
            LOOKS.into_iter().find(|kind| self.asked[*kind as usize].as_ref().is_some_and(|a| a.ticket == ticket))?;
        let asked = self.asked[kind as usize].take()?;
        self.failing[kind as usize] = !well;
        let waiting = self.parts.iter().any(|part| !part.announced || part.suspect);
        let every = if kind == Look::Topics { TOPICS_EVERY } else { OFFSETS_EVERY };
        let asked_for = self.parts.iter().any(|part| part.since >= ticket);
        let pause = match (well, waiting) {
            // Something was asked for after this look was: look at once.
            (true, true) if asked_for => Duration::ZERO,
            (true, false) => every,
            _ => LOOK_AGAIN,
        };
        self.due[kind as usize] = Instant::now() + pause;
        Some((kind, asked))
    }

    pub(super) fn topics_answer(&mut self, ticket: usize, result: Result<Vec<TopicFacts>, Failure>) {
        if self.answered(ticket, result.is_ok()).is_none() {
            return;
        }
        let facts = match result {
            Ok(facts) => facts,
            Err(failure) => return self.unanswered(&failure),
        };
        self.brokers_answer();
        let (mut missing, mut refused) = (Vec::new(), None);
        for fact in facts {
            match fact.found {
                Ok((id, count)) => {
                    self.facts.insert(fact.name.as_str().into(), (ticket, id, count));
                }
                Err(failure) => {
                    self.facts.remove(fact.name.as_str());
                    match verdict::meaning(&failure) {
                        Meaning::Refused => refused = Some(failure),
                        _ => missing.push(fact.name),
                    }
                }
            }
        }
        let servers = &self.link.settings.bootstrap_servers;
        match refused.and_then(|failure| verdict::trouble(&failure, servers, None)) {
            Some((about, error)) => self.raise(about, error),
            None => self.clear(About::Rights),
        }
        if missing.is_empty() {
            self.clear(About::Topics);
        } else {
            let error = verdict::missing(&self.link.settings.bootstrap_servers, &missing);
            self.raise(About::Topics, error);
        }
        self.compare_topics();
        if self.link.settings.serial && self.target().len() != self.parts.len() {
            // Only adds: while we hold the first partition, nothing that is held goes, so there is nothing to unassign.
            drop(self.retarget());
        }
        self.claim();
        self.judge_suspects();
    }

    /// Whether the topics are still those that were announced.
    fn compare_topics(&mut self) {
        for index in 0..self.parts.len() {
            let part = &self.parts[index];
            if !part.announced || part.betrayed {
                continue;
            }
            let Some((_, id, count)) = self.facts.get(&part.partition.topic) else { continue };
            let what = match (&part.topic_id, id) {
                (Some(then), Some(now)) if then != now => format!("its id was {then} and is {now}"),
                _ if part.partition.partition >= *count => format!("it has {count} partition(s) only"),
                _ => {
                    self.parts[index].recreated_looks = 0;
                    continue;
                }
            };
            self.parts[index].recreated_looks += 1;
            if self.parts[index].recreated_looks >= RECREATED_LOOKS {
                let error = verdict::recreated(&self.parts[index].partition, self.position(index), &what);
                self.betray(index, error);
            } else {
                self.due[Look::Topics as usize] = Instant::now() + LOOK_AGAIN;
            }
        }
    }

    pub(super) fn offsets_answer(&mut self, ticket: usize, result: Result<Vec<(Place, Option<Failure>)>, Failure>) {
        let Some((kind, asked)) = self.answered(ticket, result.is_ok()) else { return };
        let offsets = match result {
            Ok(offsets) => offsets,
            Err(failure) => return self.unanswered(&failure),
        };
        let answered = offsets.iter().any(|(_, failure)| failure.is_none());
        if answered {
            self.brokers_answer();
        }
        for (place, failure) in offsets {
            if let Some(failure) = failure {
                self.error(&failure, None);
                continue;
            }
            let Some(index) = self.find_place(&place).filter(|_| place.offset >= 0) else { continue };
            let (start, end) = match kind {
                Look::Starts => (Some(place.offset), None),
                _ => (None, Some(place.offset)),
            };
            let part = &mut self.parts[index];
            part.start = start.map(|start| (ticket, start)).or(part.start);
            part.end = end.map(|end| (ticket, end)).or(part.end);
            self.link.shared.lock().set_bounds(&part.partition, start, end);
            let read = asked.positions.get(&part.partition).copied().unwrap_or(0);
            if end.is_some_and(|end| end < read) && !part.betrayed {
                part.shorter_looks += 1;
                if part.shorter_looks >= SHORTER_LOOKS {
                    part.suspect = true;
                    part.since = self.ticket;
                }
                self.hurry();
            } else if end.is_some() {
                part.shorter_looks = 0;
            }
        }
        self.claim();
        self.judge_suspects();
    }

    /// The brokers are there when all looks are answered: one that works beside one that does not is no recovery.
    fn brokers_answer(&mut self) {
        if !self.failing.contains(&true) {
            self.clear(About::Brokers);
        }
    }

    /// A look was not answered.
    fn unanswered(&mut self, failure: &Failure) {
        let servers = &self.link.settings.bootstrap_servers;
        let (about, error) = verdict::trouble(failure, servers, self.heard.as_deref()).unwrap_or_else(|| {
            (About::Brokers, verdict::disconnected(servers, self.heard.as_deref().unwrap_or(&failure.text)))
        });
        self.raise(about, error);
    }

    /// Tells the runner of the partitions of which enough is known.
    fn claim(&mut self) {
        let mut bounds = Vec::new();
        for part in self.parts.iter_mut().filter(|part| !part.announced) {
            let fact = self.facts.get(&part.partition.topic).filter(|(ticket, ..)| *ticket > part.since);
            let (Some((start, end)), Some((_, id, _))) = (part.bounds(), fact) else { continue };
            part.announced = true;
            part.topic_id.clone_from(id);
            let topic_id = id.clone();
            bounds.push(LogBounds { partition: part.partition.clone(), start, end, topic_id });
        }
        if !bounds.is_empty() {
            self.clear(About::Consumer);
            self.link.shared.announce(bounds);
        }
    }

    /// Judges the partitions whose position may not be in the log, as far as enough is known.
    fn judge_suspects(&mut self) {
        for index in 0..self.parts.len() {
            let part = &self.parts[index];
            let fact = self.facts.get(&part.partition.topic).filter(|(ticket, ..)| *ticket > part.since);
            let (true, Some((start, end)), Some((_, id, _))) = (part.suspect, part.bounds(), fact) else { continue };
            let evidence = Evidence {
                partition: &part.partition,
                position: self.position(index),
                start,
                end,
                id_then: part.topic_id.as_deref(),
                id_now: id.as_deref(),
            };
            let verdict = verdict::judge(&evidence);
            let part = &mut self.parts[index];
            part.suspect = false;
            part.shorter_looks = 0;
            match verdict {
                Some(error) => self.betray(index, error),
                None => {
                    part.redo = true;
                    self.dirty = true;
                }
            }
        }
    }

    pub(super) fn stats(&mut self, json: &str) {
        let stats: Stats = match serde_json::from_str(json) {
            Ok(stats) => stats,
            Err(error) => return tracing::debug!(%error, "librdkafka's statistics can't be read"),
        };
        for part in self.parts.iter_mut().filter(|part| part.running.is_some()) {
            let Some(topic) = stats.topics.get(&*part.partition.topic) else { continue };
            let Some(seen) = topic.partitions.get(&part.partition.partition.to_string()) else { continue };
            part.fetched = seen.next_offset;
            let mut buffers = self.link.shared.lock();
            // The fetcher's word may be older than that of a look; the end only grows by it.
            if buffers.end(&part.partition).is_some_and(|end| end < seen.ls_offset) {
                buffers.set_bounds(&part.partition, None, Some(seen.ls_offset));
            }
        }
    }
}

/// What we read of librdkafka's statistics.
#[derive(serde::Deserialize)]
struct Stats {
    #[serde(default)]
    topics: BTreeMap<String, TopicStats>,
}

#[derive(serde::Deserialize)]
struct TopicStats {
    #[serde(default)]
    partitions: BTreeMap<String, PartitionStats>,
}

#[derive(serde::Deserialize)]
struct PartitionStats {
    #[serde(default)]
    next_offset: i64,
    #[serde(default)]
    ls_offset: i64,
}
