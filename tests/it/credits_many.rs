//! Many calls at once on one budget: never a credit too much, never one lost.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};

use crate::support::{
    Client, Setup,
    credits::{paid, reached},
    seed,
};

/// Begins this number of calls at once, and returns how each ended: its cost if it was made, else what its
/// refusal says of what is left and what it costs.
fn all_at_once(
    clients: &mut [Client],
    tools: &[&str],
    calls: usize,
) -> Vec<Result<u64, (u64, u64)>> {
    let mut begun: Vec<(usize, u64)> = Vec::new();
    for index in 0..calls {
        let which = index % clients.len();
        let tool = tools[index % tools.len()];
        let arguments = json!({"server": "s", "tool": tool, "args": {}});
        begun.push((which, clients[which].begin("execute_tool", arguments)));
    }
    let outcome = |(which, id): (usize, u64)| {
        let answer = clients[which].response(id);
        let data = &answer["error"]["data"];
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{answer}"));
        match answer.get("result") {
            Some(result) => Ok(number(&result["_meta"]["tollgate/cost"])),
            None => {
                assert_eq!(answer["error"]["code"], -32000, "{answer}");
                Err((number(&data["remaining_credits"]), number(&data["cost_credits"])))
            }
        }
    };
    begun.into_iter().map(outcome).collect()
}

fn exactly_a_hundred(setup: &Setup, gateways: usize) {
    let mut clients: Vec<Client> = (0..gateways).map(|_| setup.connect()).collect();
    let outcomes = all_at_once(&mut clients, &["echo"], 1_000);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok(1)).count(), 100);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Err((0, 1))).count(), 900);
    assert_eq!(reached(setup), 100);
}

#[test]
fn concurrent_calls_never_exceed_the_budget() {
    exactly_a_hundred(&paid(&["echo"], &json!({"budget": {"limit": 100}}), None), 1);
}

#[test]
fn four_gateways_share_one_budget() {
    exactly_a_hundred(&paid(&["echo"], &json!({"budget": {"limit": 100}}), None), 4);
}

#[test]
fn random_prices_leave_less_than_the_cheapest_refused_call() {
    let prices = [3, 7, 11, 2, 5, 13];
    let tools = ["t0", "t1", "t2", "t3", "t4", "t5"];
    let costs: Value = tools.iter().zip(prices).map(|(tool, cost)| (*tool, cost)).collect();
    let settings = json!({"budget": {"limit": 1_000}, "tools": {"costs": costs}});
    let setup = paid(&tools, &settings, None);
    let mut clients: Vec<Client> = (0..4).map(|_| setup.connect()).collect();
    let seed = seed();
    let random = |index: u32| drawn_at(seed, index) as usize % tools.len();
    let drawn: Vec<&str> = (0..600).map(|index| tools[random(index)]).collect();
    let outcomes = all_at_once(&mut clients, &drawn, 600);
    let spent: u64 = outcomes.iter().flatten().sum();
    let cheapest = outcomes.iter().filter_map(|outcome| outcome.err()).map(|(_, cost)| cost).min();
    assert!(spent <= 1_000 && 1_000 - spent < cheapest.unwrap(), "{spent} {cheapest:?}");
    for (left, cost) in outcomes.iter().filter_map(|outcome| outcome.err()) {
        assert!(left < cost, "refused {cost} with {left} left");
    }
    assert_eq!(reached(&setup), outcomes.iter().flatten().count());
}

/// A number that depends on nothing else.
fn drawn_at(seed: u64, index: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, index).hash(&mut hasher);
    hasher.finish()
}
