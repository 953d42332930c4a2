//! What calls cost and who pays, in `gateway.yaml`: `budget`, `tools`, `enforcement`.

use super::{
    reader::{At, LATER, Object, Reader},
    rules::{period, warn_of_unknown},
};
use crate::domain::{
    budget::{Backend, Budgeting, ChargeOn, Limit, Mode},
    credits::Credits,
    pattern::Pattern,
    period::Period,
    price::{PriceEntry, Tariff},
};

/// What a store in memory is not good for.
const FORGETS: &str = "is `memory`: accounts and records end with each gateway, and `usage`, `budget show`, `audit log` and other commands cannot see them; they need `sqlite`, the default";

/// `budget`.
pub(super) fn budget(at: &At<'_>, budgeting: &mut Budgeting, reader: &mut Reader<'_>) {
    let known = ["backend", "limit", "failMode", "period", "chargeOn"];
    let Some(object) = reader.object_but(at, &known, &[("redisUrl", LATER)]) else { return };
    let backends = [("sqlite", Backend::Sqlite), ("memory", Backend::Memory)];
    let why = "which this version does not have yet; use `sqlite` or `memory`";
    if let Some(at) = object.get("backend") {
        let backend = reader.choice_but(&at, &backends, &[("redis", why), ("postgres", why)]);
        budgeting.store.backend = backend.unwrap_or_default();
        if budgeting.store.backend == Backend::Memory {
            reader.warn(&at, FORGETS);
        }
    }
    if let Some(at) = object.get("failMode") {
        let why = "which needs a store that several nodes share, and this version has none; use `closed`, or leave it out";
        reader.choice_but(&at, &[("closed", ())], &[("open", why)]);
    }
    let period = period(&object, reader);
    budgeting.limit = limit(&object, period, reader);
    if let Some(at) = object.get("chargeOn") {
        budgeting.charge_on = charge_on(&at, reader);
    }
}

/// The older system read 0 as no limit, others would read it as nothing to spend: nobody is left to
/// find out which. A `limit` without its value is a slip, and would be no limit either.
fn limit(object: &Object<'_>, period: Option<Period>, reader: &mut Reader<'_>) -> Option<Limit> {
    let Some(at) = object.even_null("limit") else {
        if let Some(at) = object.get("period") {
            reader.fault(&at, "has no `limit` beside it that it could be the period of");
        }
        return None;
    };
    let credits = reader.credits(&at)?;
    if credits == Credits::ZERO {
        reader.fault(&at, "must be at least 1; for no limit, leave `limit` out");
        return None;
    }
    Some(Limit { credits, period })
}

fn charge_on(at: &At<'_>, reader: &mut Reader<'_>) -> ChargeOn {
    let mut charge_on = ChargeOn::default();
    let known = ["toolError", "serverError", "timeout", "cancelled", "lost"];
    let Some(object) = reader.object(at, &known, &[]) else { return charge_on };
    for (key, flag) in [
        ("toolError", &mut charge_on.tool_error),
        ("serverError", &mut charge_on.server_error),
        ("timeout", &mut charge_on.timeout),
        ("cancelled", &mut charge_on.cancelled),
        ("lost", &mut charge_on.lost),
    ] {
        if let Some(said) = object.get(key).and_then(|at| reader.flag(&at)) {
            *flag = said;
        }
    }
    charge_on
}

/// `tools`; `servers` are the names that keys may refer to.
pub(super) fn tariff(at: &At<'_>, servers: &[&str], reader: &mut Reader<'_>) -> Tariff {
    let mut tariff = Tariff::default();
    let Some(object) = reader.object(at, &["defaultCost", "costs"], &[]) else { return tariff };
    if let Some(cost) = object.even_null("defaultCost").and_then(|at| reader.credits(&at)) {
        tariff.default = cost;
    }
    let costs = object.get("costs").and_then(|at| reader.any_object(&at));
    for (key, at) in costs.iter().flat_map(Object::members) {
        let entry = price(key, &at, servers, reader);
        tariff.entries.extend(entry);
    }
    tariff
}

/// One entry of `tools.costs`: `tool`, or `server/tool`.
fn price(key: &str, at: &At<'_>, servers: &[&str], reader: &mut Reader<'_>) -> Option<PriceEntry> {
    let (server, tool) = match key.split_once('/') {
        Some((server, tool)) => (Some(server), tool),
        None => (None, key),
    };
    let cost = reader.credits(at);
    let mut pattern =
        |part: &str| Pattern::parse(part).map_err(|message| reader.fault(at, message)).ok();
    let (server, tool) = (server.map(&mut pattern), pattern(tool)?);
    if let Some(Some(server)) = &server
        && server.is_explicit()
    {
        warn_of_unknown(server.as_str(), at, servers, reader);
    }
    let server = match server {
        Some(server) => Some(server?),
        None => None,
    };
    Some(PriceEntry { server, tool, cost: cost? })
}

/// `enforcement`.
pub(super) fn mode(at: &At<'_>, reader: &mut Reader<'_>) -> Mode {
    // Words of later versions of the older system, under which `soft` had come to block.
    const OTHERS: [(&str, &str); 6] = [
        ("observe", "a word of another system; use `shadow`"),
        ("chargeback", "a word of another system; use `shadow`"),
        ("control", "a word of another system; use `hard`"),
        ("charge", "a word of another system; use `hard`"),
        ("fiat402", "a word of another system; use `hard`"),
        ("l402", "a word of another system; use `hard`"),
    ];
    let object = reader.object(at, &["mode"], &[]);
    let mode = object.and_then(|object| object.get("mode"));
    mode.and_then(|at| reader.choice_but(&at, &Mode::WORDS, &OTHERS)).unwrap_or_default()
}
