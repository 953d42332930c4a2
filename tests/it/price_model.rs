//! Prices against a model that shares nothing with the code: keys stay text, patterns are matched by
//! a matcher of its own, and the stages of the contract are gone through one after the other.

use proptest::{prelude::*, sample::select};
use tollgate::domain::{
    credits::Credits,
    pattern::Pattern,
    price::{PriceEntry, Tariff},
};

use crate::support::properties::drawn;

const KEYS: [&str; 12] =
    ["x", "db/x", "*/x", "x*", "xy*", "db/x*", "d?/xy*", "*", "db/*", "*/*", "x?", "xyz"];
const DEFAULT: u64 = 7;

/// The costs that the contract allows: exact names, then wildcards, then `*`, then the default. At
/// each stage keys with a server come first, then those with more literal characters, of the tool
/// and then of the server.
fn allowed(prices: &[(String, u64)], server: &str, tool: &str) -> Vec<u64> {
    let covering = prices.iter().filter_map(|(key, cost)| {
        let (of, name) = match key.split_once('/') {
            Some((of, name)) => (Some(of), name),
            None => (None, key.as_str()),
        };
        let covers = of.is_none_or(|of| matches(of, server)) && matches(name, tool);
        covers.then_some((of, name, *cost))
    });
    let covering: Vec<_> = covering.collect();
    let wild = |name: &str| name.contains('*') || name.contains('?');
    let stages: [&dyn Fn(&str) -> bool; 3] =
        [&|name| !wild(name), &|name| wild(name) && name != "*", &|name| name == "*"];
    for stage in stages {
        let mut left: Vec<_> = covering.iter().filter(|(_, name, _)| stage(name)).collect();
        if left.iter().any(|(of, ..)| of.is_some()) {
            left.retain(|(of, ..)| of.is_some());
        }
        let most = left.iter().map(|(_, name, _)| literals(name)).max();
        left.retain(|(_, name, _)| Some(literals(name)) == most);
        let of_server = |of: &Option<&str>| of.map_or(0, literals);
        let most = left.iter().map(|(of, ..)| of_server(of)).max();
        left.retain(|(of, ..)| Some(of_server(of)) == most);
        if !left.is_empty() {
            return left.iter().map(|(.., cost)| *cost).collect();
        }
    }
    vec![DEFAULT]
}

fn literals(pattern: &str) -> usize {
    pattern.chars().filter(|c| !['*', '?'].contains(c)).count()
}

/// Tries every way in which `*` can be read.
fn matches(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.any(|at| matches(rest.as_str(), text.split_at(at).1))
        }
        Some(wanted) => {
            let mut text = text.chars();
            text.next().is_some_and(|c| wanted == '?' || wanted == c)
                && matches(rest.as_str(), text.as_str())
        }
    }
}

fn tariff(prices: &[(String, u64)]) -> Tariff {
    let pattern = |part: &str| Pattern::parse(part).unwrap();
    let entries = prices.iter().map(|(key, cost)| {
        let (server, tool) = match key.split_once('/') {
            Some((server, tool)) => (Some(pattern(server)), pattern(tool)),
            None => (None, pattern(key)),
        };
        PriceEntry { server, tool, cost: Credits::new(*cost).unwrap() }
    });
    let entries = entries.collect();
    Tariff { entries, default: Credits::new(DEFAULT).unwrap() }
}

/// Keys of the contract's examples, and drawn ones; each with a cost that no other has.
fn prices() -> impl Strategy<Value = Vec<(String, u64)>> {
    let drawn = ("([dba?*]{1,3}/)?", "[xyz?*]{1,4}").prop_map(|(of, name)| format!("{of}{name}"));
    let keys = prop::collection::btree_set(
        prop_oneof![select(&KEYS).prop_map(str::to_owned), drawn],
        0..=12,
    );
    keys.prop_map(|keys| keys.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
        .prop_map(|keys| keys.into_iter().zip(10..).collect())
}

proptest! {
    #![proptest_config(drawn(5_000))]

    #[test]
    fn price_is_what_the_stages_say(
        prices in prices(),
        server in select(&["db", "api", "d"]),
        tool in select(&["x", "xyz", "xy", "q", "zz"]),
    ) {
        let allowed = allowed(&prices, server, tool);
        let cost = tariff(&prices).price(&server.into(), &tool.into()).cost.amount();
        prop_assert!(allowed.contains(&cost), "{cost}, not {allowed:?}: {server}/{tool} of {prices:?}");
    }
}
