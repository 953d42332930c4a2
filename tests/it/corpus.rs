//! The renderer and the fit over the real tool schemas of real servers, where `../shared/corpus` is.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    sync::Arc,
    thread,
};

use serde_json::{Map, Value};
use tollgate::domain::{
    call::ServerName,
    catalog::{Catalogue, Tool},
    credits::Credits,
    detail::{Detail, Level},
    fit::{Candidate, fit},
    render,
    rendered::{RenderedCatalog, ShownTool, assemble},
    tokens::{Encoding, count},
};

/// Every server of the corpus: its name and its tools. Without one the test says that it is skipped, and fails in CI.
fn corpus() -> Vec<(String, Vec<Value>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let Ok(entries) = fs::read_dir(&dir) else {
        let why = "skipped: there is no corpus of real servers at ../shared/corpus";
        assert!(std::env::var_os("CI").is_none(), "{why}, and CI is set");
        // Past the harness, which keeps what a passing test prints to itself.
        let name = thread::current().name().unwrap_or_default().to_owned();
        let line = format!("test {name} ... {why}\n");
        io::stderr().write_all(line.as_bytes()).unwrap();
        return Vec::new();
    };
    let mut found: Vec<_> = entries
        .flatten()
        .map(|entry| {
            let file: Value = serde_json::from_slice(&fs::read(entry.path()).unwrap()).unwrap();
            let tools = file["tools"].as_array().unwrap().clone();
            (file["server"].as_str().unwrap().to_owned(), tools)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(found.len() >= 30, "the corpus has shrunk");
    found
}

fn catalogue(tools: &[Value]) -> Arc<Catalogue> {
    Arc::new(Catalogue::new(tools.iter().map(|tool| Tool::parse(tool.clone()).unwrap())))
}

fn shelf(server: &str, tools: &[Value]) -> RenderedCatalog {
    RenderedCatalog::new(&ServerName::from(server), catalogue(tools), Encoding::O200k, |_| None)
}

fn candidates(shelf: &RenderedCatalog) -> Vec<Candidate<'_>> {
    let server = shelf.server();
    shelf.tools().iter().map(|tool| Candidate { tool, server, price: None }).collect()
}

/// The same with a price on every third tool: 0, 1, 11, 111, …, of up to sixteen digits.
fn priced(shelf: &RenderedCatalog) -> Vec<Candidate<'_>> {
    let mut candidates = candidates(shelf);
    for (index, candidate) in candidates.iter_mut().step_by(3).enumerate() {
        let digits = u32::try_from(index % 17).unwrap();
        candidate.price = Credits::new(10_u64.pow(digits) / 9);
    }
    candidates
}

/// The older rule: whole JSON tools in order, until the budget is exceeded.
fn older_rule(tools: &[Value], cap: usize) -> usize {
    let mut used = 0;
    let whole = tools.iter().map(|tool| {
        let Some(tool) = tool.as_object() else { return 0 };
        let kept = ["name", "description", "inputSchema"];
        let object: Map<String, Value> =
            kept.iter().filter_map(|k| Some(((*k).to_owned(), tool.get(*k)?.clone()))).collect();
        count(&Value::Object(object).to_string())
    });
    let fits = |cost: &usize| {
        used += cost;
        used <= cap
    };
    whole.take_while(fits).count()
}

/// Every placed tool is named: in an item of its own, or in the one last line of names.
fn check_names(placed: &[ShownTool<'_>], array: &[Value], prefixed: bool) {
    let name = |placed: &ShownTool<'_>| match prefixed {
        true => format!("{}/{}", placed.server, placed.tool.name()),
        false => placed.tool.name().to_string(),
    };
    let (mentioned, own): (Vec<_>, Vec<_>) =
        placed.iter().partition(|placed| placed.level == Level::Mention);
    assert_eq!(array.len(), own.len() + usize::from(!mentioned.is_empty()));
    for (placed, item) in own.iter().zip(array) {
        let item = item.as_str().or(item["name"].as_str()).unwrap();
        assert!(item.starts_with(&name(placed)), "{item}");
    }
    if !mentioned.is_empty() {
        let names: Vec<String> = mentioned.iter().map(name).collect();
        assert_eq!(array.last().unwrap().as_str().unwrap(), names.join(" "));
    }
}

fn is_callable(placed: &ShownTool<'_>) -> bool {
    placed.level >= Level::Signature
}

#[test]
fn tokens_used_is_exact_and_within_the_cap() {
    let mut tools = 0;
    let (mut visible, mut callable, mut older) = (0, 0, 0);
    for (server, definitions) in corpus() {
        let shelf = shelf(&server, &definitions);
        tools += definitions.len();
        for cap in [0, 50, 200, 500, 1000, 2000, 4000] {
            for (prefixed, detail) in
                [(false, Detail::Auto), (true, Detail::Auto), (false, Detail::AtMost(Level::Full))]
            {
                let placed = fit(&candidates(&shelf), detail, cap, prefixed);
                let (text, tokens) = assemble(&placed, prefixed);
                let tokens = tokens.expect("every real name begins with a letter");
                let independent = if cap == 0 { 0 } else { count(&text) };
                assert_eq!(tokens, independent, "{server} at {cap}, prefixed {prefixed}");
                assert!(tokens <= cap, "{server}: {tokens} tokens at {cap}");
                let array: Value = serde_json::from_str(&text).unwrap();
                check_names(&placed, array.as_array().unwrap(), prefixed);
                let named = placed.len() == definitions.len();
                assert!(named || cap < 2000 || definitions.len() > 250, "{server} at {cap}");
                if cap == 1000 && !prefixed && detail == Detail::Auto {
                    visible += placed.len();
                    callable += placed.iter().filter(|placed| is_callable(placed)).count();
                    older += older_rule(&definitions, cap);
                }
            }
        }
    }
    eprintln!(
        "at 1,000 tokens, of {tools} tools: {visible} visible, {callable} callable; the older rule shows {older}"
    );
    assert!(visible * 100 >= tools * 85, "{visible} of {tools} visible");
    assert!(callable * 100 >= tools * 35, "{callable} of {tools} callable");
}

#[test]
fn other_encodings_add_up_as_well() {
    for (server, definitions) in corpus().into_iter().filter(|(server, _)| server != "ms365") {
        let name = ServerName::from(server.as_str());
        let shelf =
            RenderedCatalog::new(&name, catalogue(&definitions), Encoding::Cl100k, |_| None);
        for cap in [500, 4000, 12_000] {
            for candidates in [candidates(&shelf), priced(&shelf)] {
                let (text, tokens) = assemble(&fit(&candidates, Detail::Auto, cap, true), true);
                assert_eq!(tokens, Some(Encoding::Cl100k.count(&text)), "{server} at {cap}");
            }
        }
    }
}

#[test]
fn signatures_with_prices_add_up_as_well() {
    let mut told = 0;
    for (server, definitions) in corpus() {
        let shelf = shelf(&server, &definitions);
        for cap in [200, 1000, 4000, 12_000] {
            for (prefixed, level) in
                [(false, Level::Signature), (true, Level::Signature), (false, Level::Full)]
            {
                let placed = fit(&priced(&shelf), Detail::AtMost(level), cap, prefixed);
                let (text, tokens) = assemble(&placed, prefixed);
                assert_eq!(tokens, Some(count(&text)), "{server} at {cap}, prefixed {prefixed}");
                assert!(count(&text) <= cap, "{server} at {cap}");
                told += check_prices(&placed, &text);
            }
        }
    }
    assert!(told > 1_000 || corpus().is_empty(), "only {told} prices were shown");
}

/// Every tool with a price tells it, in its line or its description, and no other does; answers how
/// many did.
fn check_prices(placed: &[ShownTool<'_>], text: &str) -> usize {
    let array: Vec<Value> = serde_json::from_str(text).unwrap();
    let own = placed.iter().filter(|placed| placed.level != Level::Mention);
    let mut told = 0;
    for (placed, item) in own.zip(&array) {
        let line = item.as_str().or(item["description"].as_str()).unwrap_or_default();
        match placed.price {
            Some(price) => assert!(line.ends_with(&render::price_tag(price)), "{line}"),
            None => assert!(!line.ends_with(" credits"), "{line}"),
        }
        told += usize::from(placed.price.is_some());
    }
    told
}

#[test]
fn auto_answers_whole_objects_whenever_all_fit() {
    for (server, definitions) in corpus() {
        let shelf = shelf(&server, &definitions);
        let at = |cap: usize| fit(&candidates(&shelf), Detail::Auto, cap, false);
        let whole = at(usize::MAX);
        assert!(whole.iter().all(|placed| placed.level == Level::Full), "{server}");
        let (text, tokens) = assemble(&whole, false);
        let array: Vec<Value> = serde_json::from_str(&text).unwrap();
        for (item, definition) in array.iter().zip(&definitions) {
            let keys: Vec<&String> = item.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["name", "description", "inputSchema"], "{server}");
            assert_eq!(item["name"], definition["name"]);
        }
        assert!(at(tokens.unwrap()).iter().all(|placed| placed.level == Level::Full), "{server}");
        let lower = at(tokens.unwrap() - 1);
        assert!(lower.iter().all(|placed| placed.level < Level::Full), "{server}");
    }
}

#[test]
fn signatures_keep_every_fact_in_few_tokens() {
    let (mut signatures, mut full, mut json) = (0, 0, 0);
    let mut facts = 0;
    for (server, definitions) in corpus() {
        for definition in &definitions {
            let tool = Tool::parse(definition.clone()).unwrap();
            let name = tool.name().as_str();
            let line =
                render::signature(name, tool.effect(), tool.description(), &tool.input_schema());
            facts += check_kept(&format!("{server}/{name}"), &line, &tool.input_schema());
            signatures += count(&line);
            full +=
                count(&render::full(name, tool.description(), &tool.input_schema()).to_string());
            json += count(&tool.full().to_string());
        }
    }
    eprintln!(
        "signatures {signatures}, full {full}, compact JSON {json} tokens; {facts} facts kept"
    );
    assert!(signatures * 100 <= json * 20, "signatures take {signatures} of {json}");
    assert!(full * 100 <= json * 92, "full takes {full} of {json}");
}

/// Looks for every parameter, however deep, in the line; answers how many facts were looked for.
fn check_kept(tool: &str, line: &str, schema: &Value) -> usize {
    let mut facts = 0;
    let mut check = |fact: String| {
        facts += 1;
        assert!(line.contains(&fact), "{tool}: `{fact}` is not in {line}");
    };
    let mut open = vec![(schema, 0)];
    while let Some((schema, depth)) = open.pop() {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            let required: Vec<&str> = schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            for (key, property) in properties {
                let needed = required.contains(&key.as_str()) && property.get("default").is_none();
                let mark = if needed { "" } else { "?" };
                check(format!("{key}{mark}: "));
                if let Some(default) = property.get("default").filter(|value| !value.is_null()) {
                    check(format!(" = {default}"));
                }
                for value in property.get("enum").and_then(Value::as_array).into_iter().flatten() {
                    check(value.to_string());
                }
                open.push((property, depth + 1));
            }
        }
        let single =
            ["items", "additionalProperties"].into_iter().filter_map(|key| schema.get(key));
        let many =
            ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|key| schema.get(key)?.as_array());
        open.extend(single.chain(many.flatten()).map(|schema| (schema, depth + 1)));
    }
    facts
}
