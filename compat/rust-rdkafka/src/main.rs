//! What users of rust-rdkafka do, checked by what comes back.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

const COUNT: i64 = 500;
const LIMIT: Duration = Duration::from_secs(30);

fn config(settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", std::env::var("FLOE_BOOTSTRAP").unwrap());
    config.set("fetch.wait.max.ms", "100");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
}

fn first_timestamp() -> i64 {
    // young enough for retention, the same within a run
    static FIRST: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    *FIRST.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64 - 3_600_000)
}

fn send(producer: &BaseProducer, topic: &str, first: i64, count: i64) {
    for n in first..first + count {
        let (key, value) = (format!("key-{n}"), format!("value-{n}"));
        let text = n.to_string();
        let headers = OwnedHeaders::new().insert(Header { key: "n", value: Some(&text) });
        let record = BaseRecord::to(topic).key(&key).payload(&value).partition(0);
        producer.send(record.timestamp(first_timestamp() + n).headers(headers)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

fn produce(topic: &str, settings: &[(&str, &str)]) {
    send(&config(settings).create().unwrap(), topic, 0, COUNT);
}

fn assigned(topic: &str, settings: &[(&str, &str)]) -> BaseConsumer {
    let consumer: BaseConsumer = config(&[("group.id", topic)]).set("enable.auto.commit", "false").create().unwrap();
    let consumer = if settings.is_empty() { consumer } else { with_group(topic, settings) };
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    consumer
}

fn with_group(group: &str, settings: &[(&str, &str)]) -> BaseConsumer {
    let mut all = config(&[("group.id", group), ("auto.offset.reset", "earliest"), ("enable.auto.commit", "false")]);
    for (name, value) in settings {
        all.set(*name, *value);
    }
    all.create().unwrap()
}

fn take<T>(consumer: &BaseConsumer, count: i64, of: impl Fn(&BorrowedMessage) -> T) -> Vec<T> {
    let deadline = Instant::now() + LIMIT;
    let mut taken = Vec::new();
    while (taken.len() as i64) < count && Instant::now() < deadline {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            taken.push(of(&message.unwrap()));
        }
    }
    taken
}

fn came_back(consumer: &BaseConsumer, first: i64, count: i64) {
    let found = take(consumer, count, |message| {
        let header = message.headers().unwrap().get(0).value.unwrap().to_vec();
        (
            String::from_utf8(message.key().unwrap().to_vec()).unwrap(),
            String::from_utf8(message.payload().unwrap().to_vec()).unwrap(),
            message.offset(),
            message.timestamp().to_millis().unwrap(),
            String::from_utf8(header).unwrap(),
        )
    });
    let expected: Vec<_> = (first..first + count)
        .map(|n| (format!("key-{n}"), format!("value-{n}"), n, first_timestamp() + n, n.to_string()))
        .collect();
    assert!(found == expected, "{} of {count} records, the last {:?}", found.len(), found.last());
}

fn round_trip(topic: &str, settings: &[(&str, &str)]) {
    produce(topic, settings);
    came_back(&assigned(topic, &[]), 0, COUNT);
}

fn commit_and_resume(topic: &str, settings: &[(&str, &str)]) {
    produce(topic, &[]);
    let first = with_group(topic, settings);
    first.subscribe(&[topic]).unwrap();
    came_back(&first, 0, COUNT);
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, 0, Offset::Offset(200)).unwrap();
    first.commit(&offsets, CommitMode::Sync).unwrap();
    drop(first);
    let second = with_group(topic, settings);
    second.subscribe(&[topic]).unwrap();
    came_back(&second, 200, COUNT - 200);
}

fn watermarks() {
    let topic = "watermarks";
    produce(topic, &[]);
    let consumer = assigned(topic, &[]);
    assert_eq!(consumer.fetch_watermarks(topic, 0, LIMIT).unwrap(), (0, COUNT));
    let mut asked = TopicPartitionList::new();
    asked.add_partition_offset(topic, 0, Offset::Offset(first_timestamp() + 77)).unwrap();
    let found = consumer.offsets_for_times(asked, LIMIT).unwrap();
    assert_eq!(found.elements()[0].offset(), Offset::Offset(77));
}

fn transactions() {
    let topic = "transactional";
    let producer: BaseProducer = config(&[("transactional.id", "tx")]).create().unwrap();
    producer.init_transactions(LIMIT).unwrap();
    for round in 0..4 {
        producer.begin_transaction().unwrap();
        send(&producer, topic, round * 10, 10);
        if round % 2 == 0 { producer.commit_transaction(LIMIT) } else { producer.abort_transaction(LIMIT) }.unwrap();
    }
    let consumer = assigned(topic, &[("isolation.level", "read_committed")]);
    let found = take(&consumer, 20, |message| String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
    let expected: Vec<_> = (0..10).chain(20..30).map(|n| format!("value-{n}")).collect();
    assert_eq!(found, expected);
}

fn check(feature: &str, run: impl FnOnce()) {
    let started = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(run));
    let (result, reason) = match outcome {
        Ok(()) => ("pass", String::new()),
        Err(trouble) => ("fail", trouble.downcast_ref::<String>().cloned().unwrap_or("a check did not hold".into())),
    };
    let reason = reason.replace('\\', "/").replace('"', "'").replace('\n', " ");
    println!("{{\"feature\": \"{feature}\", \"result\": \"{result}\", \"reason\": \"{reason}\"}}");
    eprintln!("{feature} took {:?}", started.elapsed());
}

fn main() {
    check("produce and consume", || round_trip("plain", &[]));
    for kind in ["gzip", "snappy", "lz4"] {
        check(kind, || round_trip(kind, &[("compression.type", kind)]));
    }
    check("acks 0 and 1", || {
        round_trip("acks-0", &[("acks", "0")]);
        round_trip("acks-1", &[("acks", "1")]);
    });
    check("idempotent producer", || round_trip("idempotent", &[("enable.idempotence", "true")]));
    check("offsets by time, beginning and end", watermarks);
    check("group: commit and resume", || commit_and_resume("group", &[]));
    check("consumer protocol: commit and resume", || commit_and_resume("protocol", &[("group.protocol", "consumer")]));
    check("transactions: committed and aborted", transactions);
}
