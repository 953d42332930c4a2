//! Settings loaded in this process.

use std::{fs, sync::Arc};

use tempfile::TempDir;
use tollgate::{
    config::{self, Faults, Options},
    domain::{budget::Limit, credits::Credits, settings::Settings},
    host::environment::Environment,
};

pub const GATEWAY: &str = "gateway.yaml";

pub const ROOT_KEY: &str = "8d0b6c0e5f6a4b57";

/// A directory with these settings, loaded in this process.
pub struct Home {
    pub dir: Arc<TempDir>,
    pub env: Environment,
}

impl Home {
    pub fn of(files: &[(&str, &str)]) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, text)| fs::write(dir.path().join(name), text).unwrap());
        let variables = [
            ("MY_API_KEY", "key-3b19"),
            ("SATGATE_ROOT_KEY", ROOT_KEY),
            ("DATABASE_URL", "postgres://h/d"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let env = Environment { variables, working_dir: dir.path().into(), executable: None };
        Self { dir, env }
    }

    pub fn load(&self) -> Result<Settings, Faults> {
        config::load(&Options::default(), &self.env)
    }
}

pub fn limit(amount: u64) -> Option<Limit> {
    Some(Limit { credits: Credits::new(amount).unwrap(), period: None })
}

#[track_caller]
pub fn check_prices(settings: &Settings, server: &str, prices: &[(&str, u64)]) {
    for (tool, cost) in prices {
        let price = settings.budgeting.tariff.price(&server.into(), &(*tool).into());
        assert_eq!(price.cost.amount(), *cost, "{server}/{tool}");
    }
}
