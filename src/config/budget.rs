//! What calls cost and who pays, in `gateway.yaml`: `budget`, `tools` and `enforcement`.

use super::{
    findings::Findings,
    written::{At, BudgetSection, ChargeOnSection, EnforcementSection, ToolsSection},
};
use crate::domain::{
    budget::{Backend, Budgeting, ChargeOn, Limit},
    credits::Credits,
    pattern::Pattern,
    price::{PriceEntry, Tariff},
};

/// What a store in memory is not good for.
const FORGETS: &str = "is `memory`: accounts and records end with each gateway, and `usage`, `budget show`, `audit log` and other commands cannot see them; they need `sqlite`, the default";

/// `budget` and `enforcement`.
pub(super) fn budget(
    At { place, value: written }: At<BudgetSection>,
    enforcement: Option<EnforcementSection>,
    budgeting: &mut Budgeting,
    findings: &mut Findings<'_>,
) {
    let mode = enforcement.and_then(|section| section.mode);
    budgeting.mode = mode.map(|word| word.0).unwrap_or_default();
    if let Some(backend) = &written.backend {
        budgeting.store.backend = backend.0;
        if budgeting.store.backend == Backend::Memory {
            findings.warn(&backend.place, FORGETS);
        }
    }
    if let Some(section) = written.charge_on {
        budgeting.charge_on = section.into();
    }
    // The older system read 0 as no limit, others would read it as nothing to spend.
    match (written.limit, written.period) {
        (Some(At { place, value: Credits::ZERO }), _) => {
            findings.fault(&place, "must be at least 1; for no limit, leave `limit` out");
        }
        (Some(limit), period) => {
            let period = period.map(|word| word.0);
            budgeting.limit = Some(Limit { credits: limit.value, period });
        }
        (None, Some(period)) if place.even_null("limit").is_none() => {
            let message = "has no `limit` beside it that it could be the period of";
            findings.fault(&period.place, message);
        }
        _ => {}
    }
}

impl From<ChargeOnSection> for ChargeOn {
    fn from(written: ChargeOnSection) -> Self {
        let default = Self::default();
        Self {
            tool_error: written.tool_error.unwrap_or(default.tool_error),
            server_error: written.server_error.unwrap_or(default.server_error),
            timeout: written.timeout.unwrap_or(default.timeout),
            cancelled: written.cancelled.unwrap_or(default.cancelled),
            lost: written.lost.unwrap_or(default.lost),
        }
    }
}

/// `tools`; `servers` are the names that keys may refer to.
pub(super) fn tariff(
    written: Option<ToolsSection>,
    servers: &[&str],
    findings: &mut Findings<'_>,
) -> Tariff {
    let ToolsSection { default_cost, costs } = written.unwrap_or_default();
    let mut tariff = Tariff::default();
    tariff.default = default_cost.unwrap_or(tariff.default);
    for (key, at) in costs.unwrap_or_default() {
        match price(&key, at.value) {
            Ok(entry) => {
                if let Some(server) = entry.server.as_ref().filter(|server| server.is_explicit()) {
                    findings.warn_of_unknown(server.as_str(), &at.place, servers);
                }
                tariff.entries.push(entry);
            }
            Err(message) => findings.fault(&at.place, message),
        }
    }
    tariff
}

/// One entry of `tools.costs`: `tool`, or `server/tool`.
fn price(key: &str, cost: Credits) -> Result<PriceEntry, String> {
    let (server, tool) = match key.split_once('/') {
        Some((server, tool)) => (Some(server), tool),
        None => (None, key),
    };
    let server = server.map(Pattern::parse).transpose()?;
    Ok(PriceEntry { server, tool: Pattern::parse(tool)?, cost })
}
