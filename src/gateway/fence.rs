//! The last look before a call is sent: a gateway that was stopped or asleep may find that its hold has
//! been swept, and then the call must not go.

use std::{
    sync::PoisonError,
    time::{Duration, Instant, SystemTime},
};

use super::{
    billing::{Hold, LIFETIME, ended, milliseconds, unusable},
    forward::because,
};
use crate::{
    domain::{ledger::Extended, policy::Permit, refusal::Refusal},
    host::clock,
    ledger::Unavailable,
};

impl Hold {
    /// Whether enough time has passed for a sweep to have ended the hold. The process may have
    /// been stopped meanwhile, and the machine may have slept.
    pub(super) fn is_stale(&self) -> bool {
        self.seen_open.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= STALE
    }

    /// Extends the hold; an error if its call must not be sent.
    pub(super) async fn check_open(&self) -> Result<(), Unsendable> {
        let Some(id) = self.open else { return Ok(()) };
        let moment = Moment::now();
        match self.billing.ledger.extend(id, milliseconds(LIFETIME)).await? {
            Extended::Ended => return Err(Unsendable::Ended),
            Extended::Closed(_) => return Err(Unsendable::Closed),
            Extended::Open => {}
        }
        *self.seen_open.lock().unwrap_or_else(PoisonError::into_inner) = moment;
        Ok(())
    }
}

/// How long a hold is taken to be open without asking again.
const STALE: Duration = Duration::from_secs(5);

/// A moment by two clocks: one that is never set but may stand still while the machine sleeps, and
/// one that goes on.
pub(super) struct Moment {
    awake: Instant,
    wall: SystemTime,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { awake: clock::instant(), wall: clock::system() }
    }

    fn elapsed(&self) -> Duration {
        self.awake.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }
}

/// Why a call that was paid for must not be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsendable {
    /// A sweep ended its hold.
    #[error("its hold has ended")]
    Ended,
    /// The account that pays was closed.
    #[error("its account was closed")]
    Closed,
    /// Nobody knows.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Unsendable {
    /// What the caller hears.
    pub(super) fn refusal(self, permit: &Permit) -> Refusal {
        match self {
            Self::Ended => because(
                permit.server(),
                "the call was not sent, as the gateway was stopped or asleep for so long that the credits held for it went back; call again",
            ),
            Self::Closed => ended(),
            Self::Unavailable(unavailable) => unusable(unavailable),
        }
    }
}
