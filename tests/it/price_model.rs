//! Prices against a model: the stages of the contract, one after the other.

use proptest::{prelude::*, sample::select};
use tollgate::domain::{
    credits::Credits,
    pattern::Pattern,
    price::{PriceEntry, Tariff},
};

const KEYS: [&str; 12] =
    ["x", "db/x", "*/x", "x*", "xy*", "db/x*", "d?/xy*", "*", "db/*", "*/*", "x?", "xyz"];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The contract, stage by stage: exact, then wildcards by their literal characters, then `*`;
    /// at each stage, keys that name the server first.
    #[test]
    fn price_is_what_the_stages_say(
        keys in prop::sample::subsequence(KEYS.to_vec(), 0..=KEYS.len()),
        server in select(vec!["db", "api"]),
        tool in select(vec!["x", "xyz", "xy", "q"]),
    ) {
        let split = |key: &'static str| key.split_once('/').map_or((None, key), |(s, t)| (Some(s), t));
        let wild = |part: &str| Pattern::parse(part).unwrap();
        let entries = keys.iter().zip(10..).map(|(key, cost)| {
            let (server, tool) = split(key);
            PriceEntry { server: server.map(wild), tool: wild(tool), cost: Credits::new(cost).unwrap() }
        });
        let tariff = Tariff { entries: entries.collect(), ..Tariff::default() };
        let literal = |part: &str| part.len() - part.matches(['*', '?']).count();
        let rank = |key: &'static str| -> Option<Vec<usize>> {
            let (of, name) = split(key);
            let covers = of.is_none_or(|of| wild(of).matches(server)) && wild(name).matches(tool);
            let stage = match name { "*" => 0, name if name.contains(['*', '?']) => 1, _ => 2 };
            let named = usize::from(of.is_some());
            covers.then(|| vec![stage, named, literal(name), of.map_or(0, literal)])
        };
        let best = keys.iter().filter_map(|key| rank(key)).max();
        let price = tariff.price(&server.into(), &tool.into());
        let decided = price.entry.map(|entry| entry.key());
        let decided = KEYS.into_iter().find(|key| Some(*key) == decided.as_deref());
        prop_assert_eq!(decided.and_then(rank), best, "{:?}", keys);
    }
}
