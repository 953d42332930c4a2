//! `tollgate explain`: which rule decides, what a call costs and who pays, without contacting any
//! server.

use serde_json::{Value, json};

use super::{
    Exit,
    args::{ExplainArgs, SettingsArgs},
    output::Output,
};
use crate::{
    app::wiring,
    domain::{
        auth::AuthMode,
        budget,
        call::{ServerName, ToolName},
        caller::{Assurance, Caller},
        credits::Credits,
        identity::{Identities, IdentityMode, Unidentified},
        ledger::{
            AccountId, Declaration, Declared,
            declare::{Terms, account_of},
        },
        period::Period,
        policy::Rule,
        price::Price,
        settings::Settings,
    },
};

pub(super) fn run(
    args: &SettingsArgs,
    explain: &ExplainArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    let settings = wiring::settings(&args.options())?;
    let explained = Explained::of(&settings, explain);
    match output.json {
        true => output.value(&explained.json()),
        false => explained.lines(explain).iter().for_each(|line| output.line(line)),
    }
    Ok(if explained.verdict.allowed { Exit::Done } else { Exit::Refused })
}

/// All that can be said of a call before it is made.
struct Explained<'a> {
    verdict: Verdict,
    configured: bool,
    /// The server is the gateway's own, which is free.
    built_in: bool,
    identity: Identity,
    price: Price<'a>,
    /// The accounts that pay, from the caller's up; none if nobody is identified.
    accounts: Vec<Declared>,
    mode: budget::Mode,
}

struct Verdict {
    allowed: bool,
    reason: String,
    rule: Option<Rule>,
}

impl<'a> Explained<'a> {
    fn of(settings: &'a Settings, explain: &ExplainArgs) -> Self {
        let server = ServerName::from(explain.server.as_str());
        let tool = ToolName::from(explain.tool.as_str());
        // Of the agent that is asked about, however a call proves that it is from that.
        let named = Identities { stamped_only: false, ..settings.identities.clone() };
        let caller = named.identify(Some(&explain.agent), &settings.rules);
        let built_in = server.is_built_in();
        let accounts = caller.as_ref().ok().filter(|_| !built_in);
        let accounts = accounts.map(|caller| paying(settings, caller));
        Self {
            accounts: accounts.unwrap_or_default(),
            configured: built_in || settings.servers.iter().any(|spec| spec.name == server),
            price: match built_in {
                true => Price { cost: Credits::ZERO, entry: None },
                false => settings.budgeting.tariff.price(&server, &tool),
            },
            built_in,
            identity: Identity::of(settings, &explain.agent),
            mode: settings.budgeting.mode,
            verdict: decide(settings, caller, &server, &tool),
        }
    }

    fn json(&self) -> Value {
        let Self { verdict, price, .. } = self;
        let accounts: Vec<Value> = self
            .accounts
            .iter()
            .map(|declared| {
                let (limit, period) = limit_of(declared.terms);
                json!({
                    "account": declared.id.name(),
                    "limit": limit,
                    "period": period.map(Period::as_str),
                })
            })
            .collect();
        json!({
            "allowed": verdict.allowed,
            "reason": verdict.reason,
            "rule": verdict.rule.as_ref().map(|rule| &rule.pointer),
            "says": verdict.rule.as_ref().map(|rule| &rule.says),
            "assurance": self.identity.assurance,
            "identity": self.identity.words,
            "server_configured": self.configured,
            "price": {"credits": price.cost, "entry": price.entry.map(|entry| entry.key())},
            "accounts": accounts,
            "mode": self.mode.as_str(),
        })
    }

    fn lines(&self, explain: &ExplainArgs) -> Vec<String> {
        let Self { verdict, price, .. } = self;
        let ExplainArgs { agent, server, tool } = explain;
        let (word, not) = if verdict.allowed { ("allowed", "") } else { ("denied", "not ") };
        let mut lines = vec![
            format!("{word}: `{agent}` may {not}call `{tool}` on `{server}`"),
            format!("  because  {}", verdict.reason),
        ];
        if let Some(rule) = &verdict.rule {
            lines.push(format!("  rule     {} ({})", rule.pointer, rule.says));
        }
        let Identity { assurance, words } = &self.identity;
        lines.push(format!("  identity {assurance}: {words}"));
        let place = match price.entry {
            Some(entry) => format!("tools.costs `{}`", entry.key()),
            None if self.built_in => "built in".to_owned(),
            None => "tools.defaultCost".to_owned(),
        };
        lines.push(format!("  price    {} ({place})", price.cost.in_words()));
        let mut label = "paid by";
        for declared in &self.accounts {
            lines.push(format!("  {label:7}  {} ({})", declared.id, declared.terms));
            label = "within";
        }
        lines.push(format!("  mode     {} ({})", self.mode.as_str(), beyond(self.mode)));
        if !self.configured {
            lines.push(format!("  note     server `{server}` is not configured"));
        }
        lines
    }
}

/// What it takes to act as an agent.
struct Identity {
    /// The word that records of its calls have.
    assurance: &'static str,
    words: String,
}

impl Identity {
    fn of(settings: &Settings, agent: &str) -> Self {
        let token = |words: String| Self { assurance: "token", words };
        match &settings.auth.mode {
            AuthMode::None => Self::unproven(settings, agent),
            AuthMode::Config(_) => token(format!(
                "calls must show the token of `auth.token`, and may then name `{agent}`"
            )),
            AuthMode::Header(_) => {
                token(format!("calls must show a Tollgate token that lets them act as `{agent}`"))
            }
            AuthMode::ApiKey(keys) => {
                let named = keys.iter().filter(|key| key.may_act_as(&agent.into()));
                let named = named.filter(|key| !key.revoked).map(|key| format!("`{}`", key.id));
                let named: Vec<String> = named.collect();
                let named = match named.is_empty() {
                    true => "none of the settings, those of the store not looked at".to_owned(),
                    false => {
                        format!("{} of the settings, and those of the store", named.join(", "))
                    }
                };
                token(format!("calls must show an API key that may act as `{agent}` ({named})"))
            }
        }
    }

    fn unproven(settings: &Settings, agent: &str) -> Self {
        if settings.identities.stamped_only {
            let others = match &settings.identities.unstamped_agent {
                Some(other) => format!("those without a signature act as `{other}`"),
                None => "those without a signature are refused".to_owned(),
            };
            return Self {
                assurance: Assurance::Stamped.as_str(),
                words: format!("the client's hook must sign calls of `{agent}`; {others}"),
            };
        }
        match &settings.identities.mode {
            IdentityMode::Pinned(pinned) => Self {
                assurance: Assurance::Pinned.as_str(),
                words: format!("the gateway serves `{pinned}`, whatever calls say"),
            },
            IdentityMode::SingleUser => Self {
                assurance: Assurance::Asserted.as_str(),
                words: "there are no rules, so every call is let in".to_owned(),
            },
            IdentityMode::Asserted => Self {
                assurance: Assurance::Asserted.as_str(),
                words: format!(
                    "whoever writes `{agent}` as `agent_id` acts as it; `serve --as` or `auth.mode` asks for more"
                ),
            },
        }
    }
}

/// The account of the caller, and those above it.
fn paying(settings: &Settings, caller: &Caller) -> Vec<Declared> {
    let (budgeting, rules) = (&settings.budgeting, &settings.rules);
    let declaration = Declaration::of(budgeting, rules);
    let find = |id: &AccountId| declaration.accounts().iter().find(|declared| declared.id == *id);
    let own = find(&account_of(budgeting, rules, caller.agent()));
    std::iter::successors(own, |declared| find(declared.parent.as_ref()?)).cloned().collect()
}

fn limit_of(terms: Terms) -> (Option<Credits>, Option<Period>) {
    match terms {
        Terms::Unlimited => (None, None),
        Terms::Funded(limit) => (Some(limit), None),
        Terms::Ceiling(limit, period) => (Some(limit), period),
    }
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

fn decide(
    settings: &Settings,
    caller: Result<Caller, Unidentified>,
    server: &ServerName,
    tool: &ToolName,
) -> Verdict {
    let rules = &settings.rules;
    let refused = |reason: String, rule| Verdict { allowed: false, reason, rule };
    let caller = match caller {
        Ok(caller) => caller,
        Err(error) => return refused(error.to_string(), None),
    };
    if server.is_built_in() {
        return match rules.builtin(&caller, server, tool) {
            Ok(()) => Verdict {
                allowed: true,
                reason: "the server is built in, and nothing denies the tool".into(),
                rule: None,
            },
            Err(denied) => refused("the tool is refused".into(), Some(denied.rule)),
        };
    }
    let visit = match rules.visit(&caller, server) {
        Ok(visit) => visit,
        Err(denied) => return refused("the server is refused".into(), Some(denied.rule)),
    };
    let of_server = visit.rule().clone();
    match rules.authorize(visit, tool) {
        Ok(permit) if *permit.rule() == of_server => Verdict {
            allowed: true,
            reason: "the server is granted and no tool rule narrows it".into(),
            rule: Some(of_server),
        },
        Ok(permit) => Verdict {
            allowed: true,
            reason: "the tool is granted".into(),
            rule: Some(permit.rule().clone()),
        },
        Err(denied) => refused("the tool is refused".into(), Some(denied.rule)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::{AuthMode, Credits, ExplainArgs, Explained, Period, Settings};
    use crate::{
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

    fn asked(agent: &str, tool: &str) -> ExplainArgs {
        ExplainArgs { agent: agent.into(), server: "db".into(), tool: tool.into() }
    }

    #[test]
    fn the_entry_that_decides_the_price_is_named() {
        let settings = settings(None, Mode::Hard);
        let check = |tool: &str, price: Value, line: &str| {
            let explain = asked("boss", tool);
            let explained = Explained::of(&settings, &explain);
            assert_eq!(explained.json()["price"], price);
            let lines = explained.lines(&explain);
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
        let explain = asked(agent, "ping");
        let explained = Explained::of(settings, &explain);
        assert_eq!(&explained.json()["accounts"], accounts);
        let found = explained.lines(&explain);
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
            let explain = asked("boss", "ping");
            let explained = Explained::of(&settings, &explain);
            assert_eq!(explained.json()["assurance"], assurance);
            assert!(explained.json()["identity"].as_str().unwrap().starts_with(words));
            let line = format!("  identity {assurance}: {words}");
            let lines = explained.lines(&explain);
            assert!(lines.iter().any(|found| found.starts_with(&line)), "{line}: {lines:#?}");
        };
        let key = |id: &str, agent: &str, revoked| ApiKey {
            id: id.into(),
            name: String::new(),
            digest: [0; 32],
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
        let explain = asked("boss", "ping");
        let told = Explained::of(&settings, &explain).json();
        assert_eq!((&told["assurance"], &told["allowed"]), (&json!("stamped"), &json!(true)));
        assert!(told["identity"].as_str().unwrap().ends_with("are refused"), "{told}");
        settings.identities.unstamped_agent = Some("clerk".into());
        let told = Explained::of(&settings, &explain).json();
        assert!(told["identity"].as_str().unwrap().ends_with("act as `clerk`"), "{told}");
    }

    #[test]
    fn mode_explains_what_an_exhausted_budget_does() {
        for (word, mode) in Mode::WORDS {
            let settings = settings(None, mode);
            let explain = asked("boss", "ping");
            let explained = Explained::of(&settings, &explain);
            assert_eq!(explained.json()["mode"], word);
            let lines = explained.lines(&explain);
            let line = lines.iter().find(|line| line.starts_with("  mode ")).unwrap();
            assert!(line.contains(&format!("{word} (a call that the budget does not")), "{line}");
        }
    }
}
