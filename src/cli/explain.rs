//! `tollgate explain`: which rule decides, what a call costs and who pays, without contacting any
//! server.

use clap::Args;
use serde_json::{Value, json};

use super::{context::CommandContext, exit::Exit, output::Report};
use crate::domain::{
    auth::AuthMode,
    budget,
    call::{ServerName, ToolName},
    caller::{Assurance, Caller},
    credits::Credits,
    identity::{Identities, IdentityMode, Unidentified},
    ledger::{
        AccountId, Declaration, Declared,
        declare::{DeclaredLimit, account_of},
    },
    period::Period,
    policy::{Denied, Rule},
    settings::Settings,
};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The agent
    pub(super) agent: String,
    /// The server
    pub(super) server: String,
    /// The tool
    pub(super) tool: String,
}

pub(super) fn run(context: &CommandContext, asked: &ExplainArgs) -> anyhow::Result<Exit> {
    context.show(&explain(&context.settings()?, asked))
}

/// All that can be said of a call before it is made.
fn explain(settings: &Settings, asked: &ExplainArgs) -> Report {
    let ExplainArgs { agent, server, tool } = asked;
    let (server_name, tool_name) = (ServerName::from(&**server), ToolName::from(&**tool));
    // About this agent, however its calls prove who makes them.
    let identities = Identities { stamped_only: false, ..settings.identities.clone() };
    let caller = identities.identify(Some(agent), &settings.rules);
    let built_in = server_name.is_built_in();
    let configured = built_in || settings.servers.iter().any(|spec| spec.name == server_name);
    let accounts = match &caller {
        Ok(caller) if !built_in => paying(settings, caller),
        _ => Vec::new(),
    };
    let price = settings.budgeting.tariff.price(&server_name, &tool_name);
    let entry = price.entry.filter(|_| !built_in).map(|entry| entry.key());
    let (credits, from) = match &entry {
        _ if built_in => (Credits::ZERO, "built in".to_owned()),
        None => (price.cost, "tools.defaultCost".to_owned()),
        Some(entry) => (price.cost, format!("tools.costs `{entry}`")),
    };
    let (assurance, identity) = identity(settings, agent);
    let (allowed, reason, rule) = match decide(settings, caller, &server_name, &tool_name) {
        Ok((reason, rule)) => (true, reason.to_owned(), rule),
        Err((reason, rule)) => (false, reason, rule),
    };
    let mode = settings.budgeting.mode;
    let json = json!({
        "allowed": allowed,
        "reason": reason,
        "rule": rule.as_ref().map(|rule| &rule.pointer),
        "says": rule.as_ref().map(|rule| &rule.says),
        "assurance": assurance,
        "identity": identity,
        "server_configured": configured,
        "price": {"credits": credits, "entry": entry},
        "accounts": accounts.iter().map(account_json).collect::<Vec<_>>(),
        "mode": mode.as_str(),
    });
    let row = |label: &str, text: &str| format!("  {label:8} {text}");
    let labels = ["paid by"].into_iter().chain(std::iter::repeat("within"));
    let (word, not) = if allowed { ("allowed", "") } else { ("denied", "not ") };
    let missing = format!("server `{server}` is not configured");
    Report::new(json)
        .exit(if allowed { Exit::Done } else { Exit::Refused })
        .line(format!("{word}: `{agent}` may {not}call `{tool}` on `{server}`"))
        .line(row("because", &reason))
        .lines(rule.map(|Rule { pointer, says }| row("rule", &format!("{pointer} ({says})"))))
        .line(row("identity", &format!("{assurance}: {identity}")))
        .line(row("price", &format!("{} ({from})", credits.in_words())))
        .lines(
            labels
                .zip(&accounts)
                .map(|(label, Declared { id, limit, .. })| row(label, &format!("{id} ({limit})"))),
        )
        .line(row("mode", &format!("{} ({})", mode.as_str(), beyond(mode))))
        .lines((!configured).then(|| row("note", &missing)))
}

fn account_json(account: &Declared) -> Value {
    let (limit, period) = match account.limit {
        DeclaredLimit::Unlimited => (None, None),
        DeclaredLimit::Funded(limit) => (Some(limit), None),
        DeclaredLimit::Ceiling(limit, period) => (Some(limit), period),
    };
    json!({"account": account.id.name(), "limit": limit, "period": period.map(Period::as_str)})
}

/// What it takes to act as an agent: the word that records have for it, and a sentence.
fn identity(settings: &Settings, agent: &str) -> (&'static str, String) {
    let identities = &settings.identities;
    let (assurance, words) = match (&settings.auth.mode, &identities.mode) {
        (AuthMode::Config(_), _) => (
            None,
            format!("calls must show the token of `auth.token`, and may then name `{agent}`"),
        ),
        (AuthMode::Header(_), _) => {
            (None, format!("calls must show a Tollgate token that lets them act as `{agent}`"))
        }
        (AuthMode::ApiKey(keys), _) => {
            let usable = keys.iter().filter(|key| key.may_act_as(&agent.into()) && !key.revoked);
            let usable: Vec<String> = usable.map(|key| format!("`{}`", key.id)).collect();
            let usable = match usable.is_empty() {
                true => "none of the settings, those of the store not looked at".to_owned(),
                false => format!("{} of the settings, and those of the store", usable.join(", ")),
            };
            (None, format!("calls must show an API key that may act as `{agent}` ({usable})"))
        }
        (AuthMode::None, _) if identities.stamped_only => {
            let others = match &identities.unstamped_agent {
                Some(other) => format!("those without a signature act as `{other}`"),
                None => "those without a signature are refused".to_owned(),
            };
            let words = format!("the client's hook must sign calls of `{agent}`; {others}");
            (Some(Assurance::Stamped), words)
        }
        (AuthMode::None, IdentityMode::Pinned(pinned)) => {
            (Some(Assurance::Pinned), format!("the gateway serves `{pinned}`, whatever calls say"))
        }
        (AuthMode::None, IdentityMode::SingleUser) => {
            (Some(Assurance::Asserted), "there are no rules, so every call is let in".to_owned())
        }
        (AuthMode::None, IdentityMode::Asserted) => (
            Some(Assurance::Asserted),
            format!(
                "whoever writes `{agent}` as `agent_id` acts as it; `serve --as` or `auth.mode` asks for more"
            ),
        ),
    };
    (assurance.map_or("token", Assurance::as_str), words)
}

/// The account of the caller, and those above it.
fn paying(settings: &Settings, caller: &Caller) -> Vec<Declared> {
    let (budgeting, rules) = (&settings.budgeting, &settings.rules);
    let declaration = Declaration::of(budgeting, rules);
    let find = |id: &AccountId| declaration.accounts().iter().find(|declared| declared.id == *id);
    let own = find(&account_of(budgeting, rules, caller.agent()));
    std::iter::successors(own, |declared| find(declared.parent.as_ref()?)).cloned().collect()
}

/// What happens to a call that costs more than is left.
fn beyond(mode: budget::Mode) -> &'static str {
    match mode {
        budget::Mode::Hard => "a call that the budget does not cover is refused",
        budget::Mode::Soft => "a call that the budget does not cover is allowed, with a warning",
        budget::Mode::Shadow => {
            "a call that the budget does not cover is allowed; credits are counted apart"
        }
    }
}

/// Why a call is allowed, or why not, and the rule that decides.
type Decided = Result<(&'static str, Option<Rule>), (String, Option<Rule>)>;

fn decide(
    settings: &Settings,
    caller: Result<Caller, Unidentified>,
    server: &ServerName,
    tool: &ToolName,
) -> Decided {
    let rules = &settings.rules;
    let refused = |what: &str| {
        let reason = format!("the {what} is refused");
        move |denied: Denied| (reason, Some(denied.rule))
    };
    let caller = caller.map_err(|error| (error.to_string(), None))?;
    if server.is_built_in() {
        rules.builtin(&caller, server, tool).map_err(refused("tool"))?;
        return Ok(("the server is built in, and nothing denies the tool", None));
    }
    let visit = rules.visit(&caller, server).map_err(refused("server"))?;
    let of_server = visit.rule().clone();
    let permit = rules.authorize(visit, tool).map_err(refused("tool"))?;
    let reason = match *permit.rule() == of_server {
        true => "the server is granted and no tool rule narrows it",
        false => "the tool is granted",
    };
    Ok((reason, Some(permit.rule().clone())))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::{AuthMode, Credits, ExplainArgs, Period, Settings, explain};
    use crate::{
        cli::output::parts,
        config::{self, Options},
        domain::{
            auth::{ApiKey, Tokens},
            budget::{Limit, Mode},
            pattern::Pattern,
            price::PriceEntry,
        },
        host::environment::Environment,
    };

    /// One server `db`, an agent `clerk` who may spend 10 a day, and one without a limit.
    fn settings(limit: Option<Limit>, mode: Mode) -> Settings {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: Value| {
            fs::write(dir.path().join(name), text.to_string()).unwrap();
        };
        write(".mcp.json", json!({"mcpServers": {"db": {"command": "true"}}}));
        let all = json!({"allow": {"servers": ["*"]}});
        write(".mcp-gateway-rules.json", json!({"agents": {"clerk": all, "boss": all}}));
        let options = Options { config_dir: Some(dir.path().to_owned()), ..Options::default() };
        let mut settings = config::load(&options, &Environment::default()).unwrap();
        let daily = Limit { credits: credits(10), period: Some(Period::Day) };
        settings.rules.agents.get_mut("clerk").unwrap().budget = Some(daily);
        let entry = |server: Option<&str>, tool: &str, cost: u64| PriceEntry {
            server: server.map(|server| Pattern::parse(server).unwrap()),
            tool: Pattern::parse(tool).unwrap(),
            cost: credits(cost),
        };
        settings.budgeting.tariff.entries =
            vec![entry(Some("db"), "write_*", 5), entry(None, "ping", 0)];
        settings.budgeting.limit = limit;
        settings.budgeting.mode = mode;
        settings
    }

    fn credits(amount: u64) -> Credits {
        Credits::new(amount).unwrap()
    }

    /// As JSON, and as lines.
    fn explained(settings: &Settings, agent: &str, tool: &str) -> (Value, Vec<String>) {
        parts(explain(settings, &asked(agent, tool)))
    }

    fn asked(agent: &str, tool: &str) -> ExplainArgs {
        ExplainArgs { agent: agent.into(), server: "db".into(), tool: tool.into() }
    }

    #[test]
    fn the_entry_that_decides_the_price_is_named() {
        let settings = settings(None, Mode::Hard);
        let check = |tool: &str, price: Value, line: &str| {
            let (json, lines) = explained(&settings, "boss", tool);
            assert_eq!(json["price"], price);
            assert!(lines.iter().any(|found| found == line), "{lines:#?}");
        };
        let written = json!({"credits": 5, "entry": "db/write_*"});
        check("write_row", written, "  price    5 credits (tools.costs `db/write_*`)");
        let free = json!({"credits": 0, "entry": "ping"});
        check("ping", free, "  price    0 credits (tools.costs `ping`)");
        let default = json!({"credits": 1, "entry": null});
        check("read_row", default, "  price    1 credit (tools.defaultCost)");
    }

    /// The accounts as JSON, and how they read.
    #[track_caller]
    fn check(settings: &Settings, agent: &str, accounts: &Value, lines: &[&str]) {
        let (json, found) = explained(settings, agent, "ping");
        assert_eq!(&json["accounts"], accounts);
        let paid = |line: &&String| line.starts_with("  paid by") || line.starts_with("  within");
        assert_eq!(found.iter().filter(paid).collect::<Vec<_>>(), lines);
    }

    #[test]
    fn paying_accounts_are_named_from_the_caller_up() {
        let monthly = Limit { credits: credits(1_000), period: Some(Period::Month) };
        let metered = settings(Some(monthly), Mode::Soft);
        let clerk = json!({"account": "agent/clerk/day", "limit": 10, "period": "day"});
        let root = json!({"account": "root/month", "limit": 1_000, "period": "month"});
        let unmetered = json!({"account": "unmetered", "limit": null, "period": null});
        let above =
            ["  within   root/month (1000 credits per month)", "  within   unmetered (unlimited)"];
        let clerks = "  paid by  agent/clerk/day (10 credits per day)";
        let lines = [clerks, above[0], above[1]];
        check(&metered, "clerk", &json!([clerk, root, unmetered]), &lines);
        let lines = ["  paid by  root/month (1000 credits per month)", above[1]];
        check(&metered, "boss", &json!([root, unmetered]), &lines);
        check(&metered, "ghost", &json!([]), &[]);
        let once = settings(Some(Limit { period: None, ..monthly }), Mode::Hard);
        let root = json!({"account": "root", "limit": 1_000, "period": null});
        check(&once, "boss", &json!([root]), &["  paid by  root (1000 credits)"]);
        let free = settings(None, Mode::Hard);
        check(&free, "boss", &json!([unmetered]), &["  paid by  unmetered (unlimited)"]);
        let lines = [clerks, "  within   unmetered (unlimited)"];
        check(&free, "clerk", &json!([clerk, unmetered]), &lines);
    }

    #[test]
    fn requirements_for_acting_as_an_agent_are_explained() {
        let mut settings = settings(None, Mode::Hard);
        let mut check = |mode: AuthMode, assurance: &str, words: &str| {
            settings.auth.mode = mode;
            let (json, lines) = explained(&settings, "boss", "ping");
            assert_eq!(json["assurance"], assurance);
            assert!(json["identity"].as_str().unwrap().starts_with(words));
            let line = format!("  identity {assurance}: {words}");
            assert!(lines.iter().any(|found| found.starts_with(&line)), "{line}: {lines:#?}");
        };
        let key = |id: &str, agent: &str, revoked| ApiKey {
            id: id.into(),
            name: String::new(),
            digest: [0; 32].into(),
            agents: vec![agent.into()],
            roles: Vec::new(),
            created: 0,
            expires: None,
            revoked,
        };
        check(AuthMode::None, "asserted", "whoever writes `boss` as `agent_id` acts as it");
        let token = AuthMode::Config("canary".into());
        check(token, "token", "calls must show the token of `auth.token`");
        let tokens = AuthMode::Header(Tokens::default());
        check(tokens, "token", "calls must show a Tollgate token that lets them act as `boss`");
        let keys = vec![key("a", "boss", false), key("b", "clerk", false), key("c", "boss", true)];
        let words = "calls must show an API key that may act as `boss` (`a` of the settings, and";
        check(AuthMode::ApiKey(keys), "token", words);
        let words = "calls must show an API key that may act as `boss` (none of the settings";
        check(AuthMode::ApiKey(Vec::new()), "token", words);
        settings.auth.mode = AuthMode::None;
        settings.identities.stamped_only = true;
        let (told, _) = explained(&settings, "boss", "ping");
        assert_eq!((&told["assurance"], &told["allowed"]), (&json!("stamped"), &json!(true)));
        assert!(told["identity"].as_str().unwrap().ends_with("are refused"), "{told}");
        settings.identities.unstamped_agent = Some("clerk".into());
        let (told, _) = explained(&settings, "boss", "ping");
        assert!(told["identity"].as_str().unwrap().ends_with("act as `clerk`"), "{told}");
    }

    #[test]
    fn mode_explains_what_an_exhausted_budget_does() {
        for (word, mode) in Mode::WORDS {
            let settings = settings(None, mode);
            let (json, lines) = explained(&settings, "boss", "ping");
            assert_eq!(json["mode"], word);
            let line = lines.iter().find(|line| line.starts_with("  mode ")).unwrap();
            assert!(line.contains(&format!("{word} (a call that the budget does not")), "{line}");
        }
    }
}
