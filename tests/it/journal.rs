//! Reading records: usage, filters, the file that follows a store, and its verification.

use std::{
    fs,
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
};

use tollgate::{
    domain::{
        pattern::Pattern,
        record::{Decision, Draft, Event, Record},
        usage::{GroupBy, Names, Usage},
    },
    ledger::{
        Ledger, memory,
        mirror::{
            Mirror, line,
            verify::{Followed, follow},
        },
        queries::{
            filter::{self, Filter},
            records::{ParsedRecord, Records},
            stats::Stats,
        },
    },
};

const DAY: i64 = 86_400_000;
/// 2026-11-20T00:00:00Z.
const TODAY: i64 = 1_795_132_800_000;

fn store(chain: &str) -> Arc<dyn Ledger> {
    Arc::new(memory::Memory::new(chain, tollgate::host::clock::wall_clock()))
}

async fn records(ledger: &Arc<dyn Ledger>, count: usize) {
    for n in 0..count {
        let note = Some(format!("{n} ü \" }}"));
        ledger.record(Draft { event: Event::Reload, note, ..Draft::default() }).await.unwrap();
    }
}

/// The lines that a mirror of a store must have.
async fn lines(ledger: &Arc<dyn Ledger>) -> Vec<String> {
    let chain = ledger.head().await.unwrap().chain;
    let sealed = ledger.records(0, usize::MAX).await.unwrap();
    sealed.iter().map(|sealed| line::write(&chain, sealed)).collect()
}

fn read(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "a torn line is left");
    text.lines().map(str::to_owned).collect()
}

fn verified(text: &[u8]) -> Followed {
    follow(BufReader::new(text), |_| ()).unwrap()
}

fn record(at: &str, draft: Draft) -> Record {
    Record { v: 1, chain: "c".to_owned(), seq: 1, at: at.to_owned(), draft }
}

/// What a call of an agent came to.
fn ended(event: Event, agent: &str, tool: &str, status: &str, cost: u64) -> Draft {
    Draft {
        event,
        agent: Some(agent.to_owned()),
        server: Some("s".to_owned()),
        tool: Some(tool.to_owned()),
        status: Some(status.to_owned()),
        cost: Some(cost),
        latency_us: Some(cost * 1_000),
        result_bytes: Some(10),
        uncertain: status == "timeout",
        ..Draft::default()
    }
}

#[test]
fn usage_adds_up_by_every_choice_of_keys() {
    let refused =
        |decision| Draft { decision: Some(decision), ..ended(Event::Refusal, "b", "y", "", 9) };
    let records = [
        record("2026-11-19T23:59:59.999Z", ended(Event::Post, "a", "x", "success", 5)),
        record("2026-11-20T00:00:00.000Z", ended(Event::Post, "a", "y", "timeout", 7)),
        record("2026-11-20T00:00:00.000Z", ended(Event::Hold, "a", "x", "", 5)),
        record("2026-11-20T00:00:00.000Z", ended(Event::Refund, "a", "y", "", 4)),
        record("2026-11-20T00:00:00.000Z", ended(Event::Void, "b", "x", "not_sent", 0)),
        record("2026-11-20T00:00:00.000Z", ended(Event::Call, "b", "x", "success", 0)),
        record("2026-11-20T00:00:00.000Z", refused(Decision::Refused)),
        record("2026-11-20T00:00:00.000Z", refused(Decision::WouldRefuse)),
        record("2026-11-20T00:00:00.000Z", Draft { event: Event::Grant, ..Draft::default() }),
    ];
    // calls, errors, refusals, uncertain, credits, bytes
    let check = |by: &str, expected: &[(&[&str], [i128; 6])]| {
        let mut usage = Usage::by(GroupBy::parse_list(by).unwrap(), Names::default());
        records.iter().for_each(|record| usage.add(record));
        let mut backwards = Usage::by(GroupBy::parse_list(by).unwrap(), Names::default());
        records.iter().rev().for_each(|record| backwards.add(record));
        let found: Vec<_> = usage
            .groups()
            .map(|(group, t)| {
                let counts = [t.calls, t.errors, t.refusals, t.uncertain].map(i128::from);
                let [calls, errors, refusals, uncertain] = counts;
                (group.to_vec(), [calls, errors, refusals, uncertain, t.credits, t.bytes.into()])
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(group, counts)| (group.iter().map(|s| (*s).to_owned()).collect(), *counts))
            .collect::<Vec<(Vec<String>, _)>>();
        assert_eq!(found, expected, "by {by}");
        assert!(usage.groups().eq(backwards.groups()), "the order of records counts");
        let total = usage.total();
        assert_eq!((total.calls, total.credits, total.would_refuse), (4, 8, 1));
        assert_eq!(total.latencies.percentile(50), Some(0));
        assert!(total.latencies.percentile(95).is_some_and(|us| (6_880..=7_000).contains(&us)));
    };
    check("agent", &[(&["a"], [2, 1, 0, 1, 8, 20]), (&["b"], [2, 1, 1, 0, 0, 20])]);
    check("day", &[(&["2026-11-19"], [1, 0, 0, 0, 5, 10]), (&["2026-11-20"], [3, 2, 1, 1, 3, 30])]);
    check(
        "tool, agent",
        &[
            (&["x", "a"], [1, 0, 0, 0, 5, 10]),
            (&["x", "b"], [2, 1, 0, 0, 0, 20]),
            (&["y", "a"], [1, 1, 0, 1, 3, 10]),
            (&["y", "b"], [0, 0, 1, 0, 0, 0]),
        ],
    );
    assert!(GroupBy::parse_list("agent,colour").unwrap_err().contains("`colour`"));
}

#[test]
fn a_filter_takes_what_has_everything_it_names() {
    let record = record(
        "",
        Draft { decision: Some(Decision::Allowed), ..ended(Event::Hold, "a", "get_x", "", 1) },
    );
    let pattern = |text: &str| Some(Pattern::parse(text).unwrap());
    let check = |filter: Filter, takes: bool| {
        assert_eq!(filter.takes(&record), takes, "{filter:?}");
    };
    check(Filter::default(), true);
    check(Filter { agent: pattern("a"), tool: pattern("get_*"), ..Filter::default() }, true);
    check(Filter { agent: pattern("b"), ..Filter::default() }, false);
    check(Filter { agent: pattern("a"), server: pattern("t"), ..Filter::default() }, false);
    check(Filter { event: Some(Event::Hold), ..Filter::default() }, true);
    check(Filter { event: Some(Event::Post), ..Filter::default() }, false);
    check(Filter { decision: Some(Decision::Allowed), ..Filter::default() }, true);
    check(Filter { decision: Some(Decision::Refused), ..Filter::default() }, false);
}

#[tokio::test]
async fn records_are_read_backwards_to_a_time() {
    let times = Arc::new(std::sync::atomic::AtomicI64::new(TODAY - DAY));
    let clock = times.clone();
    let clock = Arc::new(move || clock.fetch_add(10_000, std::sync::atomic::Ordering::SeqCst));
    let ledger: Arc<dyn Ledger> = Arc::new(memory::Memory::new("c", clock));
    // More than two pages, some 14 hours, of which some are today.
    records(&ledger, 9_000).await;
    let seen = |since: Option<&str>| {
        let (source, since) =
            (Records::of(&ledger), since.map(|since| filter::since(since, 0).unwrap()));
        async move {
            let mut newest = source.newest_first(since).await.unwrap();
            let mut seen = Vec::new();
            let mut stats = Stats::default();
            while let Some(batch) = newest.next().await.unwrap() {
                assert!(batch.unreadable.is_empty());
                for ParsedRecord { sealed, record } in batch.entries {
                    stats.add(&record);
                    seen.push((sealed.seq, record.at));
                }
            }
            assert!(seen.iter().is_sorted_by(|(a, _), (b, _)| a == &(b + 1)), "the newest first");
            assert_eq!(stats.records, seen.len() as u64);
            assert_eq!(stats.first, seen.last().map(|(_, at)| at.clone()));
            assert_eq!(stats.last, seen.first().map(|(_, at)| at.clone()));
            seen
        }
    };
    assert_eq!(seen(None).await.len(), 9_000);
    let today = seen(Some("2026-11-20")).await;
    let first = &today.last().unwrap().1;
    assert!(first.starts_with("2026-11-20T00:00:"), "{first}");
    assert!(today.len() < 8_000 && today.len() > 100, "{}", today.len());
    assert_eq!(seen(Some("2027-01-01")).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_mirrors_write_every_record_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let ledger = store("c");
    let mirrors: Vec<Mirror> =
        (0..4).map(|_| Mirror::start(path.clone(), &ledger).unwrap()).collect();
    for _ in 0..40 {
        records(&ledger, 100).await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for mirror in mirrors {
        mirror.stop().await;
    }
    assert_eq!(read(&path), lines(&ledger).await);
    assert_eq!(ledger.head().await.unwrap().seq, 4_000);
    let followed = verified(&fs::read(&path).unwrap());
    assert_eq!((followed.records, followed.places), (4_000, Some((1, 4_000))));
    assert_eq!((followed.broken, followed.incomplete, followed.chains), (None, None, 1));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

/// Writes what is missing in a file.
async fn caught_up(path: &Path, ledger: &Arc<dyn Ledger>) -> Vec<String> {
    Mirror::start(path.to_owned(), ledger).unwrap().stop().await;
    read(path)
}

#[tokio::test]
async fn torn_line_of_a_killed_writer_is_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let ledger = store("c");
    records(&ledger, 3).await;
    let whole = caught_up(&path, &ledger).await;
    assert_eq!(whole, lines(&ledger).await);
    let text = fs::read_to_string(&path).unwrap();
    let begins = text.len() - whole[2].len() - whole[1].len() - 2;
    for cut in begins..text.len() {
        fs::write(&path, &text.as_bytes()[..cut]).unwrap();
        assert_eq!(caught_up(&path, &ledger).await, whole, "cut at {cut}");
    }
    // A file that was taken away is made anew, whole.
    fs::remove_file(&path).unwrap();
    records(&ledger, 2).await;
    assert_eq!(caught_up(&path, &ledger).await, lines(&ledger).await);
}

#[tokio::test]
async fn chains_of_several_stores_share_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let stores = [store("one"), store("two"), store("three")];
    for round in 0..3 {
        for ledger in &stores {
            records(ledger, round + 1).await;
            caught_up(&path, ledger).await;
        }
    }
    let found = read(&path);
    assert_eq!(found.len(), 18);
    for ledger in &stores {
        let chain = ledger.head().await.unwrap().chain;
        let own = |line: &&String| line::read(line).is_some_and(|line| line.chain == chain);
        let own: Vec<String> = found.iter().filter(own).cloned().collect();
        assert_eq!(own, lines(ledger).await);
    }
    let followed = verified(&fs::read(&path).unwrap());
    assert_eq!((followed.records, followed.chains, followed.broken), (18, 3, None));
}

#[tokio::test]
async fn restored_older_store_adds_nothing_to_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let ledger = store("c");
    records(&ledger, 5).await;
    let before = caught_up(&path, &ledger).await;
    for known in [3, 9] {
        let other = store("c");
        records(&other, known).await;
        assert_eq!(caught_up(&path, &other).await, before, "{known} records");
    }
}

#[tokio::test]
async fn a_file_that_cannot_follow_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = store("c");
    let check = |path: PathBuf, expected: &str| {
        let error = Mirror::start(path.clone(), &ledger).unwrap_err();
        assert!(error.starts_with(path.to_str().unwrap()), "{error}");
        assert!(error.contains(expected), "{error}");
    };
    check(dir.path().to_owned(), "no regular file");
    check(PathBuf::from("/dev/null"), "no regular file");
    let notes = dir.path().join("notes");
    fs::write(&notes, "dear diary\n").unwrap();
    check(notes.clone(), "move the file away");
    check(notes.join("audit.jsonl"), "File exists");
    assert_eq!(fs::read_to_string(&notes).unwrap(), "dear diary\n");
}

#[tokio::test]
async fn verification_of_a_file_names_the_first_bad_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let ledger = store("c");
    records(&ledger, 12).await;
    let whole = caught_up(&path, &ledger).await;
    let joined = |lines: &[String]| (lines.join("\n") + "\n").into_bytes();
    let bad = |lines: &[String]| verified(&joined(lines)).broken.map(|(seq, _)| seq);
    assert_eq!(verified(&joined(&whole)).records, 12);

    let text = joined(&whole);
    let mut seq = 1;
    for at in 0..text.len() - 1 {
        for bit in [1, 32, 128] {
            let mut flipped = text.clone();
            flipped[at] ^= bit;
            let found = verified(&flipped).broken.map(|(seq, _)| seq);
            assert_eq!(found, Some(seq), "byte {at} of {}", String::from_utf8_lossy(&flipped));
        }
        seq += u64::from(text[at] == b'\n');
    }
    for index in 0..12 {
        let seq = index as u64 + 1;
        let mut lines = whole.clone();
        lines.insert(index, whole[index].clone());
        assert_eq!(bad(&lines), Some(seq + 1), "a duplicate");
        if index < 11 {
            let mut lines = whole.clone();
            lines.swap(index, index + 1);
            // Where a file begins in the middle, only what follows can tell.
            assert_eq!(bad(&lines), Some(if index == 0 { 3 } else { seq }), "a swap");
        }
        if (1..11).contains(&index) {
            let mut lines = whole.clone();
            lines.remove(index);
            assert_eq!(bad(&lines), Some(seq), "a gap");
        }
        let later = verified(&joined(&whole[index..]));
        assert_eq!((later.broken, later.places), (None, Some((seq, 12))), "a later beginning");
    }
    // Made anew in good order, but by another hand: another chain may follow, not go on.
    let other = store("other");
    records(&other, 3).await;
    let other = lines(&other).await;
    assert_eq!(bad(&[&whole[..], &other[..]].concat()), None);
    assert_eq!(bad(&[&whole[..], &other[1..]].concat()), Some(2));

    let torn = verified(&text[..text.len() - 1]);
    assert_eq!((torn.records, torn.broken), (11, None));
    assert!(torn.incomplete.unwrap().contains("within a record"));
    assert!(verified(b"").incomplete.unwrap().contains("no record"));
}
