//! stub
use super::{Exit, output::Output};
pub(super) fn run(_output: &Output) -> anyhow::Result<Exit> {
    Ok(Exit::Failed)
}
