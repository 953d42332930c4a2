//! What every command works with: its settings, its printer and the opened store.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, anyhow, bail};

use super::{
    args::SettingsArgs,
    exit::Exit,
    output::{Printer, Report},
};
use crate::{
    app::wiring,
    domain::{
        auth::{ApiKey, AuthMode},
        budget::Backend,
        call::AgentId,
        identity::IdentityMode,
        ledger::{Account, AccountId},
        near::near,
        settings::Settings,
    },
    gateway::Places,
    host::environment::Environment,
    ledger::{self, Answered, Ledger, LedgerUnavailable},
};

/// A command that runs.
pub(super) struct CommandContext {
    pub(super) args: SettingsArgs,
    pub(super) printer: Printer,
    pub(super) env: Environment,
}

impl CommandContext {
    pub(super) fn new(args: SettingsArgs) -> Self {
        let printer = Printer::new(args.json);
        Self { args, printer, env: Environment::of_process() }
    }

    /// A command of the same kind over the settings in a directory.
    pub(super) fn over(&self, config_dir: &Path, env: Environment) -> Self {
        let args = SettingsArgs::in_dir(config_dir, self.args.json);
        Self { printer: Printer::new(args.json), args, env }
    }

    /// Loads the settings and starts a quiet log.
    pub(super) fn settings(&self) -> anyhow::Result<Settings> {
        Ok(wiring::settings(&self.args.options(), &self.env)?)
    }

    /// The user's directories.
    pub(super) fn places(&self) -> Places {
        wiring::places(&self.env)
    }

    /// Prints a report and returns the command's exit status.
    pub(super) fn show(&self, report: &Report) -> anyhow::Result<Exit> {
        Ok(self.printer.show(report))
    }

    /// Prints a credential that is shown only once; fails if no one has read it.
    pub(super) fn show_once(&self, report: &Report, remedy: &str) -> anyhow::Result<Exit> {
        let lost = || format!("the credential cannot be written, and is lost{remedy}");
        self.printer.print(report).with_context(lost)?;
        Ok(Exit::Done)
    }

    /// Opens the store of accounts and records.
    pub(super) fn store(&self) -> anyhow::Result<OpenStore> {
        self.store_of(
            "accounts and records",
            "the default, or have a gateway copy its records into a file (GATEWAY_AUDIT_LOG)",
        )
    }

    /// Opens the store, or says what to do instead if it is in the memory of each gateway.
    pub(super) fn store_of(&self, what: &str, instead: &str) -> anyhow::Result<OpenStore> {
        self.open(self.settings()?, what, instead)
    }

    pub(super) fn open(
        &self,
        settings: Settings,
        what: &str,
        instead: &str,
    ) -> anyhow::Result<OpenStore> {
        let (store, state) = (&settings.budgeting.store, self.places().state);
        if store.backend == Backend::Memory {
            bail!(
                "{what} are in the memory of each gateway (`budget.backend: memory`), where no command can see them; use `sqlite`, {instead}"
            );
        }
        if store.path.is_none() && state.is_none() {
            bail!("there is no place for accounts and records: set HOME, or `store.path`");
        }
        let ledger = ledger::open(store, state.as_deref().map(Path::new));
        Ok(OpenStore { settings, ledger })
    }
}

/// The store that settings name.
pub(super) struct OpenStore {
    pub(super) settings: Settings,
    pub(super) ledger: Arc<dyn Ledger>,
}

impl OpenStore {
    /// The name of an account, with its namespace if that is not the one of these settings.
    pub(super) fn name(&self, id: &AccountId) -> String {
        if self.is_own(id) { id.name() } else { id.as_str() }.to_owned()
    }

    pub(super) fn is_own(&self, id: &AccountId) -> bool {
        id.namespace() == self.settings.budgeting.namespace
    }

    pub(super) async fn accounts(&self) -> anyhow::Result<Vec<(AccountId, Account)>> {
        answer(self.ledger.accounts()).await
    }
}

const UNUSABLE: &str = "the store of accounts and records cannot be used";

/// What the store answers, for a command.
pub(super) async fn answer<T>(answered: Answered<T>) -> anyhow::Result<T> {
    answered.await.context(UNUSABLE)
}

/// Takes a step of the store, a second time if the first may have been applied: under the same id
/// nothing moves twice.
pub(super) async fn applied<T>(step: impl Fn() -> Answered<T>) -> anyhow::Result<T> {
    match step().await {
        Err(unavailable) if unavailable.maybe_applied => answer(step()).await,
        other => other.context(UNUSABLE),
    }
}

/// A store that cannot be read.
pub(super) fn unusable(cause: LedgerUnavailable) -> anyhow::Error {
    anyhow::Error::new(cause).context(UNUSABLE)
}

/// Says that there is no such thing, and which there are of similar names.
pub(super) fn missing<'a>(
    what: &str,
    known: impl IntoIterator<Item = &'a str>,
    name: &str,
    otherwise: &str,
) -> anyhow::Error {
    match near(name, known).join("`, `") {
        near if near.is_empty() => anyhow!("there is no {what}; {otherwise}"),
        near => anyhow!("there is no {what}; there is `{near}`"),
    }
}

/// An agent that the rules have.
pub(super) fn known_agent(settings: &Settings, name: &str) -> anyhow::Result<AgentId> {
    let rules = &settings.rules.agents;
    if rules.contains_key(name) {
        return Ok(name.into());
    }
    let otherwise = match settings.identities.mode {
        IdentityMode::SingleUser => {
            format!("without rules there is only `{}`", AgentId::fallback())
        }
        _ => "`tollgate check` lists the agents".to_owned(),
    };
    let known = rules.keys().map(AgentId::as_str);
    Err(missing(&format!("agent `{name}`"), known, name, &otherwise))
}

/// The API keys that the settings themselves have.
pub(super) fn configured_keys(settings: &Settings) -> &[ApiKey] {
    match &settings.auth.mode {
        AuthMode::ApiKey(keys) => keys,
        _ => &[],
    }
}
