//! `tollgate audit verify`.

use std::{
    io::{BufReader, Read},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        context::{CommandContext, answer},
        exit::Exit,
        output::{Report, note, passing},
    },
    host::{files, terminal::watched},
    ledger::{Verdict, mirror::verify},
};

/// Progress is shown once per this many records.
const STEP: u64 = 50_000;

#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// Verify this copy of the records (GATEWAY_AUDIT_LOG) instead of the store
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

fn report(Verdict { records, broken, incomplete }: Verdict, note: Option<String>) -> Report {
    let (verdict, exit, first_bad, cause) = match (broken, incomplete) {
        (Some((seq, cause)), _) => ("broken", Exit::Broken, Some(seq), Some(cause)),
        (None, Some(cause)) => ("incomplete", Exit::Incomplete, None, Some(cause)),
        (None, None) => ("ok", Exit::Done, None, None),
    };
    let because = cause.as_ref().map_or_else(String::new, |cause| format!(": {cause}"));
    let json = json!({
        "verdict": verdict,
        "records": records,
        "first_bad": first_bad,
        "cause": cause,
        "note": note,
    });
    Report::new(json)
        .exit(exit)
        .line(format!("{verdict}{because}"))
        .line(format!("  {records} records are what they were"))
        .lines(note.map(|note| format!("  {note}")))
}

pub(super) async fn run(context: &CommandContext, asked: &VerifyArgs) -> anyhow::Result<Report> {
    match &asked.file {
        Some(file) => {
            let path = context.env.path(file);
            let place = || path.display().to_string();
            let file = files::open(&path).with_context(place)?;
            copy(file).with_context(place)
        }
        None => store(context).await,
    }
}

async fn store(context: &CommandContext) -> anyhow::Result<Report> {
    let store = context.store()?;
    let head = answer(store.ledger.head()).await?;
    if watched() && head.seq > STEP {
        note(&format!("verifying {} records…", head.seq));
    }
    let verdict = answer(store.ledger.verify()).await?;
    // A store whose records were deleted is incomplete: the end of the chain is kept apart from them.
    let new = verdict.records == 0 && verdict.broken.is_none() && verdict.incomplete.is_none();
    let note = "the store holds no record yet; if it held some before, its file was removed";
    Ok(report(verdict, new.then(|| note.to_owned())))
}

/// Verifies a copy by itself.
fn copy(file: impl Read) -> anyhow::Result<Report> {
    let followed = verify::follow(BufReader::with_capacity(1 << 20, file), progress)?;
    let mut notes = Vec::new();
    if let Some((first, _)) = followed.places.filter(|(first, _)| *first > 1) {
        notes.push(format!(
            "the file begins at record {first}: earlier records, and the text of this one, cannot be verified here"
        ));
    }
    if followed.chains > 1 {
        notes.push(format!("the records belong to {} chains", followed.chains));
    }
    if followed.broken.is_none() && followed.incomplete.is_none() {
        notes.push(
            "this proves the order of the records and that none in between was altered, not who wrote them or whether there were more: the file holds no signature, and anyone can make such a chain. Compare it with the store, whose end is signed (`tollgate audit verify`, without `--file`)"
                .to_owned(),
        );
    }
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    let (records, broken, incomplete) = (followed.records, followed.broken, followed.incomplete);
    Ok(report(Verdict { records, broken, incomplete }, note))
}

fn progress(records: u64) {
    if records.is_multiple_of(STEP) && watched() {
        passing(&format!("{records} records verified"));
    }
}
