//! Signatures with prices: how they read, and that their tokens add up.

use std::sync::Arc;

use proptest::{
    prelude::*,
    sample::select,
    test_runner::{RngSeed, TestCaseError},
};
use serde_json::json;

use super::*;
use crate::domain::{
    detail::Detail,
    fit::{Candidate, fit},
};

const ENCODINGS: [Encoding; 2] = [Encoding::O200k, Encoding::Cl100k];

fn rendered(tools: &[Value], encoding: Encoding) -> RenderedCatalog {
    let tools = tools.iter().map(|tool| Tool::parse(tool.clone()).unwrap());
    let counted =
        RenderedCatalog::new(&"db".into(), Arc::new(Catalogue::new(tools)), encoding, |_| None);
    // A warm gateway has only the kept counts.
    let known = |tool: &Tool| {
        let counted = counted.tools().iter().find(|counted| counted.name() == tool.name())?;
        serde_json::from_value(serde_json::to_value(counted.costs()).unwrap()).unwrap()
    };
    RenderedCatalog::new(&"db".into(), counted.catalogue().clone(), encoding, known)
}

fn placed<'a>(
    rendered: &'a RenderedCatalog,
    levels: &[Level],
    prices: &'a [Option<Credits>],
) -> Vec<ShownTool<'a>> {
    let server = rendered.server();
    let shown = rendered.tools().iter().zip(levels).zip(prices);
    shown.map(|((tool, &level), &price)| ShownTool { tool, server, level, price }).collect()
}

/// One tool, priced, as it is shown.
#[track_caller]
fn check(tool: Value, level: Level, prefixed: bool, expected: &str) {
    for encoding in ENCODINGS {
        let rendered = rendered(std::slice::from_ref(&tool), encoding);
        let prices = [Credits::new(5)];
        let (text, tokens) = assemble(&placed(&rendered, &[level], &prices), prefixed);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()[0].as_str(), Some(expected));
        assert_eq!(tokens, Some(encoding.count(&text)), "{text}");
    }
}

#[test]
fn price_stands_behind_every_line_of_its_own() {
    let tool = json!({
        "name": "find",
        "description": "Finds things. And more.",
        "inputSchema": {"type": "object", "properties": {"n": {"type": "integer"}}},
    });
    let signature = "find(n?: integer) — Finds things. — 5 credits";
    check(tool.clone(), Level::Signature, false, signature);
    check(tool.clone(), Level::Signature, true, &format!("db/{signature}"));
    check(tool.clone(), Level::Summary, false, "find — Finds things. — 5 credits");
    check(tool.clone(), Level::Names, false, "find — 5 credits");
    check(tool.clone(), Level::Names, true, "db/find — 5 credits");
    check(tool, Level::Mention, false, "find");
}

#[test]
fn price_stands_behind_the_description_of_an_object() {
    let descriptions =
        ["Finds things. And more.", "", "a \"b\",\"inputSchema\":{}", "ends in \\", "a\n"];
    for (description, schema) in descriptions
        .into_iter()
        .flat_map(|text| [json!({}), json!({"type": "object"})].map(|schema| (text, schema)))
    {
        let tool = json!({"name": "find", "description": description, "inputSchema": schema});
        for (encoding, prefixed) in ENCODINGS.into_iter().flat_map(|e| [(e, false), (e, true)]) {
            let rendered = rendered(std::slice::from_ref(&tool), encoding);
            let prices = [Credits::new(5)];
            let (text, tokens) = assemble(&placed(&rendered, &[Level::Full], &prices), prefixed);
            let shown: Value = serde_json::from_str(&text).unwrap();
            let expected = format!("{} — 5 credits", description.trim_end());
            assert_eq!(shown[0]["description"], expected);
            assert_eq!(shown[0]["inputSchema"], tool["inputSchema"]);
            assert_eq!(tokens, Some(encoding.count(&text)), "{text}");
        }
    }
}

#[test]
fn price_after_a_trailing_space_is_counted_right() {
    let schema = json!({
        "type": "object",
        "properties": {"n": {"$ref": "#/$defs/z"}},
        "$defs": {
            "a ": {"type": "object", "properties": {"x": {"$ref": "#/$defs/a "}}},
            "z": {"anyOf": [{"$ref": "#/$defs/z"}, {"$ref": "#/$defs/a "}]},
        },
    });
    let plain = render::signature("f", None, "", &schema);
    assert!(plain.ends_with("z = z|a "), "{plain:?}");
    let tool = json!({"name": "f", "inputSchema": schema});
    check(tool, Level::Signature, false, &format!("{} — 5 credits", plain.trim_end()));
}

#[test]
fn what_follows_a_price_adds_up_as_well() {
    let amounts = (0..=1_000).chain((0..=53).map(|bits| (1 << bits) - 1));
    for price in amounts.filter_map(Credits::new) {
        for (encoding, next) in ENCODINGS.into_iter().flat_map(|e| Next::ALL.map(|s| (e, s))) {
            let text = format!("{}\"{}", render::price_tag(price), next.separator());
            let closing = encoding.count(&format!("\"{}", next.separator()));
            let tokens = render::price_tag_tokens(price) + closing;
            assert_eq!(tokens, encoding.count(&text), "{text}, {encoding:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        rng_seed: RngSeed::Fixed(0x7011_6a7e),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn tokens_of_priced_answers_are_counted_exactly(
        tools in prop::collection::vec(tool(), 1..6),
        levels in prop::collection::vec(select(&LEVELS), 6),
        prices in prop::collection::vec(price(), 6),
        cap in 1..400_usize,
        detail in select(&Detail::WORDS).prop_map(|(_, detail)| detail),
        prefixed: bool,
    ) {
        for encoding in ENCODINGS {
            let rendered = rendered(&tools, encoding);
            check_count(&placed(&rendered, &levels, &prices), prefixed, encoding)?;
            let server = rendered.server();
            let candidates = rendered.tools().iter().zip(&prices);
            let candidates: Vec<Candidate<'_>> = candidates
                .map(|(tool, &price)| Candidate { tool, server, price })
                .collect();
            let fitted = fit(&candidates, detail, cap, prefixed);
            let tokens = check_count(&fitted, prefixed, encoding)?;
            prop_assert!(tokens <= cap, "{} tokens at {}", tokens, cap);
        }
    }
}

const LEVELS: [Level; 5] =
    [Level::Mention, Level::Names, Level::Summary, Level::Signature, Level::Full];

fn check_count(
    placed: &[ShownTool<'_>],
    prefixed: bool,
    encoding: Encoding,
) -> Result<usize, TestCaseError> {
    let (text, tokens) = assemble(placed, prefixed);
    let independent = if placed.is_empty() { 0 } else { encoding.count(&text) };
    prop_assert_eq!(tokens, Some(independent), "{:?}: {}", encoding, text);
    Ok(independent)
}

fn price() -> impl Strategy<Value = Option<Credits>> {
    let amounts = prop_oneof![0..12_u64, 0..2_000_u64, 0..=Credits::MAX.amount()];
    prop::option::weighted(0.7, amounts.prop_map(|amount| Credits::new(amount).unwrap()))
}

/// Tools whose signatures end in all kinds of text.
fn tool() -> impl Strategy<Value = Value> {
    const ENDS: [&str; 12] = [
        "",
        ".",
        " It's",
        "'s",
        "/",
        "—",
        "句子。",
        " 12",
        "\u{a0}",
        "\n",
        "\"",
        "\u{200b}e\u{301}",
    ];
    const KEYS: [&str; 6] = ["path", "a ", "größe", "x/y", "\u{2028}", "n1"];
    let text = || ("[a-zA-Z0-9 .,'\"/-]{0,24}", select(&ENDS)).prop_map(|(text, end)| text + end);
    let name = "[a-zA-Z0-9][a-zA-Z0-9_./-]{0,12}[a-zA-Z0-9]";
    let properties = prop::collection::hash_map(select(&KEYS), text(), 0..4);
    (name, text(), properties).prop_map(|(name, description, properties)| {
        let parameters: serde_json::Map<String, Value> = properties
            .into_iter()
            .map(|(key, default)| (key.to_owned(), json!({"enum": [default], "default": default})))
            .collect();
        json!({
            "name": name,
            "description": description,
            "inputSchema": {"type": "object", "properties": parameters},
        })
    })
}
