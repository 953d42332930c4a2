//! `tollgate token`: the credentials of callers where `auth.mode` is `header`.

mod given;
mod inspect;
mod mint;
mod narrow;
mod revoke;

use clap::Subcommand;

use self::{inspect::InspectArgs, mint::MintArgs, narrow::NarrowArgs, revoke::RevokeArgs};
use super::{context::CommandContext, exit::Exit};
#[derive(Debug, Subcommand)]
pub(super) enum TokenArgs {
    /// Mint a token and print it, this once
    #[command(alias = "create")]
    Mint(MintArgs),
    /// Derive a narrower token from a token; needs no settings and no key
    Narrow(NarrowArgs),
    /// Show what a token allows and whether this gateway accepts it; exit status 3 if it does not
    Inspect(InspectArgs),
    /// Revoke a token, at once and for good, with all delegations below it
    Revoke(RevokeArgs),
}

pub(super) async fn run(context: &CommandContext, asked: TokenArgs) -> anyhow::Result<Exit> {
    match asked {
        TokenArgs::Mint(asked) => mint::run(context, asked).await,
        TokenArgs::Narrow(asked) => narrow::run(context, asked),
        TokenArgs::Inspect(asked) => context.show(&inspect::run(context, asked).await?),
        TokenArgs::Revoke(asked) => context.show(&revoke::run(context, asked).await?),
    }
}
