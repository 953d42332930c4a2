//! Floor 2: the MCP servers behind us.
//!
//! - [`Fleet`]: all servers of the settings, by name; [`Member`]: a server, and its settings.
//! - [`server`]: one server as others see it. [`state`]: where it is in its life. [`life`]: how it is
//!   started, started again, stopped. [`turns`]: starts ahead of need. [`uses`]: when it is idle.
//!   [`slots`]: how many calls it works on at a time. [`launcher`]: what servers share.
//! - [`session`]: one MCP session: the process or the HTTP client, and its end. [`handshake`]: which
//!   version is spoken. [`connection`]: a session and its tools. [`listing`]: lists them. [`calling`]:
//!   its calls.
//! - [`peer`]: requests and their answers, over either transport. [`pending`]: who waits for an
//!   answer, and for how long. [`questions`]: what the server asks. [`changes`]: whether its tools
//!   changed. [`pace`]: how fast it may send notifications. [`backlog`]: how many bytes may wait for
//!   clients.
//! - [`pipes`]: reads a child's standard output; [`stdin_writer`] writes its input, [`stderr`] logs.
//!   [`http`]: Streamable HTTP.
//! - [`outgoing`], [`client_channel`]: a call, and the way back to the client that made it.
//! - [`cache`]: tools and their counts, kept between runs.
//!
//! A broken server delays no other: every server has its own state and its own deadlines.

mod backlog;
mod cache;
mod calling;
mod changes;
mod client_channel;
mod connection;
mod failure;
mod handshake;
mod http;
mod launcher;
mod life;
mod listing;
mod outgoing;
mod pace;
mod peer;
mod pending;
mod pipes;
mod questions;
mod server;
mod session;
mod slots;
mod state;
mod stderr;
mod stdin_writer;
mod turns;
mod uses;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::task::JoinSet;

pub use cache::SchemaCache;
pub use client_channel::{ClientChannel, ClientEvent, ClientEvents, Question};
pub use failure::{CallFailure, ServerUnavailable};
pub use launcher::Launcher;
pub use life::LONGEST_START;
pub use outgoing::{ClientContext, Outgoing};
pub use peer::ELICITATION;
pub use server::{Server, Status};
pub use turns::NotYet;
pub use uses::Use;

use crate::domain::{
    call::ServerName,
    settings::{Remote, ServerSpec, StartMode},
    tokens::Encoding,
};

/// How long stopping everything may take, in all.
const STOP_DEADLINE: Duration = Duration::from_millis(2_200);

/// All servers of one state of the settings.
#[derive(Debug)]
pub struct Fleet {
    members: Vec<Member>,
    by_name: HashMap<ServerName, usize>,
}

/// A server, and what these settings say of it. The server may be older than they are.
#[derive(Clone, Debug)]
pub struct Member {
    spec: ServerSpec,
    server: Arc<Server>,
}

impl Member {
    /// Its name.
    pub fn name(&self) -> &ServerName {
        &self.spec.name
    }

    /// Its settings.
    pub fn spec(&self) -> &ServerSpec {
        &self.spec
    }

    /// Whether its server is the one that other settings ask for.
    fn serves(&self, spec: &ServerSpec, encoding: Encoding) -> bool {
        self.spec.runs_as(spec) && self.server.encoding() == encoding
    }

    /// The server itself.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }
}

/// What becomes of servers when settings succeed others.
#[derive(Debug, Default)]
pub struct Succession {
    /// New ones.
    pub added: Vec<ServerName>,
    /// Those that are not there any more.
    pub removed: Vec<ServerName>,
    /// Those that are replaced, as they run differently now.
    pub replaced: Vec<ServerName>,
    /// Those that run on, though something else is said of them.
    pub altered: Vec<ServerName>,
    /// Servers of the fleet before that are in the one after no more. They are to be retired.
    pub left: Vec<Arc<Server>>,
    /// Servers that are to be started now.
    pub eager: Vec<Arc<Server>>,
}

impl Succession {
    fn note(&mut self, spec: &ServerSpec, before: Option<&Member>, kept: Option<&Member>) {
        let names = match (before, kept) {
            (_, Some(kept)) if kept.spec == *spec => return,
            (_, Some(_)) => &mut self.altered,
            (Some(_), None) => &mut self.replaced,
            (None, None) => &mut self.added,
        };
        names.push(spec.name.clone());
    }
}

impl Fleet {
    /// A fleet of these servers, none of them started.
    pub fn new(specs: &[ServerSpec], launcher: &Arc<Launcher>, cache: &SchemaCache) -> Self {
        let none = Self { members: Vec::new(), by_name: HashMap::new() };
        none.succeeded_by(specs, launcher, cache).0
    }

    /// The fleet of the settings that come after these. A server that runs the same is the same
    /// one, with its process and its calls in flight. Nothing is started or stopped here.
    pub fn succeeded_by(
        &self,
        specs: &[ServerSpec],
        launcher: &Arc<Launcher>,
        cache: &SchemaCache,
    ) -> (Self, Succession) {
        let mut succession = Succession::default();
        let members = specs.iter().map(|spec| {
            let before = self.member(spec.name.as_str());
            let kept = before.filter(|before| before.serves(spec, cache.encoding()));
            succession.note(spec, before, kept);
            let server = match kept {
                Some(kept) => kept.server.clone(),
                None => Arc::new(Server::new(spec.clone(), launcher.clone(), cache.clone())),
            };
            if spec.start == StartMode::Eager
                && kept.is_none_or(|kept| kept.spec.start == StartMode::Lazy)
            {
                succession.eager.push(server.clone());
            }
            Member { spec: spec.clone(), server }
        });
        let after = Self::of(members.collect());
        for Member { spec, server } in &self.members {
            match after.member(spec.name.as_str()) {
                Some(same) if Arc::ptr_eq(&same.server, server) => continue,
                Some(_) => {}
                None => succession.removed.push(spec.name.clone()),
            }
            succession.left.push(server.clone());
        }
        (after, succession)
    }

    fn of(members: Vec<Member>) -> Self {
        let names = members.iter().enumerate();
        let by_name = names.map(|(index, member)| (member.name().clone(), index)).collect();
        Self { members, by_name }
    }

    /// The servers, in the order of the settings.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The server of that exact name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.by_name.get(name).and_then(|index| self.members.get(*index))
    }

    /// The servers that are to be started with the gateway.
    pub fn eager(&self) -> Vec<Arc<Server>> {
        let eager = self.members.iter().filter(|member| member.spec.start == StartMode::Eager);
        eager.map(|member| member.server.clone()).collect()
    }
}

/// Why a server's address would be refused, as far as its URL tells it; names are resolved only when
/// they are called.
pub fn refused_address(remote: &Remote) -> Option<String> {
    http::check(remote).err()
}

/// Starts servers ahead of need, in their turns and in the background. Failures are in the log and in
/// the server's status; the next call tries again.
pub fn start(servers: Vec<Arc<Server>>) {
    for server in servers {
        server.want();
    }
}

/// Stops servers in parallel and for good; whatever still runs at the deadline is killed.
pub async fn stop(servers: Vec<Arc<Server>>) {
    let mut stops: JoinSet<()> =
        servers.into_iter().map(|server| async move { server.stop().await }).collect();
    let all = async { while stops.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_DEADLINE, all).await.is_err() {
        tracing::warn!("some servers did not stop in time");
    }
}
