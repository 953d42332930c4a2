//! What tools cost in tokens, how much of them a budget shows, and how long that takes. Run with
//! `cargo bench --bench tokens`; `docs/benchmarks.md` says what the figures mean.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement that fails may panic, and prints what it measured"
)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};
use tollgate::domain::{
    call::ServerName,
    catalog::{Catalogue, Tool},
    detail::{Detail, Level},
    fit::{Candidate, fit},
    render,
    rendered::{RenderedCatalog, assemble},
    tokens::{Encoding, count},
};

const CAPS: [usize; 4] = [500, 1_000, 2_000, 4_000];

/// Tools in the timings.
const MANY: usize = 350;

/// A server and its tools, as it lists them.
type Listed = (String, Vec<Value>);

fn main() {
    // First, while the tables are not loaded.
    let tables = timed(|| count("a")).0;
    let servers = corpus().unwrap_or_else(installed);
    let shelves: Vec<RenderedCatalog> =
        servers.iter().map(|(name, tools)| shelf(name, tools)).collect();
    levels(&servers, &shelves);
    caps(&servers, &shelves);
    timing(&servers, tables);
    handshake();
}

fn corpus() -> Option<Vec<Listed>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let mut found: Vec<Listed> = fs::read_dir(dir)
        .ok()?
        .flatten()
        .map(|entry| {
            let file: Value = serde_json::from_slice(&fs::read(entry.path()).unwrap()).unwrap();
            let tools = file["tools"].as_array().unwrap().clone();
            (file["server"].as_str().unwrap().to_owned(), tools)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    println!("Servers: a corpus of {} real ones.\n", found.len());
    Some(found)
}

/// The servers that `scripts/test` installs at pinned versions, as Tollgate's own cache keeps them.
fn installed() -> Vec<Listed> {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let node = |package: &str, args: &[&str]| {
        let script = clients.join("node_modules/@modelcontextprotocol").join(package);
        let mut all = vec![script.join("dist/index.js").display().to_string()];
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        json!({"command": clients.join("node_modules/.bin/node"), "args": all})
    };
    let python = |name: &str| json!({"command": clients.join(".venv/bin").join(name)});
    let dir = tempfile::tempdir().unwrap();
    let settings = json!({"mcpServers": {
        "everything": node("server-everything", &[]),
        "filesystem": node("server-filesystem", &["."]),
        "memory": node("server-memory", &[]),
        "git": python("mcp-server-git"),
        "time": python("mcp-server-time"),
    }});
    fs::write(dir.path().join(".mcp.json"), settings.to_string()).unwrap();
    let out = tollgate(env!("CARGO_BIN_EXE_tollgate"), dir.path())
        .args(["tokens", "--json"])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    println!("Servers: those installed under tests/clients.\n");
    let mut files = Vec::new();
    collect(&dir.path().join(".cache"), &mut files);
    let names = report["servers"].as_array().unwrap().iter().map(|s| s["server"].as_str().unwrap());
    names
        .map(|name| {
            let is_its = |path: &&PathBuf| {
                path.file_name().unwrap().to_string_lossy().starts_with(&format!("{name}-"))
            };
            let Some(file) = files.iter().find(is_its) else {
                panic!("`{name}` is not installed; run scripts/test once: {report}")
            };
            let kept: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
            let tools = kept["tools"].as_array().unwrap().iter();
            (name.to_owned(), tools.map(|tool| tool["definition"].clone()).collect())
        })
        .collect()
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path().is_dir() {
            true => collect(&entry.path(), into),
            false => into.push(entry.path()),
        }
    }
}

/// The binary, with nothing of the user's.
fn tollgate(binary: &str, home: &Path) -> Command {
    let mut command = Command::new(binary);
    command.current_dir(home).env("HOME", home).stderr(Stdio::null());
    for variable in ["XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "GATEWAY_DEFAULT_AGENT"]
    {
        command.env_remove(variable);
    }
    command
}

fn catalogue(tools: &[Value]) -> Arc<Catalogue> {
    Arc::new(Catalogue::new(tools.iter().filter_map(|tool| Tool::parse(tool.clone()).ok())))
}

fn shelf(server: &str, tools: &[Value]) -> RenderedCatalog {
    RenderedCatalog::new(&ServerName::from(server), catalogue(tools), Encoding::O200k, |_| None)
}

fn candidates(shelf: &RenderedCatalog) -> Vec<Candidate<'_>> {
    let server = shelf.server();
    shelf.tools().iter().map(|tool| Candidate { tool, server, price: None }).collect()
}

/// Tokens of whole servers: raw, and at each level of ours.
fn levels(servers: &[Listed], shelves: &[RenderedCatalog]) {
    println!("| server | tools | raw | full | signature | summary | names |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let mut total = [0; 6];
    for ((name, tools), shelf) in servers.iter().zip(shelves) {
        let raw: usize = shelf.tools().iter().map(|tool| tool.costs().raw as usize).sum();
        let [l1, l2, l3, l4] =
            [Level::Full, Level::Signature, Level::Summary, Level::Names].map(|level| {
                let all = fit(&candidates(shelf), Detail::AtMost(level), usize::MAX, false);
                let (text, tokens) = assemble(&all, false);
                tokens.unwrap_or_else(|| count(&text))
            });
        let row = [tools.len(), raw, l1, l2, l3, l4];
        print_row(name, &row.map(|n| n.to_string()));
        total.iter_mut().zip(row).for_each(|(sum, n)| *sum += n);
    }
    print_row("**all**", &total.map(|n| n.to_string()));
    let share = |tokens: usize| format!("{:.1} %", 100.0 * tokens as f64 / total[1] as f64);
    let shares = [total[1], total[2], total[3], total[4], total[5]].map(share);
    println!("| share of raw | | {} |\n", shares.join(" | "));
}

fn print_row(name: &str, cells: &[String]) {
    println!("| {name} | {} |", cells.join(" | "));
}

/// What each cap shows: tools by the older rule, ours visible and callable. Where the older rule
/// has more tools that can be called, it wins.
fn caps(servers: &[Listed], shelves: &[RenderedCatalog]) {
    println!(
        "Tools shown by the older rule / visible / callable; **bold** where the older rule wins.\n"
    );
    println!("| server | tools | {} |", CAPS.map(|cap| cap.to_string()).join(" | "));
    println!("|---|---:|{}", "---:|".repeat(CAPS.len()));
    let mut total = [[0; 3]; CAPS.len()];
    let (mut tools, mut lost) = (0, [0; CAPS.len()]);
    for ((name, listed), shelf) in servers.iter().zip(shelves) {
        tools += listed.len();
        let mut cells = vec![listed.len().to_string()];
        for (at, cap) in CAPS.into_iter().enumerate() {
            let placed = fit(&candidates(shelf), Detail::Auto, cap, false);
            let callable = placed.iter().filter(|tool| tool.level >= Level::Signature).count();
            let row = [older_rule(listed, cap), placed.len(), callable];
            total[at].iter_mut().zip(row).for_each(|(sum, n)| *sum += n);
            lost[at] += usize::from(row[0] > callable);
            let cell = row.map(|n| n.to_string()).join(" / ");
            cells.push(if row[0] > callable { format!("**{cell}**") } else { cell });
        }
        print_row(name, &cells);
    }
    let percent = |n: usize| format!("{:.1}", 100.0 * n as f64 / tools as f64);
    let sums = total.map(|row| row.map(percent).join(" / ")).join(" | ");
    println!("| **all**, % | {tools} | {sums} |");
    println!(
        "| servers where the older rule wins | {} | {} |\n",
        servers.len(),
        lost.map(|n| n.to_string()).join(" | ")
    );
}

/// The older rule: whole JSON tools in order, until the budget is exceeded.
fn older_rule(tools: &[Value], cap: usize) -> usize {
    let mut used = 0;
    let fits = |tool: &&Value| {
        let Some(tool) = tool.as_object() else { return false };
        let kept = ["name", "description", "inputSchema"];
        let whole: Map<String, Value> =
            kept.iter().filter_map(|k| Some(((*k).to_owned(), tool.get(*k)?.clone()))).collect();
        used += count(&Value::Object(whole).to_string());
        used <= cap
    };
    tools.iter().take_while(fits).count()
}

/// Timings over 350 tools from all servers, a mixture, and over the greatest server.
fn timing(servers: &[Listed], tables: Duration) {
    let all: Vec<&Value> = servers.iter().flat_map(|(_, tools)| tools).collect();
    // Prime to any likely number of tools, so that all servers take part.
    let mixed: Vec<Value> = (0..MANY)
        .map(|i| {
            let mut tool = all[i * 7_919 % all.len()].clone();
            tool["name"] = format!("{}_{i}", tool["name"].as_str().unwrap()).into();
            tool
        })
        .collect();
    let greatest = servers.iter().max_by_key(|(_, tools)| tools.len()).unwrap();
    println!(
        "| median of many runs | {MANY} mixed tools | {} ({}) |",
        greatest.0,
        greatest.1.len()
    );
    println!("|---|---:|---:|");
    let [mixed, greatest] = [&mixed, &greatest.1].map(|tools| timings(tools));
    for ((name, mixed), (_, greatest)) in mixed.iter().zip(&greatest) {
        println!("| {name} | {} | {} |", millis(*mixed), millis(*greatest));
    }
    println!("| loading the tokenizer's tables, once | {} | |\n", millis(tables));
}

fn timings(tools: &[Value]) -> Vec<(&'static str, Duration)> {
    let catalogue = catalogue(tools);
    let name = ServerName::from("s");
    let (cold, shelf) =
        timed(|| RenderedCatalog::new(&name, catalogue.clone(), Encoding::O200k, |_| None));
    let kept: std::collections::HashMap<_, _> =
        shelf.tools().iter().map(|tool| (tool.name().clone(), tool.costs().clone())).collect();
    let known = |tool: &Tool| kept.get(tool.name()).cloned();
    let warm = || RenderedCatalog::new(&name, catalogue.clone(), Encoding::O200k, known);
    let answer = |cap: usize| {
        let placed = fit(&candidates(&shelf), Detail::Auto, cap, false);
        let (text, tokens) = assemble(&placed, false);
        assert!(tokens.is_some() && !text.is_empty());
    };
    // As after a start, when the counts come from the disk.
    let first = |cap: usize| {
        let shelf = warm();
        let placed = fit(&candidates(&shelf), Detail::Auto, cap, false);
        assert!(assemble(&placed, false).1.is_some());
    };
    let signatures = || {
        let line = |tool: &Tool| {
            render::signature(
                tool.name().as_str(),
                tool.effect(),
                tool.description(),
                &tool.input_schema(),
            )
            .len()
        };
        catalogue.tools().iter().map(|tool| line(tool)).sum::<usize>()
    };
    vec![
        ("fitting and assembling an answer of 1,000 tokens", median(200, || answer(1_000))),
        ("the same of 4,000 tokens", median(200, || answer(4_000))),
        ("the same of 100,000 tokens", median(100, || answer(100_000))),
        ("rendering all signatures", median(50, signatures)),
        (
            "rendering and fitting for the first time, counts known: 1,000 tokens",
            median(50, || first(1_000)),
        ),
        ("the same of 4,000 tokens", median(50, || first(4_000))),
        ("the same of 100,000 tokens", median(50, || first(100_000))),
        ("rendering and counting all levels, nothing known (one run)", cold),
    ]
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let done = work();
    (begun.elapsed(), done)
}

fn median<T>(runs: usize, mut work: impl FnMut() -> T) -> Duration {
    let mut all: Vec<Duration> = (0..runs)
        .map(|_| {
            // The results are dropped outside.
            let (took, _made) = timed(&mut work);
            took
        })
        .collect();
    all.sort();
    all[runs / 2]
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1_000.0)
}

/// From the start of the process to its answer to `initialize`, with 70 servers configured, and the
/// memory it holds then; of another binary as well, if one is given as an argument.
fn handshake() {
    const RUNS: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    let server = json!({"command": "/no/such/program", "args": ["--flag"], "env": {"A": "b"}});
    let servers: Map<String, Value> = (0..70).map(|i| (format!("s{i}"), server.clone())).collect();
    let settings = json!({"mcpServers": servers});
    fs::write(dir.path().join(".mcp.json"), settings.to_string()).unwrap();
    let other = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    println!(
        "| median of {RUNS} starts with 70 servers | to the handshake | resident memory then |"
    );
    println!("|---|---:|---:|");
    for binary in [Some(env!("CARGO_BIN_EXE_tollgate").to_owned()), other].into_iter().flatten() {
        let runs = (0..RUNS).map(|_| shake_hands(&binary, dir.path()));
        let (mut times, mut memory): (Vec<Duration>, Vec<u64>) = runs.unzip();
        times.sort();
        memory.sort_unstable();
        // None is measured on systems without /proc.
        let megabytes = memory[RUNS / 2] as f64 / 1_000.0;
        let name = Path::new(&binary).file_name().unwrap_or_default().to_string_lossy();
        println!("| `{name}` | {} | {megabytes:.1} MB |", millis(times[RUNS / 2]));
    }
}

/// Starts the gateway, shakes hands, ends it: the time that took, and its resident memory in
/// kilobytes.
fn shake_hands(binary: &str, dir: &Path) -> (Duration, u64) {
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    let mut command = tollgate(binary, dir);
    command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped());
    let begun = Instant::now();
    let mut process = command.spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    writeln!(stdin, "{hello}").unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let took = begun.elapsed();
    assert!(line.contains("\"serverInfo\""), "{line}");
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap_or_default();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    process.kill().unwrap();
    process.wait().unwrap();
    (took, memory.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0))
}
