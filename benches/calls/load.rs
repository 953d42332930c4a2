//! Calls on all ways, in turns: every round starts all of them anew, and within a round each load is
//! put on one after the other, in an order that rotates, so that what else the machine does meets
//! all alike.

use std::{path::Path, time::Duration};

use serde_json::{Map, Value, json};

use super::{
    Plan,
    client::{Batch, Client},
    median,
    way::{SERVERS, Way, write_settings},
};

struct Load {
    name: &'static str,
    tool: &'static str,
    /// Bytes of text, which go both ways with `echo` and `record`, and only back with `payload`.
    bytes: usize,
    /// Rows of structured arguments, of about 75 bytes each, which only go there.
    rows: usize,
    in_flight: usize,
    calls: usize,
}

const fn echo(name: &'static str, in_flight: usize, calls: usize) -> Load {
    Load { name, tool: "echo", bytes: 20, rows: 0, in_flight, calls }
}

const fn payload(name: &'static str, bytes: usize, calls: usize) -> Load {
    Load { name, tool: "payload", bytes, rows: 0, in_flight: 1, calls }
}

/// Which loads the table about structured arguments compares.
const TWENTY_BYTES: usize = 0;
const TWENTY_KILOBYTES: usize = 3;

const LOADS: [Load; 7] = [
    echo("1 in flight", 1, 1_000),
    echo("16 in flight", 16, 4_000),
    echo("64 in flight", 64, 4_000),
    Load {
        name: "20 kB arguments",
        tool: "record",
        bytes: 20,
        rows: 270,
        in_flight: 1,
        calls: 500,
    },
    payload("10 kB result", 10_000, 300),
    payload("100 kB result", 100_000, 100),
    payload("1 MB result", 1_000_000, 20),
];

/// Calls before the first that counts.
const WARM_UP: usize = 200;

/// What one load on one way came to in one round, in microseconds and per call.
#[derive(Clone, Copy)]
struct Figures {
    p50: f64,
    p95: f64,
    p99: f64,
    rate: f64,
    processor: f64,
    sleeps: f64,
}

/// Measures and prints the tables.
pub(super) fn measure(plan: &Plan, ways: &[Way], home: &Path) {
    write_settings(home, plan.era, Map::new(), SERVERS);
    // By load, then by way, then by round.
    let mut all: Vec<Vec<Vec<Figures>>> = vec![vec![Vec::new(); ways.len()]; LOADS.len()];
    for round in 0..plan.rounds {
        eprintln!("round {} of {}", round + 1, plan.rounds);
        let mut clients: Vec<Client> = ways.iter().map(|way| ready(way, plan, home)).collect();
        for (load, rows) in LOADS.iter().zip(&mut all) {
            for turn in 0..ways.len() {
                let at = (round + turn) % ways.len();
                let calls = if plan.quick { (load.calls / 10).max(5) } else { load.calls };
                rows[at].push(put(load, calls, &ways[at], &mut clients[at]));
            }
        }
    }
    println!(
        "| load | way | p50, µs | p95, µs | p99, µs | calls/s | processor, µs/call | sleeps/call | added, × pass-through |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|");
    for (load, rows) in LOADS.iter().zip(&all) {
        for (way, rounds) in ways.iter().zip(rows) {
            println!("{}", row(load, way, rounds, rows));
        }
    }
    println!();
    structured(ways, &all);
    for (at, way) in ways.iter().enumerate().filter(|(_, way)| way.is_other_binary()) {
        against(way, at, &all);
    }
}

/// What structured arguments cost beyond few, within each round.
fn structured(ways: &[Way], all: &[Vec<Vec<Figures>>]) {
    let (few, many) = (&all[TWENTY_BYTES], &all[TWENTY_KILOBYTES]);
    let more = |at: usize, figure: fn(&Figures) -> f64| {
        let pairs = many[at].iter().zip(&few[at]);
        median(pairs.map(|(many, few)| figure(many) - figure(few)).collect())
    };
    println!(
        "| 20 kB of structured arguments, more than 20 bytes | p50, µs | without what direct calls take, µs | processor, µs/call |"
    );
    println!("|---|---:|---:|---:|");
    for (at, way) in ways.iter().enumerate() {
        let p50 = more(at, |f| f.p50);
        let beyond = p50 - more(0, |f| f.p50);
        println!("| {} | {p50:.0} | {beyond:.0} | {:.0} |", way.name, more(at, |f| f.processor));
    }
    println!();
}

/// How this build compares with another binary, load by load: ratios are taken within each round, and
/// their range is the noise.
fn against(other: &Way, at: usize, all: &[Vec<Vec<Figures>>]) {
    println!("| tollgate ÷ {} | p50 | range of the rounds | calls/s | processor |", other.name);
    println!("|---|---:|---:|---:|---:|");
    for (load, rows) in LOADS.iter().zip(all) {
        let ratios = |figure: fn(&Figures) -> f64| -> Vec<f64> {
            let pairs = rows[Way::OURS_AT].iter().zip(&rows[at]);
            pairs.map(|(ours, theirs)| figure(ours) / figure(theirs)).collect()
        };
        let p50 = ratios(|f| f.p50);
        let (low, high) = p50
            .iter()
            .fold((f64::MAX, 0.0_f64), |(low, high), ratio| (low.min(*ratio), high.max(*ratio)));
        let (rate, processor) = (median(ratios(|f| f.rate)), median(ratios(|f| f.processor)));
        let p50 = median(p50);
        println!("| {} | {p50:.2} | {low:.2}–{high:.2} | {rate:.2} | {processor:.2} |", load.name);
    }
    println!();
}

/// Started, shaken hands with, and warm.
fn ready(way: &Way, plan: &Plan, home: &Path) -> Client {
    let mut client = Client::start(way.command(home, plan.era), plan.era);
    client.shake_hands();
    for load in &LOADS {
        let text = client.call(&load.params(way));
        assert_eq!(text.len(), load.bytes, "{way:?}");
    }
    client.batch(&LOADS[1].params(way), WARM_UP, LOADS[1].in_flight, LOADS[1].bytes);
    client
}

impl Load {
    fn params(&self, way: &Way) -> Value {
        let arguments = match self.tool {
            "echo" => json!({"text": "x".repeat(self.bytes)}),
            "record" => json!({"text": "x".repeat(self.bytes), "rows": rows(self.rows)}),
            _ => json!({"bytes": self.bytes}),
        };
        way.call(self.tool, &arguments)
    }
}

/// Objects of several types, as an agent writes them into a table.
fn rows(count: usize) -> Vec<Value> {
    let row = |i: usize| {
        let name = format!("item {i:03}");
        json!({"id": i, "name": name, "tags": ["red", "round"], "score": i as f64 / 4.0, "open": true})
    };
    (100..100 + count).map(row).collect()
}

fn put(load: &Load, calls: usize, way: &Way, client: &mut Client) -> Figures {
    let Batch { mut latencies, whole, spent } =
        client.batch(&load.params(way), calls, load.in_flight, load.bytes);
    latencies.sort_unstable();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let at = |percent: usize| micros(latencies[(calls - 1) * percent / 100]);
    Figures {
        p50: at(50),
        p95: at(95),
        p99: at(99),
        rate: calls as f64 / whole.as_secs_f64(),
        processor: micros(spent.processor) / calls as f64,
        sleeps: spent.sleeps as f64 / calls as f64,
    }
}

fn row(load: &Load, way: &Way, rounds: &[Figures], rows: &[Vec<Figures>]) -> String {
    let of = |figure: fn(&Figures) -> f64| median(rounds.iter().map(figure).collect());
    // Within each round, since those of one round met the same machine.
    let added = |way: &[Figures]| {
        let pairs = way.iter().zip(&rows[0]).map(|(way, direct)| way.p50 - direct.p50);
        median(pairs.collect())
    };
    let ratio = match added(rounds) / added(&rows[1]) {
        ratio if std::ptr::eq(rounds, rows[0].as_slice()) || !ratio.is_finite() => "–".to_owned(),
        ratio => format!("{ratio:.2}"),
    };
    format!(
        "| {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {:.2} | {ratio} |",
        load.name,
        way.name,
        of(|f| f.p50),
        of(|f| f.p95),
        of(|f| f.p99),
        of(|f| f.rate),
        of(|f| f.processor),
        of(|f| f.sleeps),
    )
}
