//! One recorded load, in hard mode and in shadow mode: the same decisions, and the same numbers.

use serde_json::{Value, json};

use crate::support::{Client, PATIENCE, Setup, credits::paid, journal::records, within};

const TOOLS: [&str; 5] = ["echo", "dear", "free", "raw", "rpc_error"];

/// Calls of agents with limits and without, some of which fail, more than there are credits for.
fn load() -> Vec<Value> {
    // A small generator of its own, so that the load is the same forever.
    let mut state: u64 = 20_261_120;
    let mut one_of = |many: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % many
    };
    let call = |_| {
        let agent = ["any", "capped", "tight"][usize::try_from(one_of(3)).unwrap()];
        let (tool, args) = match one_of(8) {
            0 => ("free", json!({})),
            1 => ("raw", json!({"json": r#"{"content":[],"isError":true}"#})),
            2 => ("rpc_error", json!({"error": {"code": -32603, "message": "no"}})),
            // Not charged.
            3 => ("rpc_error", json!({"error": {"code": -32602, "message": "no"}})),
            4 => ("dear", json!({})),
            _ => ("echo", json!({})),
        };
        json!({"server": "s", "tool": tool, "args": args, "agent_id": agent})
    };
    (0..120).map(call).collect()
}

fn setup(mode: &str) -> Setup {
    let agent = |budget: Value| {
        let mut agent = json!({"allow": {"servers": ["*"]}});
        if !budget.is_null() {
            agent["budget"] = budget;
        }
        agent
    };
    let rules = json!({"agents": {
        "any": agent(Value::Null), "capped": agent(json!({"limit": 50})),
        "tight": agent(json!({"limit": 20})),
    }});
    let costs = json!({"echo": 2, "dear": 7, "free": 0, "raw": 3, "rpc_error": 4});
    let settings = json!({
        "budget": {"limit": 150}, "tools": {"costs": costs}, "enforcement": {"mode": mode},
    });
    paid(&TOOLS, &settings, Some(&rules))
}

/// What one run came to.
struct Came {
    /// Of each call, in order: who, what, and whether it was let through, at which price, and what
    /// was left; or what it lacked.
    decisions: Vec<Value>,
    /// How many were over budget.
    over: u64,
    /// The amount charged or returned, the account, and the reason.
    ends: Vec<String>,
    accounts: Value,
    /// Calls, refusals or what would have been some, and credits: of each agent.
    usage: Vec<Value>,
}

/// The account's name, without its book and the mark of the shadow.
fn account(value: &Value) -> Value {
    let name = value.as_str().unwrap_or_else(|| panic!("{value}"));
    let name =
        name.split_once('/').filter(|(book, _)| book.len() == 12).map_or(name, |(_, name)| name);
    json!(name.strip_prefix("shadow/").unwrap_or(name))
}

fn run(mode: &str) -> Came {
    let setup = setup(mode);
    let mut client = setup.connect();
    let mut over = 0;
    for asked in load() {
        over += u64::from(is_over(&mut client, asked, mode));
    }
    let shown = || -> Value {
        let (_, stdout, _) = setup.run(&["budget", "show", "--json", "--all"]);
        serde_json::from_str(&stdout).unwrap()
    };
    let ended = || shown().as_array().unwrap().iter().all(|account| account["reserved"] == 0);
    assert!(within(PATIENCE, ended), "{:#}", shown());
    client.finish();
    let (mut decisions, mut ends) = (Vec::new(), Vec::new());
    for record in records(&setup, &[]) {
        let part = |name: &str| record.get(name).cloned().unwrap_or_default();
        let who = [part("agent"), part("tool"), part("cost")];
        match record["event"].as_str().unwrap() {
            "hold" => decisions.push(json!([
                who,
                "allowed",
                part("remaining"),
                account(&part("account"))
            ])),
            "refusal" => {
                let word = if mode == "hard" { "refused" } else { "would_refuse" };
                assert_eq!(record["decision"], word);
                let lacked = json!([part("code"), part("remaining"), account(&part("account"))]);
                decisions.push(json!([who, "refused", lacked]));
            }
            end @ ("post" | "void") => ends.push(json!([end, who, part("status")]).to_string()),
            _ => {}
        }
    }
    // Charges need not be recorded in the order of the calls.
    ends.sort();
    Came { decisions, over, ends, accounts: accounts(&shown()), usage: usage(&setup, mode) }
}

/// Makes a call, and returns whether its answer says that it is over budget.
fn is_over(client: &mut Client, asked: Value, mode: &str) -> bool {
    let answer = client.request("tools/call", json!({"name": "execute_tool", "arguments": asked}));
    match mode {
        "hard" => answer["error"]["code"] == -32000,
        _ => answer["result"]["_meta"].get("tollgate/warning").is_some(),
    }
}

fn accounts(shown: &Value) -> Value {
    let part = |of: &Value| {
        json!([account(&of["account"]), of["limit"], of["remaining"], of["reserved"], of["spent"]])
    };
    shown.as_array().unwrap().iter().map(part).collect()
}

fn usage(setup: &Setup, mode: &str) -> Vec<Value> {
    let (status, stdout, stderr) = setup.run(&["usage", "--json"]);
    assert_eq!(status, 0, "{stderr}");
    let usage: Value = serde_json::from_str(&stdout).unwrap();
    let number = |row: &Value, name: &str| row[name].as_u64().unwrap_or_else(|| panic!("{row}"));
    let row = |row: &Value| {
        let (calls, refused) = match mode {
            "hard" => (number(row, "calls"), number(row, "refusals")),
            // Those beyond the budget were made all the same.
            _ => {
                let over = number(row, "would_refuse");
                (number(row, "calls") - over, over)
            }
        };
        json!([row["agent"], calls, refused, row["credits"], row["uncertain"]])
    };
    usage["usage"].as_array().unwrap().iter().chain([&usage["total"]]).map(row).collect()
}

#[test]
fn shadow_mode_decides_and_counts_like_hard_mode() {
    let (hard, shadow) = (run("hard"), run("shadow"));
    assert_eq!(hard.decisions.len(), load().len());
    for (n, (hard, shadow)) in hard.decisions.iter().zip(&shadow.decisions).enumerate() {
        assert_eq!(hard, shadow, "call {n}: {}", load()[n]);
    }
    assert_eq!(hard.decisions.len(), shadow.decisions.len());
    assert_eq!(hard.ends, shadow.ends);
    assert_eq!(hard.accounts, shadow.accounts);
    assert_eq!(hard.usage, shadow.usage);
    // In the shadow, the answer of a server that is an error has no room for the warning.
    assert!(hard.over >= shadow.over && shadow.over > 0, "{} {}", hard.over, shadow.over);
    let refused = hard.decisions.iter().filter(|decision| decision[1] == "refused").count();
    assert_eq!(refused as u64, hard.over);
    assert!((20..100).contains(&refused), "{refused} of the calls were refused");
    let lacking = |account: &str| hard.decisions.iter().any(|decision| decision[2][2] == account);
    assert!(
        ["root", "agent/capped", "agent/tight"].into_iter().all(lacking),
        "{:#?}",
        hard.accounts
    );
}
