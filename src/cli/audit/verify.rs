//! `tollgate audit verify`.

use std::{fs::File, io::BufReader, path::Path};

use anyhow::Context;
use serde_json::json;

use crate::{
    app::wiring,
    cli::{
        Exit,
        args::SettingsArgs,
        output::{Output, note, passing},
        records,
    },
    host::terminal::watched,
    ledger::{Verdict, mirror::verify},
};

/// People are told how far it is every so many records.
const STEP: u64 = 50_000;

pub(super) fn store(args: &SettingsArgs, output: &Output) -> anyhow::Result<Exit> {
    let settings = wiring::settings(&args.options())?;
    let ledger = records::ledger(&settings)?;
    let verdict = wiring::runtime()?.block_on(async {
        let head = records::answer(ledger.head()).await?;
        if watched() && head.seq > STEP {
            note(&format!("following {} records…", head.seq));
        }
        records::answer(ledger.verify()).await
    })?;
    // One whose records were deleted is incomplete: the end of the chain is kept apart from them.
    let new = verdict.records == 0 && verdict.broken.is_none() && verdict.incomplete.is_none();
    let note =
        new.then_some("the store holds no record yet; if there were some, its file was removed");
    Ok(told(&verdict, note, output))
}

pub(super) fn file(path: &Path, output: &Output) -> anyhow::Result<Exit> {
    let place = || path.display().to_string();
    let file = File::open(path).with_context(place)?;
    let followed = verify::follow(BufReader::with_capacity(1 << 20, file), progress);
    let followed = followed.with_context(place)?;
    let mut notes = Vec::new();
    if let Some((first, _)) = followed.places.filter(|(first, _)| *first > 1) {
        notes.push(format!(
            "the file begins at record {first}: what was before, and the text of that record, cannot be verified here"
        ));
    }
    if followed.chains > 1 {
        notes.push(format!("the records are of {} chains", followed.chains));
    }
    if followed.broken.is_none() && followed.incomplete.is_none() {
        notes.push(
            "this proves the order of the records and that none was altered in between, not who wrote them: the file holds no signature, and anyone can make such a chain. Whether there were more records is not in the file. Compare it with the store (`tollgate audit verify`, without `--file`), whose end is signed"
                .to_owned(),
        );
    }
    let verdict = Verdict {
        records: followed.records,
        broken: followed.broken,
        incomplete: followed.incomplete,
    };
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    Ok(told(&verdict, note.as_deref(), output))
}

fn progress(records: u64) {
    if records.is_multiple_of(STEP) && watched() {
        passing(&format!("{records} records followed"));
    }
}

/// Tells what following the records came to; `note` is what was not verified though nothing is wrong.
fn told(verdict: &Verdict, note: Option<&str>, output: &Output) -> Exit {
    let Verdict { records, broken, incomplete } = verdict;
    let (word, exit) = match (broken, incomplete) {
        (Some(_), _) => ("broken", Exit::Broken),
        (None, Some(_)) => ("incomplete", Exit::Incomplete),
        (None, None) => ("ok", Exit::Done),
    };
    let cause = broken.as_ref().map(|(_, cause)| cause).or(incomplete.as_ref());
    if output.json {
        output.value(&json!({
            "verdict": word,
            "records": records,
            "first_bad": broken.as_ref().map(|(seq, _)| seq),
            "cause": cause,
            "note": note,
        }));
        return exit;
    }
    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
    output.line(&format!("{word}{cause}"));
    output.line(&format!("  {records} records are what they were"));
    if let Some(note) = note {
        output.line(&format!("  {note}"));
    }
    exit
}
