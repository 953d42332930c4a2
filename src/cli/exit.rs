//! Exit statuses, a contract with scripts.

use std::process::ExitCode;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: failed.
    Failed,
    /// 2: the command line or the settings are wrong.
    Settings,
    /// 3: policy or budget refused.
    Refused,
    /// 4: the chain of records is broken.
    Broken,
    /// 5: records are missing at the end of their chain.
    Incomplete,
    /// The exit status of a supervised server.
    Server(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Settings => 2,
            Exit::Refused => 3,
            Exit::Broken => 4,
            Exit::Incomplete => 5,
            Exit::Server(status) => status,
        })
    }
}
