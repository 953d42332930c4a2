//! Records and the store in `gateway.yaml`: `audit`, `store` and `metering`.

use super::{
    findings::Findings,
    written::{
        Arguments, At, AuditSection, DiscoveryEntry, DiscoveryWord, MeteringSection, StoreSection,
    },
};
use crate::domain::budget::{Backend, Budgeting, Discovery, StoreSettings};

/// `audit`: whether records hold whole arguments, and where they are kept. `path` is the SQLite file of
/// records in the older system; accounts are in the same file here.
pub(super) fn audit(written: AuditSection, budgeting: &mut Budgeting, findings: &mut Findings<'_>) {
    warn_if_off(written.enabled, "every call is recorded all the same", findings);
    warn_if_off(written.hash_chain, "records are chained all the same", findings);
    budgeting.discovery = match written.discovery {
        Some(DiscoveryEntry::OneIn(many)) => Discovery::OneIn(many.get()),
        Some(DiscoveryEntry::Word(DiscoveryWord::Off)) => Discovery::Off,
        Some(DiscoveryEntry::Word(DiscoveryWord::Each)) | None => Discovery::default(),
    };
    budgeting.full_arguments = written.arguments == Some(Arguments::Full);
    store_path(written.path, &mut budgeting.store, findings);
}

/// `metering`, which cannot be switched off.
pub(super) fn metering(written: Option<MeteringSection>, findings: &mut Findings<'_>) {
    let enabled = written.and_then(|section| section.enabled);
    warn_if_off(enabled, "every call is metered all the same", findings);
}

/// `store`.
pub(super) fn store(
    written: StoreSection,
    settings: &mut StoreSettings,
    findings: &mut Findings<'_>,
) {
    settings.durability = written.durability.map(|word| word.0).unwrap_or_default();
    store_path(written.path, settings, findings);
}

/// Warns of a switch that says `false` and switches nothing off.
fn warn_if_off(switch: Option<At<bool>>, why: &str, findings: &mut Findings<'_>) {
    if let Some(At { place, value: false }) = switch {
        findings.warn(&place, &format!("has no effect: {why}"));
    }
}

/// Where accounts and records are kept: `store.path`, or `audit.path` of the older system.
fn store_path(path: Option<At<String>>, settings: &mut StoreSettings, findings: &mut Findings<'_>) {
    let Some(At { place, value: path }) = path else { return };
    if path.is_empty() {
        findings.fault(&place, "must name a file");
    }
    if settings.backend == Backend::Memory {
        findings.warn(&place, "has no effect beside `budget.backend: memory`");
    }
    // Beside the file that names it: the gateway is started from many directories.
    let path = findings.dir().join(findings.env.beneath_home(path));
    if settings.path.as_ref().is_some_and(|other| *other != path) {
        findings.fault(
            &place,
            "is another file than `audit.path`, and both name the store of accounts and records; keep one of them",
        );
    }
    settings.path = Some(path);
}
