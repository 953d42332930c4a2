//! Chains of caveats drawn at random, each judged twice: narrowing never widens.
//!
//! The model shares nothing with `src/domain`: it keeps caveats as plain data, lists every call of a
//! small universe, and takes away what any caveat forbids. `TOKEN_CHAINS` says how many chains,
//! `SEED` where to begin; `scripts/soak-tokens` draws a million.

use std::collections::BTreeSet;

use secrecy::ExposeSecret as _;
use tollgate::domain::{
    caveat::Caveat,
    scope::Scope,
    token::{Token, TokenId, TokenKeys, Unverified, Verified},
};

use crate::support::{
    seed,
    tokens::{credits, keys},
};

const SERVERS: [&str; 3] = ["db", "db2", "api"];
const TOOLS: [&str; 3] = ["get_x", "drop_x", "x"];
const COSTS: [u64; 3] = [0, 5, 50];
const TIMES: [i64; 3] = [10, 20, 30];
const SERVER_PATTERNS: [&str; 6] = ["*", "db", "db*", "api", "d?", "db,api"];
const TOOL_PATTERNS: [&str; 8] =
    ["*", "get_*", "*_x", "x", "db/*", "db*/get_x", "api/x,get_x", "none"];
const TENANTS: [&str; 2] = ["acme", "zeta"];
const DEPTHS: [u8; 4] = [0, 1, 2, 3];
const AMOUNTS: [u64; 3] = [1, 20, 300];

/// One caveat of the model.
#[derive(Clone, Debug)]
enum Said {
    Expires(i64),
    Servers(&'static str),
    Tools(&'static str),
    Except(&'static str),
    Agent(&'static str),
    MostCost(u64),
    Depth(u8),
    MostDelegated(u64),
    Ceiling(u64),
    Tenant(&'static str),
}

/// What a token allows, every part of it. A token that allows nothing has none.
#[derive(Clone, Debug, PartialEq)]
struct Rights {
    calls: BTreeSet<(i64, &'static str, &'static str, u64)>,
    /// The agents whose rules must all allow: more of them are narrower.
    agents: Vec<String>,
    /// Limits on delegating: levels below, and credits.
    delegations: BTreeSet<(u8, u64)>,
    /// More of them are narrower.
    ceilings: Vec<u64>,
    tenants: BTreeSet<&'static str>,
}

#[test]
fn no_caveat_widens_whatever_stood_before_it() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let chains = number("TOKEN_CHAINS").unwrap_or(2_000);
    let first = seed();
    let keys = keys();
    let (mut narrowed, mut nothing) = (0, 0);
    for seed in (0..chains).map(|n| first.wrapping_add(n)) {
        let (narrower, none) = chain(&keys, seed);
        narrowed += narrower;
        nothing += u64::from(none);
    }
    // A generator that has gone astray proves nothing.
    assert!(narrowed > chains && nothing > chains / 50, "{narrowed} {nothing}");
    assert!(nothing < chains / 2, "{nothing}");
}

/// Draws one chain; answers how often it was narrowed, and whether nothing was left at last.
fn chain(keys: &TokenKeys, seed: u64) -> (u64, bool) {
    let mut state = seed;
    let said: Vec<Said> = (0..1 + draw(&mut state, 8)).map(|_| caveat(&mut state)).collect();
    let all: Vec<Caveat> = said.iter().map(real).collect();
    let minted = draw(&mut state, all.len());
    let id = TokenId(u128::from(seed));
    let mut token = Token::mint(keys, true, id, "book", &all[..minted]).unwrap();
    let mut before = rights(keys, &token, id);
    let mut narrower = 0;
    for count in minted + 1..=all.len() {
        let said = &said[..count];
        token = token.narrow(&all[count - 1]).unwrap();
        let after = rights(keys, &token, id);
        assert_eq!(after.0, allowed(said), "SEED {seed}: {said:?}");
        assert!(within(&after.0, &before.0), "SEED {seed}: {said:?} widens {:?}", before.0);
        assert!(after.1.starts_with(&before.1) || after.0.is_none(), "SEED {seed}: {said:?}");
        narrower += u64::from(after.0 != before.0);
        before = after;
    }
    (narrower, before.0.is_none())
}

/// Whether nothing is allowed that was not.
fn within(after: &Option<Rights>, before: &Option<Rights>) -> bool {
    let (Some(after), Some(before)) = (after, before) else { return after.is_none() };
    after.calls.is_subset(&before.calls)
        && after.delegations.is_subset(&before.delegations)
        && after.tenants.is_subset(&before.tenants)
        && after.agents.starts_with(&before.agents)
        && after.ceilings.starts_with(&before.ceilings)
}

/// What the gateway says that a token allows, and what its ceilings are called.
fn rights(keys: &TokenKeys, token: &Token, id: TokenId) -> (Option<Rights>, Vec<[u8; 8]>) {
    let text = token.text();
    let mut calls = BTreeSet::new();
    let mut seen = None;
    for time in TIMES {
        match keys.verify(text.expose_secret(), "book", time) {
            Ok(verified) => {
                calls.extend(
                    cases()
                        .filter(|case| allows(&verified, *case))
                        .map(|(server, tool, cost)| (time, server, tool, cost)),
                );
                seen = Some(verified);
            }
            Err(Unverified::Expired { .. } | Unverified::Tenants(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    let Some(verified) = seen else { return (None, Vec::new()) };
    assert_eq!((verified.id(), verified.has_account()), (id, true));
    let caveats = verified.caveats();
    let delegations = delegations().filter(|(depth, amount)| {
        caveats.depth().is_none_or(|most| *depth <= most)
            && caveats.most_delegated().is_none_or(|most| credits(*amount) <= most)
    });
    let tenant = caveats.tenant().unwrap();
    let rights = Rights {
        calls,
        agents: caveats.agents().map(|agent| agent.as_str().to_owned()).collect(),
        delegations: delegations.collect(),
        ceilings: verified.ceilings().iter().map(|(_, most)| most.amount()).collect(),
        tenants: TENANTS.into_iter().filter(|own| tenant.is_none_or(|one| one == *own)).collect(),
    };
    (Some(rights), verified.ceilings().iter().map(|(name, _)| *name).collect())
}

fn allows(verified: &Verified, (server, tool, cost): Case) -> bool {
    let caveats = verified.caveats();
    let server_refused = caveats.refuses_server(&server.into()).is_some();
    let refused = caveats.refuses(&server.into(), &tool.into()).is_some();
    assert!(refused || !server_refused, "the tool of a server that is refused");
    !refused && caveats.refuses_cost(credits(cost)).is_none()
}

type Case = (&'static str, &'static str, u64);

fn cases() -> impl Iterator<Item = Case> {
    let tools = SERVERS.into_iter().flat_map(|server| TOOLS.map(|tool| (server, tool)));
    tools.flat_map(|(server, tool)| COSTS.map(|cost| (server, tool, cost)))
}

fn delegations() -> impl Iterator<Item = (u8, u64)> {
    DEPTHS.into_iter().flat_map(|depth| AMOUNTS.map(|amount| (depth, amount)))
}

/// What the model says that caveats allow: each takes away what it forbids.
fn allowed(said: &[Said]) -> Option<Rights> {
    let calls = cases().flat_map(|(server, tool, cost)| TIMES.map(|t| (t, server, tool, cost)));
    let mut rights = Rights {
        calls: calls.collect(),
        agents: Vec::new(),
        delegations: delegations().collect(),
        ceilings: Vec::new(),
        tenants: TENANTS.into(),
    };
    let mut times: BTreeSet<i64> = TIMES.into();
    for one in said {
        match *one {
            Said::Expires(at) => times.retain(|time| *time < at),
            Said::Servers(list) => rights.calls.retain(|call| named(list, call.1)),
            Said::Tools(list) => rights.calls.retain(|call| listed(list, call.1, call.2)),
            Said::Except(list) => rights.calls.retain(|call| !listed(list, call.1, call.2)),
            Said::Agent(agent) => rights.agents.push(agent.to_owned()),
            Said::MostCost(most) => rights.calls.retain(|call| call.3 <= most),
            Said::Depth(most) => rights.delegations.retain(|(depth, _)| *depth <= most),
            Said::MostDelegated(most) => rights.delegations.retain(|(_, amount)| *amount <= most),
            Said::Ceiling(most) => rights.ceilings.push(most),
            Said::Tenant(tenant) => rights.tenants.retain(|one| *one == tenant),
        }
    }
    rights.calls.retain(|call| times.contains(&call.0));
    (!times.is_empty() && !rights.tenants.is_empty()).then_some(rights)
}

/// Whether a list of patterns names a server.
fn named(list: &str, server: &str) -> bool {
    list.split(',').any(|pattern| fits(pattern.as_bytes(), server.as_bytes()))
}

/// Whether a list of patterns of `tool` or `server/tool` has a tool.
fn listed(list: &str, server: &str, tool: &str) -> bool {
    list.split(',').any(|entry| {
        let (of, name) = entry.split_once('/').unwrap_or(("*", entry));
        fits(of.as_bytes(), server.as_bytes()) && fits(name.as_bytes(), tool.as_bytes())
    })
}

fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|skip| fits(rest, &name[skip..])),
        ([b'?', rest @ ..], [_, name @ ..]) => fits(rest, name),
        ([one, rest @ ..], [other, name @ ..]) => one == other && fits(rest, name),
        _ => false,
    }
}

/// The same caveat as the gateway has it.
fn real(said: &Said) -> Caveat {
    let scope = |text: &str| Scope::parse(text).unwrap();
    match *said {
        Said::Expires(at) => Caveat::Expires(at),
        Said::Servers(list) => Caveat::Servers(scope(list)),
        Said::Tools(list) => Caveat::Tools(scope(list)),
        Said::Except(list) => Caveat::Except(scope(list)),
        Said::Agent(agent) => Caveat::Agent(agent.into()),
        Said::MostCost(most) => Caveat::MostCost(credits(most)),
        Said::Depth(depth) => Caveat::Depth(depth),
        Said::MostDelegated(most) => Caveat::MostDelegated(credits(most)),
        Said::Ceiling(most) => Caveat::Ceiling(credits(most)),
        Said::Tenant(tenant) => Caveat::Tenant(tenant.into()),
    }
}

fn caveat(state: &mut u64) -> Said {
    match draw(state, 12) {
        0 => Said::Expires([5, 15, 20, 25, 35][draw(state, 5)]),
        1 | 2 => Said::Servers(SERVER_PATTERNS[draw(state, SERVER_PATTERNS.len())]),
        3 | 4 => Said::Tools(TOOL_PATTERNS[draw(state, TOOL_PATTERNS.len())]),
        5 => Said::Except(TOOL_PATTERNS[1 + draw(state, TOOL_PATTERNS.len() - 1)]),
        6 => Said::Agent(["a", "b"][draw(state, 2)]),
        7 => Said::MostCost([0, 4, 5, 60][draw(state, 4)]),
        8 => Said::Depth(draw(state, 4) as u8),
        9 => Said::MostDelegated([0, 19, 20, 400][draw(state, 4)]),
        10 => Said::Ceiling([7, 70][draw(state, 2)]),
        _ => Said::Tenant(TENANTS[usize::from(draw(state, 5) == 0)]),
    }
}

/// A number below `end` (SplitMix64).
fn draw(state: &mut u64, end: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as usize % end
}
