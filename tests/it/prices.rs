//! Prices in the answers of `get_server_tools`.

use std::{path::PathBuf, sync::Arc};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tollgate::{
    app::drain::stop,
    config::{self, Options},
    domain::{
        credits::Credits,
        pattern::Pattern,
        price::{PriceEntry, Tariff},
        settings::Settings,
        tokens::count,
    },
    downstream::{ClientContext, Launcher},
    gateway::{Answer, CallRequest, Gateway, Granted, Places},
    host::environment::Environment,
};

use crate::support::{Setup, scripted_with, text, tollgate};

/// Two servers with the same tools, and prices for some of them.
fn settings(setup: &Setup) -> Settings {
    let options = Options { config_dir: Some(setup.path().to_owned()), ..Options::default() };
    // The settings of the developer's own gateway stay out of the test.
    let path = ("PATH".to_owned(), std::env::var("PATH").unwrap());
    let env = Environment { variables: [path].into(), ..Environment::default() };
    let mut settings = config::load(&options, &env).unwrap();
    let entry = |server: Option<&str>, tool: &str, cost: u64| PriceEntry {
        server: server.map(|server| Pattern::parse(server).unwrap()),
        tool: Pattern::parse(tool).unwrap(),
        cost: Credits::new(cost).unwrap(),
    };
    settings.budgeting.tariff = Tariff {
        default: Credits::new(2).unwrap(),
        entries: vec![
            entry(None, "free", 0),
            entry(None, "dear*", 1_500),
            entry(Some("b"), "dear", 1),
            entry(None, "same", 2),
        ],
    };
    settings
}

async fn ask(gateway: &Arc<Gateway>, arguments: Value) -> Value {
    let asked = CallRequest {
        tool: "get_server_tools".into(),
        arguments: arguments.into(),
        credential: None,
        granted: Granted::Nothing,
        meta: serde_json::Map::new(),
        client: ClientContext::absent(),
    };
    match gateway.call_tool(asked, CancellationToken::new()).await {
        Ok(Answer::Result(result)) => serde_json::from_str(text(&result.to_value())).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_level_shows_prices_other_than_the_default() {
    let offered = scripted_with(&["free", "dear", "same", "other"]);
    let setup = Setup::new(json!({"a": offered, "b": offered}), None);
    let launcher = Arc::new(Launcher::new(PathBuf::from(tollgate()), 0));
    let cache = Places { cache: Some(setup.path().join("cache")), state: None };
    // The second gateway knows the tools and their counts from the disk.
    for _ in ["cold", "warm"] {
        let gateway = Gateway::new(settings(&setup), &launcher, &cache);
        for (arguments, expected) in cases() {
            let answer = ask(&gateway, arguments.clone()).await;
            assert_eq!(answer["tools"], expected, "{arguments}");
            let counted = count(&answer["tools"].to_string());
            assert_eq!(answer["tokens_used"], counted, "{arguments}: {answer}");
        }
        stop(&gateway).await;
    }
}

fn cases() -> [(Value, Value); 6] {
    [
        (
            json!({"server": "a", "detail": "signature"}),
            json!([
                "free() — Scripted. — 0 credits",
                "dear() — Scripted. — 1500 credits",
                "same() — Scripted.",
                "other() — Scripted."
            ]),
        ),
        (
            json!({"server": "b", "detail": "signature", "names": "dear"}),
            json!(["dear() — Scripted. — 1 credit"]),
        ),
        (
            json!({"server": "*", "detail": "signature", "pattern": "dear"}),
            json!(["a/dear() — Scripted. — 1500 credits", "b/dear() — Scripted. — 1 credit"]),
        ),
        (
            json!({"server": "a", "detail": "summary"}),
            json!([
                "free — Scripted. — 0 credits",
                "dear — Scripted. — 1500 credits",
                "same — Scripted.",
                "other — Scripted."
            ]),
        ),
        (
            json!({"server": "a", "detail": "names"}),
            json!(["free — 0 credits", "dear — 1500 credits", "same", "other"]),
        ),
        (
            json!({"server": "b", "detail": "full", "names": "dear,same"}),
            json!([
                {"name": "dear", "description": "Scripted. — 1 credit", "inputSchema": {"type": "object"}},
                {"name": "same", "description": "Scripted.", "inputSchema": {"type": "object"}}
            ]),
        ),
    ]
}
