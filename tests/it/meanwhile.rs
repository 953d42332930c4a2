//! What happens in the middle of a call: progress, cancellation, questions to the user, changed
//! tools; for clients and servers of both eras.

use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::{
    Client, Setup,
    calls::{begin, until},
    json_in, refusal, scripted, text, within,
};

const ERAS: [&str; 2] = ["legacy", "modern"];

/// A scripted server of one era, and a client of another.
fn pair(client: &str, server: &str, entry: &Value, tools: &[&str]) -> Client {
    pair_with(client, server, entry, tools, json!({}))
}

fn pair_with(
    client: &str,
    server: &str,
    entry: &Value,
    tools: &[&str],
    capabilities: Value,
) -> Client {
    let tools = json!(tools).to_string();
    let mut spec = scripted(&["--tools", &tools, "--era", server]);
    for (key, value) in entry.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let mut ours = Setup::new(json!({"s": spec, "other": spec}), None).start();
    ours.capabilities = capabilities;
    ours.stateless = client == "modern";
    if !ours.stateless {
        ours.handshake("2025-11-25");
    }
    ours
}

#[test]
fn progress_arrives_in_order_before_the_answer() {
    for (client, server) in ERAS.iter().flat_map(|c| ERAS.map(|s| (*c, s))) {
        let mut ours = pair(client, server, &json!({}), &["progress"]);
        let id = begin(&mut ours, "progress", json!({"count": 500}), "mine");
        let (steps, answer) = until(&mut ours, id);
        assert_eq!(text(&answer["result"]), "done", "{client} over {server}");
        assert_eq!(steps.len(), 500, "{client} over {server}");
        for (index, step) in steps.iter().enumerate() {
            let params = json!({"progressToken": "mine", "progress": (index + 1) as f64 / 2.0,
                "total": 1000.0, "odd": {"step": index + 1}});
            assert_eq!(step["method"], "notifications/progress");
            assert_eq!(step["params"], params, "{client} over {server}");
        }
    }
}

#[test]
fn progress_of_two_calls_at_once_is_told_apart() {
    let mut ours = pair("legacy", "legacy", &json!({}), &["progress"]);
    let args = json!({"count": 50, "every_ms": 2});
    let first = begin(&mut ours, "progress", args.clone(), "a");
    let second = begin(&mut ours, "progress", args, "b");
    let (mut steps, _) = until(&mut ours, first);
    if !steps.iter().any(|message| message["id"] == second) {
        steps.extend(until(&mut ours, second).0);
    }
    for token in ["a", "b"] {
        let own = steps.iter().filter(|step| step["params"]["progressToken"] == token);
        let told: Vec<u64> = own.map(|s| s["params"]["odd"]["step"].as_u64().unwrap()).collect();
        assert_eq!(told, (1..=50).collect::<Vec<u64>>(), "{token}");
    }
}

#[test]
fn a_client_that_wants_no_progress_gets_none() {
    let mut ours = pair("legacy", "legacy", &json!({}), &["progress"]);
    let call = json!({"server": "s", "tool": "progress", "args": {"count": 20}});
    let id = ours.begin("execute_tool", call);
    let (before, answer) = until(&mut ours, id);
    assert_eq!(text(&answer["result"]), "done");
    assert_eq!(before, Vec::<Value>::new());
}

#[test]
fn progress_keeps_a_call_alive_beyond_its_timeout() {
    let entry = json!({"timeout": "4s"});
    let mut ours = pair("legacy", "legacy", &entry, &["progress", "hang"]);
    assert!(ready(&mut ours));
    // The client need not ask for progress to profit from it.
    let begun = Instant::now();
    let steps = json!({"count": 7, "every_ms": 1000});
    assert_eq!(text(&ours.execute("s", "progress", steps)), "done");
    assert!(begun.elapsed() > Duration::from_secs(6));
    assert_eq!(refusal(&ours.execute("s", "hang", json!({})))["code"], "TIMEOUT");
}

/// Whether the server has answered a call; on a busy machine its start may outlast a timeout.
fn ready(client: &mut Client) -> bool {
    within(Duration::from_secs(60), || {
        client.execute("s", "nothing", json!({}))["isError"] == true
            && refusal(&client.execute("s", "nothing", json!({})))["code"] == "TOOL_NOT_FOUND"
    })
}

#[test]
fn a_cancelled_call_reaches_its_server_while_others_run() {
    for (client, server) in ERAS.iter().flat_map(|c| ERAS.map(|s| (*c, s))) {
        let mut ours = pair(client, server, &json!({}), &["hang", "heard", "slow", "cancelled_at"]);
        let call = |server, tool, args| json!({"server": server, "tool": tool, "args": args});
        let others: Vec<u64> = ["s", "other"]
            .map(|server| ours.begin("execute_tool", call(server, "slow", json!({"ms": 3000}))))
            .to_vec();
        let hanging = ours.begin("execute_tool", call("s", "hang", json!({"mine": true})));
        let mut downstream_id = Value::Null;
        assert!(
            within(Duration::from_secs(30), || {
                let heard = json_in(&ours.execute("s", "heard", json!({})));
                let mut calls = heard.as_array().unwrap().iter();
                let hang = calls.find(|one| one["params"]["name"] == "hang");
                downstream_id = hang.map_or(Value::Null, |hang| hang["id"].clone());
                !downstream_id.is_null()
            }),
            "the call arrives"
        );
        ours.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": {"requestId": hanging, "reason": "changed my mind"}}));
        let sent_at = UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let told = within(Duration::from_secs(20), || {
            let heard = json_in(&ours.execute("s", "heard", json!({})));
            heard.as_array().unwrap().iter().any(|one| {
                one["method"] == "notifications/cancelled"
                    && one["params"]["requestId"] == downstream_id
            })
        });
        assert!(told, "{client} over {server}");
        let heard_at = json_in(&ours.execute("s", "cancelled_at", json!({})))[0].as_f64().unwrap();
        eprintln!("{client} over {server}: {:.1} ms", (heard_at - sent_at) * 1000.0);
        let heard = json_in(&ours.execute("other", "heard", json!({})));
        let cancelled = heard.as_array().unwrap().iter();
        assert_eq!(cancelled.filter(|one| one["method"] == "notifications/cancelled").count(), 0);
        for id in others {
            assert_eq!(text(&ours.response(id)["result"]), "slow");
        }
    }
}

const FORM: &str = r#"{"message": "Which one?", "requestedSchema": {"type": "object",
    "properties": {"n": {"type": "number", "minimum": 0.5}}}}"#;

fn form() -> Value {
    serde_json::from_str(FORM).unwrap()
}

fn allowed() -> Value {
    json!({"elicitation": "allow"})
}

#[test]
fn questions_and_answers_pass_with_the_handshake() {
    let asks = json!({"elicitation": {}});
    let mut ours = pair_with("legacy", "legacy", &allowed(), &["ask"], asks);
    let id = begin(&mut ours, "ask", form(), "t");
    let question = ours.next(Duration::from_secs(60)).unwrap();
    assert_eq!(question["method"], "elicitation/create");
    assert_eq!(question["params"]["message"], "Which one?");
    assert_eq!(question["params"]["requestedSchema"], form()["requestedSchema"]);
    let answer = json!({"action": "accept", "content": {"n": 1.50}, "odd": [1e20]});
    ours.send(&json!({"jsonrpc": "2.0", "id": question["id"], "result": answer}));
    let said: Value = json_in(&ours.response(id)["result"]);
    assert_eq!(said["result"], answer);
}

#[test]
fn a_question_passes_through_without_the_handshake() {
    let asks = json!({"elicitation": {"form": {}}, "sampling": {}, "roots": {}});
    let mut ours = pair_with("modern", "modern", &allowed(), &["ask", "capabilities"], asks);
    // Nothing but elicitation is passed on.
    let told = json_in(&ours.execute("s", "capabilities", json!({})));
    assert_eq!(told, json!({"elicitation": {"form": {}}}));
    let arguments = json!({"server": "s", "tool": "ask", "args": form()});
    let asked = ours.call("execute_tool", arguments.clone());
    assert_eq!(asked["resultType"], "input_required");
    assert_eq!(asked["inputRequests"]["q"]["params"], form());
    let answers = json!({"q": {"action": "accept", "content": {"n": 2.25}, "odd": 1}});
    let again = json!({"name": "execute_tool", "arguments": arguments,
        "inputResponses": answers, "requestState": asked["requestState"]});
    let said = json_in(&ours.request("tools/call", again)["result"]);
    assert_eq!(said, json!({"answers": answers, "state": "s-1"}));
    // A server that asks for more than the user's answer is refused by name.
    let mut other = form();
    other["method"] = json!("sampling/createMessage");
    let error = refusal(&ours.execute("s", "ask", other));
    assert_eq!(error["code"], "SERVER_UNAVAILABLE");
    assert!(error["message"].as_str().unwrap().contains("other than the user's answer"), "{error}");
}

#[test]
fn a_question_that_nobody_can_answer_hangs_nothing() {
    let asks = json!({"elicitation": {}});
    for (client, server, entry, capabilities, outcome) in [
        // Not allowed by the settings, which is the default.
        ("legacy", "legacy", json!({}), asks.clone(), "decline"),
        // The client takes no questions, or takes them only in the other way.
        ("legacy", "legacy", allowed(), json!({}), "cancel"),
        ("modern", "legacy", allowed(), asks.clone(), "cancel"),
        ("legacy", "modern", allowed(), asks.clone(), "takes no questions"),
        ("modern", "modern", allowed(), json!({}), "takes no questions"),
        ("modern", "modern", json!({}), asks, "do not allow"),
    ] {
        let mut ours = pair_with(client, server, &entry, &["ask", "capabilities"], capabilities);
        let result = ours.execute("s", "ask", form());
        assert!(text(&result).contains(outcome), "{client} over {server}: {result}");
        assert_eq!(server == "modern", result["isError"] == true, "{result}");
    }
}

#[test]
fn client_without_url_elicitation_is_not_asked() {
    let mut ours =
        pair_with("legacy", "legacy", &allowed(), &["ask"], json!({"elicitation": {"form": {}}}));
    let result = ours.execute("s", "ask", json!({"mode": "url", "url": "https://example.com"}));
    assert!(text(&result).contains("cancel"), "{result}");
}

#[test]
fn questions_reach_only_the_calling_client() {
    let asks = json!({"elicitation": {}});
    let tools = ["ask", "slow", "heard"];
    let mut ours = pair_with("legacy", "legacy", &allowed(), &tools, asks);
    let slow = json!({"server": "s", "tool": "slow", "args": {"ms": 6000}});
    let slow = ours.begin("execute_tool", slow);
    assert!(within(Duration::from_secs(60), || {
        text(&ours.execute("s", "heard", json!({}))).contains("slow")
    }));
    let result = ours.execute("s", "ask", form());
    assert!(text(&result).contains("cancel"), "{result}");
    assert_eq!(text(&ours.response(slow)["result"]), "slow");
}

#[test]
fn a_question_is_withdrawn_when_its_call_is_cancelled() {
    let asks = json!({"elicitation": {}});
    let mut ours = pair_with("legacy", "legacy", &allowed(), &["ask"], asks);
    let id = begin(&mut ours, "ask", form(), "t");
    let question = ours.next(Duration::from_secs(60)).unwrap();
    ours.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": id}}));
    let withdrawn = ours.next(Duration::from_secs(60)).unwrap();
    assert_eq!(withdrawn["method"], "notifications/cancelled");
    assert_eq!(withdrawn["params"]["requestId"], question["id"]);
}

#[test]
fn a_server_that_asks_for_everything_gets_its_answers() {
    let mut ours = pair("legacy", "legacy", &json!({}), &["ask_everything"]);
    let said = json_in(&ours.execute("s", "ask_everything", json!({})));
    assert_eq!(said["roots/list"]["result"]["roots"], json!([]));
    assert_eq!(said["sampling/createMessage"]["error"]["code"], -32601);
    assert_eq!(said["elicitation/create"]["result"]["action"], "decline");
    assert_eq!(said["no/such"]["error"]["code"], -32601);
}

#[test]
fn repeated_list_changed_lists_tools_again() {
    for server in ERAS {
        let mut ours = pair("legacy", server, &json!({}), &["grow", "heard"]);
        ours.execute("s", "grow", json!({"name": "first", "times": 50}));
        let known = within(Duration::from_secs(20), || {
            let found = json_in(&ours.call("get_server_tools", json!({"server": "s"})));
            found["total_available"] == 3
        });
        assert!(known, "{server}");
        let called = ours.execute("s", "first", json!({"x": 1}));
        assert_eq!(text(&called), r#"{"x": 1}"#, "{server}");
    }
}

#[test]
fn questions_that_a_server_takes_back_block_nothing() {
    let asks = json!({"elicitation": {}});
    let mut ours = pair_with("legacy", "legacy", &allowed(), &["withdraw"], asks);
    let id = begin(&mut ours, "withdraw", json!({"count": 200}), "t");
    assert_eq!(text(&until(&mut ours, id).1["result"]), "withdrawn");
}

fn withdraw(client: &mut Client, id: u64) {
    client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": id}}));
}

#[test]
fn immediately_cancelled_calls_leave_nothing_behind() {
    let asks = json!({"elicitation": {}});
    let mut ours = pair_with("legacy", "legacy", &allowed(), &["hang", "ask", "heard"], asks);
    ours.execute("s", "heard", json!({}));
    for _ in 0..300 {
        let id = begin(&mut ours, "hang", json!({}), "t");
        withdraw(&mut ours, id);
    }
    ours.execute("s", "heard", json!({}));
    // Only the question of the one call in flight is known to be that call's.
    let id = begin(&mut ours, "ask", form(), "t");
    let (before, answer) = {
        let question = ours.next(Duration::from_secs(60)).unwrap();
        assert_eq!(question["method"], "elicitation/create", "{question}");
        let reply = json!({"action": "decline"});
        ours.send(&json!({"jsonrpc": "2.0", "id": question["id"], "result": reply}));
        until(&mut ours, id)
    };
    assert!(before.is_empty());
    assert!(text(&answer["result"]).contains("decline"), "{answer}");
}

#[test]
fn cancellation_is_sent_after_its_call() {
    let mut ours = pair("legacy", "legacy", &json!({}), &["hang", "heard"]);
    ours.execute("s", "heard", json!({}));
    let long = "x".repeat(1_000_000);
    for wait in [0, 10, 20, 30, 40, 60, 80, 100, 120, 150] {
        let id = begin(&mut ours, "hang", json!({ "long": long }), "t");
        std::thread::sleep(Duration::from_millis(wait));
        withdraw(&mut ours, id);
    }
    std::thread::sleep(Duration::from_secs(3));
    let heard = json_in(&ours.execute("s", "heard", json!({})));
    let mut begun = Vec::new();
    for message in heard.as_array().unwrap() {
        if message["method"] == "tools/call" {
            begun.push(message["id"].clone());
        } else if message["method"] == "notifications/cancelled" {
            let id = &message["params"]["requestId"];
            assert!(begun.contains(id), "{id} was not heard of before");
        }
    }
}

#[test]
fn questions_that_cannot_be_read_are_not_passed_on() {
    let asks = json!({"elicitation": {"form": {}}});
    let mut ours = pair_with("modern", "modern", &allowed(), &["raw"], asks);
    let sampling = json!({"method": "sampling/createMessage", "params": {}});
    let result = json!({"resultType": "input_required", "inputRequests": [sampling]}).to_string();
    let error = refusal(&ours.execute("s", "raw", json!({ "json": result })));
    assert!(error["message"].as_str().unwrap().contains("other than the user's answer"), "{error}");
}
