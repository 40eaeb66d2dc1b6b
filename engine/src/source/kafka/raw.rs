//! librdkafka calls that rdkafka has no safe form of: the end of a partition with its offset, offsets and topic ids without
//! blocking, and waking a poll. All `unsafe` of the source is here.
//!
//! Invariants: an event lives no longer than the [`Client`] it was polled from (the borrow checker holds it); everything that
//! leaves this file is copied out of librdkafka's memory, or borrows the event that owns it.

#![allow(unsafe_code, reason = "rdkafka has no safe form of these librdkafka calls")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;

use crate::event::{Event, Header};

/// A consumer and its queue, polled by one thread.
pub(super) struct Client<C: ConsumerContext> {
    consumer: BaseConsumer<C>,
    queue: *mut sys::rd_kafka_queue_t,
    waker: Arc<Waker>,
}

// SAFETY: librdkafka's handles may be used from any thread; the pointer is only used through `&self` and freed in `drop`.
unsafe impl<C: ConsumerContext> Send for Client<C> {}

/// Wakes the thread that waits in [`Client::poll`]. Harmless when the client is gone.
pub(super) struct Waker(Mutex<*mut sys::rd_kafka_queue_t>);

// SAFETY: the pointer is only used under the lock, librdkafka's queues are thread-safe, and the client sets it to null under
// the same lock before it frees the queue.
unsafe impl Send for Waker {}
// SAFETY: as above.
unsafe impl Sync for Waker {}

impl Waker {
    /// Makes the current poll, or the next one, return at once.
    pub(super) fn wake(&self) {
        let queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !queue.is_null() {
            // SAFETY: not null, so the client has not freed it, and can't while we hold the lock.
            unsafe { sys::rd_kafka_queue_yield(*queue) };
        }
    }
}

/// A place in the log as librdkafka names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// Meaning as in the event that it came with; negative where it has none.
    pub(super) offset: i64,
}

/// An error as librdkafka tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: RDKafkaErrorCode,
    pub(super) text: String,
}

/// What the cluster says about one topic.
#[derive(Clone, Debug)]
pub(super) struct TopicFacts {
    pub(super) name: String,
    /// Id and number of partitions.
    pub(super) found: Result<(Option<String>, i32), Failure>,
}

/// Which end of the log to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogSide {
    /// The first offset that is still held.
    Start,
    /// The last stable offset.
    End,
}

/// What a poll returned.
pub(super) enum Polled<'c> {
    Message(Message<'c>),
    /// The fetcher stands at `offset`, and there is nothing visible at it.
    Eof(Place),
    Error {
        failure: Failure,
        at: Option<Place>,
        fatal: bool,
    },
    Assign(Vec<Place>),
    Revoke(Vec<Place>),
    Stats(String),
    Topics {
        ticket: usize,
        result: Result<Vec<TopicFacts>, Failure>,
    },
    Offsets {
        ticket: usize,
        result: Result<Vec<(Place, Option<Failure>)>, Failure>,
    },
    /// The answer to a commit, or something that we did not ask for.
    Other(Option<Failure>),
}

/// An event of librdkafka's, freed when dropped.
struct Owned<'c>(*mut sys::rd_kafka_event_t, PhantomData<&'c ()>);

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        // SAFETY: we own the event, and free it once.
        unsafe { sys::rd_kafka_event_destroy(self.0) };
    }
}

/// A fetched record, still in librdkafka's memory.
pub(super) struct Message<'c> {
    message: *const sys::rd_kafka_message_t,
    _event: Owned<'c>,
}

impl Message<'_> {
    fn raw(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: the message lives as long as the event that we hold.
        unsafe { &*self.message }
    }

    /// The name of its topic, in UTF-8 as all topic names.
    pub(super) fn topic(&self) -> &[u8] {
        // SAFETY: a message holds a reference to its topic, whose name is a C string that lives as long.
        unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(self.raw().rkt)) }.to_bytes()
    }

    /// The number of its partition.
    pub(super) fn partition(&self) -> i32 {
        self.raw().partition
    }

    /// The record, copied.
    pub(super) fn to_event(&self) -> Event {
        let raw = self.raw();
        // SAFETY: the message is valid; librdkafka accepts no place for the kind of timestamp.
        let timestamp_ms = unsafe { sys::rd_kafka_message_timestamp(self.message, std::ptr::null_mut()) };
        Event {
            offset: raw.offset,
            timestamp_ms: timestamp_ms.max(-1),
            key: bytes(raw.key, raw.key_len),
            value: bytes(raw.payload, raw.len),
            headers: self.headers(),
        }
    }

    fn headers(&self) -> Vec<Header> {
        let mut list = std::ptr::null_mut();
        // SAFETY: the message is valid, and keeps the headers that it returns.
        let found = unsafe { sys::rd_kafka_message_headers(self.message, &mut list) };
        if found != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || list.is_null() {
            return Vec::new();
        }
        // SAFETY: the list is valid while the message is.
        let count = unsafe { sys::rd_kafka_header_cnt(list) };
        let mut headers = Vec::with_capacity(count);
        for index in 0..count {
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: as above; the index is below the count.
            let got = unsafe { sys::rd_kafka_header_get_all(list, index, &mut name, &mut value, &mut size) };
            if got != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                break;
            }
            headers.push(Header { name: text(name), value: bytes(value, size) });
        }
        headers
    }
}

/// Copies bytes; a null pointer is a null value.
fn bytes(start: *const c_void, len: usize) -> Option<Vec<u8>> {
    if start.is_null() {
        return None;
    }
    // SAFETY: librdkafka gave the pair, and it's valid while the message is.
    Some(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) }.to_vec())
}

/// Copies a C string.
fn text(start: *const c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: librdkafka's strings end with a zero byte.
    unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned()
}

impl<C: ConsumerContext> Client<C> {
    /// Takes over polling; none where the consumer has no group, and so no queue of its own.
    pub(super) fn new(consumer: BaseConsumer<C>) -> Option<Self> {
        // SAFETY: the consumer lives longer than the queue: `drop` frees the queue first.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        let waker = Arc::new(Waker(Mutex::new(queue)));
        (!queue.is_null()).then_some(Self { consumer, queue, waker })
    }

    /// The consumer, for what has a safe form. Do not poll it.
    pub(super) fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// Wakes a poll.
    pub(super) fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// Waits for what comes next, at most `limit` (in whole milliseconds).
    pub(super) fn poll(&self, limit: Duration) -> Option<Polled<'_>> {
        let millis = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the queue is valid until `drop`.
        let event = unsafe { sys::rd_kafka_queue_poll(self.queue, millis) };
        if event.is_null() {
            return None;
        }
        let event = Owned(event, PhantomData);
        // SAFETY: the event is valid; so in all calls below.
        let kind = unsafe { sys::rd_kafka_event_type(event.0) };
        if kind == sys::RD_KAFKA_EVENT_FETCH {
            // SAFETY: as above; a fetch event holds one message at least.
            let message = unsafe { sys::rd_kafka_event_message_next(event.0) };
            if message.is_null() {
                return Some(Polled::Other(None));
            }
            return Some(Polled::Message(Message { message, _event: event }));
        }
        Some(other_event(kind, &event))
    }

    /// Asks for one end of the log of partitions; [`Polled::Offsets`] answers with the same `ticket`.
    pub(super) fn ask_offsets(&self, partitions: &[(&str, i32)], side: LogSide, ticket: usize, limit: Duration) {
        let spec = match side {
            LogSide::Start => sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST,
            LogSide::End => sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST,
        };
        let mut list = rdkafka::TopicPartitionList::new();
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
        }
        // SAFETY: the list, options and queue are valid during the call, which copies what it keeps. The elements of the list
        // are `elems[0..cnt]`.
        unsafe {
            let raw = &mut *list.ptr();
            let count = usize::try_from(raw.cnt).unwrap_or(0);
            if count > 0 {
                for element in std::slice::from_raw_parts_mut(raw.elems, count) {
                    element.offset = spec as i64;
                }
            }
            let options = self.options(sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, ticket, limit);
            let committed = sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
            let refused = sys::rd_kafka_AdminOptions_set_isolation_level(options, committed);
            if !refused.is_null() {
                sys::rd_kafka_error_destroy(refused);
            }
            sys::rd_kafka_ListOffsets(self.consumer.client().native_ptr(), list.ptr(), options, self.queue);
            sys::rd_kafka_AdminOptions_destroy(options);
        }
    }

    /// Asks for ids and partitions of topics; [`Polled::Topics`] answers with the same `ticket`.
    pub(super) fn ask_topics(&self, topics: &[String], ticket: usize, limit: Duration) {
        let names: Vec<CString> = topics.iter().filter_map(|topic| CString::new(topic.as_str()).ok()).collect();
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: names, collection, options and queue are valid during the call, which copies what it keeps.
        unsafe {
            let collection = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            let options = self.options(sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, ticket, limit);
            sys::rd_kafka_DescribeTopics(self.consumer.client().native_ptr(), collection, options, self.queue);
            sys::rd_kafka_AdminOptions_destroy(options);
            sys::rd_kafka_TopicCollection_destroy(collection);
        }
    }

    /// # Safety
    /// The caller frees what it gets.
    unsafe fn options(
        &self,
        call: sys::rd_kafka_admin_op_t,
        ticket: usize,
        limit: Duration,
    ) -> *mut sys::rd_kafka_AdminOptions_t {
        let millis = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the client is valid; no text of an error is asked for. The opaque is a number, never followed.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(self.consumer.client().native_ptr(), call);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, millis, std::ptr::null_mut(), 0);
            sys::rd_kafka_AdminOptions_set_opaque(options, std::ptr::without_provenance_mut(ticket));
            options
        }
    }
}

impl<C: ConsumerContext> Drop for Client<C> {
    fn drop(&mut self) {
        *self.waker.0.lock().unwrap_or_else(PoisonError::into_inner) = std::ptr::null_mut();
        // SAFETY: ours, freed once, before the consumer (fields drop after this).
        unsafe { sys::rd_kafka_queue_destroy(self.queue) };
    }
}

fn failure(event: &Owned<'_>) -> Option<Failure> {
    // SAFETY: the event is valid.
    let code = unsafe { sys::rd_kafka_event_error(event.0) };
    if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return None;
    }
    // SAFETY: as above.
    Some(Failure { code: code.into(), text: text(unsafe { sys::rd_kafka_event_error_string(event.0) }) })
}

fn place(raw: &sys::rd_kafka_topic_partition_t) -> Place {
    Place { topic: text(raw.topic), partition: raw.partition, offset: raw.offset }
}

/// Everything but records, which are rare beside them.
fn other_event(kind: c_int, event: &Owned<'_>) -> Polled<'static> {
    // SAFETY of all calls: the event is valid and of the kind that the call is for; what is read is copied before it is freed.
    match kind {
        sys::RD_KAFKA_EVENT_ERROR => error_event(event),
        sys::RD_KAFKA_EVENT_REBALANCE => rebalance_event(event),
        // SAFETY: see above.
        sys::RD_KAFKA_EVENT_STATS => Polled::Stats(text(unsafe { sys::rd_kafka_event_stats(event.0) })),
        sys::RD_KAFKA_EVENT_DESCRIBETOPICS_RESULT => {
            let result = failure(event).map_or_else(|| Ok(described(event)), Err);
            Polled::Topics { ticket: ticket(event), result }
        }
        sys::RD_KAFKA_EVENT_LISTOFFSETS_RESULT => {
            let result = failure(event).map_or_else(|| Ok(listed(event)), Err);
            Polled::Offsets { ticket: ticket(event), result }
        }
        _ => Polled::Other(failure(event)),
    }
}

fn ticket(event: &Owned<'_>) -> usize {
    // SAFETY: the event is valid; the opaque is the number that we gave.
    unsafe { sys::rd_kafka_event_opaque(event.0) }.addr()
}

fn error_event(event: &Owned<'_>) -> Polled<'static> {
    let Some(failure) = failure(event) else { return Polled::Other(None) };
    // SAFETY: the event is valid; the place is a copy that is ours to free.
    let at = unsafe {
        let raw = sys::rd_kafka_event_topic_partition(event.0);
        if raw.is_null() {
            None
        } else {
            let copied = place(&*raw);
            sys::rd_kafka_topic_partition_destroy(raw);
            Some(copied)
        }
    };
    match at {
        Some(at) if failure.code == RDKafkaErrorCode::PartitionEOF => Polled::Eof(at),
        at => {
            // SAFETY: the event is valid.
            let fatal = unsafe { sys::rd_kafka_event_error_is_fatal(event.0) } != 0;
            Polled::Error { failure, at, fatal }
        }
    }
}

fn rebalance_event(event: &Owned<'_>) -> Polled<'static> {
    // SAFETY: the event is valid; the list belongs to it and is copied.
    let places = unsafe {
        let list = sys::rd_kafka_event_topic_partition_list(event.0);
        if list.is_null() || (*list).cnt <= 0 {
            Vec::new()
        } else {
            let count = usize::try_from((*list).cnt).unwrap_or(0);
            std::slice::from_raw_parts((*list).elems, count).iter().map(place).collect()
        }
    };
    match failure(event) {
        Some(failure) if failure.code == RDKafkaErrorCode::AssignPartitions => Polled::Assign(places),
        Some(failure) if failure.code == RDKafkaErrorCode::RevokePartitions => Polled::Revoke(places),
        failure => Polled::Other(failure),
    }
}

fn described(event: &Owned<'_>) -> Vec<TopicFacts> {
    let mut facts = Vec::new();
    // SAFETY: the result and all that it points to belong to the event, and are copied.
    unsafe {
        let mut count = 0;
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        for index in 0..count {
            let topic = *topics.add(index);
            let error = sys::rd_kafka_TopicDescription_error(topic);
            let code = sys::rd_kafka_error_code(error);
            let found = if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                let id = sys::rd_kafka_TopicDescription_topic_id(topic);
                let named = !id.is_null()
                    && (sys::rd_kafka_Uuid_most_significant_bits(id) != 0
                        || sys::rd_kafka_Uuid_least_significant_bits(id) != 0);
                let mut partitions = 0;
                sys::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
                Ok((
                    named.then(|| text(sys::rd_kafka_Uuid_base64str(id))),
                    i32::try_from(partitions).unwrap_or(i32::MAX),
                ))
            } else {
                Err(Failure { code: code.into(), text: text(sys::rd_kafka_error_string(error)) })
            };
            facts.push(TopicFacts { name: text(sys::rd_kafka_TopicDescription_name(topic)), found });
        }
    }
    facts
}

fn listed(event: &Owned<'_>) -> Vec<(Place, Option<Failure>)> {
    let mut offsets = Vec::new();
    // SAFETY: the result and all that it points to belong to the event, and are copied.
    unsafe {
        let mut count = 0;
        let result = sys::rd_kafka_event_ListOffsets_result(event.0);
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &mut count);
        for index in 0..count {
            let raw = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(index));
            let failed = (*raw).err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
            let failure =
                failed.then(|| Failure { code: (*raw).err.into(), text: text(sys::rd_kafka_err2str((*raw).err)) });
            offsets.push((place(&*raw), failure));
        }
    }
    offsets
}
