//! The servers of `gateway.yaml` (`upstreams`, `servers`), and which of them a call means that names
//! none (`routing`, `defaultUpstream`).

use super::{
    document::Value,
    entry::{Form, KNOWN, Loaded, NOT_BUILT},
    reader::{At, LATER, Object, Reader, Refused},
    rules::patterns,
    servers::is_disabled,
};
use crate::domain::{
    call::ServerName,
    near::near,
    routing::{Route, Routing},
};

/// What entries of a list may say besides.
const OF_A_LIST: [&str; 2] = ["id", "name"];

/// What the older systems say of a server, and this version cannot honour.
const REFUSED: [Refused; 4] = [
    ("tags", LATER),
    ("maxMemory", LATER),
    ("healthCheck", LATER),
    ("tlsSkipVerify", "is not supported: certificates are always verified; remove it"),
];

/// Reads the servers; `others` are those of `.mcp.json`.
pub(super) fn servers(top: &Object<'_>, others: &Loaded, reader: &mut Reader<'_>) -> Loaded {
    let any_address = top.get("allowPrivateUpstreams").and_then(|at| reader.flag(&at));
    let form = Form {
        command_may_be_list: true,
        name_describes: false,
        any_address: any_address.unwrap_or(false),
    };
    let mut loaded = Loaded::default();
    for at in ["upstreams", "servers"].into_iter().filter_map(|key| top.get(key)) {
        match &at.node.value {
            Value::List(_) if at.place == "servers" => list(&at, form, others, reader, &mut loaded),
            _ => map(&at, form, others, reader, &mut loaded),
        }
    }
    loaded
}

/// Entries by name.
fn map(at: &At<'_>, form: Form, others: &Loaded, reader: &mut Reader<'_>, loaded: &mut Loaded) {
    let Some(servers) = reader.any_object(at) else { return };
    for (name, at) in servers.members() {
        check_name_is_free(name, &at, others, loaded, reader);
        loaded.found(name, &at, reader);
        let Some(object) = reader.object_but(&at, &KNOWN, &refused()) else { continue };
        let off = is_disabled(&object, reader);
        loaded.add(name, &object, off, form, reader);
    }
}

/// Entries that say their names themselves.
fn list(at: &At<'_>, form: Form, others: &Loaded, reader: &mut Reader<'_>, loaded: &mut Loaded) {
    let known: Vec<&'static str> = KNOWN.into_iter().chain(OF_A_LIST).collect();
    for at in reader.list(at).unwrap_or_default() {
        let Some(object) = reader.object_but(&at, &known, &refused()) else { continue };
        let Some(id) = object.get("id") else {
            reader.fault(&at, "has no `id`, which names the server");
            continue;
        };
        let Some(name) = reader.text(&id) else { continue };
        check_name_is_free(&name, &at, others, loaded, reader);
        loaded.found(&name, &at, reader);
        let off = is_disabled(&object, reader);
        loaded.add(&name, &object, off, Form { name_describes: true, ..form }, reader);
    }
}

fn refused() -> Vec<Refused> {
    NOT_BUILT.iter().map(|key| (*key, LATER)).chain(REFUSED).collect()
}

fn check_name_is_free(
    name: &str,
    at: &At<'_>,
    others: &Loaded,
    own: &Loaded,
    reader: &mut Reader<'_>,
) {
    if let Some(place) = others.entries.get(name).or_else(|| own.entries.get(name)) {
        reader.fault(at, format!("has a name that is taken by {place}; rename one of them"));
    }
}

/// The servers of `.mcp.json`.
#[derive(Clone, Copy)]
pub(super) struct Others<'a> {
    pub(super) servers: &'a Loaded,
    /// Whether these are all that the file has; not if it could not be read.
    pub(super) complete: bool,
    /// Whether the file merely lies where it is looked for, while `gateway.yaml` was named.
    pub(super) stray: bool,
}

/// Where calls go that name no server.
pub(super) struct Destinations<'a> {
    pub(super) others: Others<'a>,
    /// The servers of this file.
    pub(super) own: &'a Loaded,
}

impl Destinations<'_> {
    /// `routing` and `defaultUpstream`.
    pub(super) fn routing(&self, top: &Object<'_>, reader: &mut Reader<'_>) -> Routing {
        let routes = top.get("routing").and_then(|at| reader.list(&at)).unwrap_or_default();
        let routes = routes.iter().filter_map(|at| self.route(at, reader)).collect();
        let default = match top.get("defaultUpstream") {
            Some(at) => self.server(&at, reader),
            None => self.only_one(),
        };
        Routing { routes, default }
    }

    fn route(&self, at: &At<'_>, reader: &mut Reader<'_>) -> Option<Route> {
        let object = reader.object(at, &["tools", "upstream"], &[])?;
        let (tools, upstream) = (object.get("tools"), object.get("upstream"));
        for (key, member) in [("tools", &tools), ("upstream", &upstream)] {
            if member.is_none() {
                reader.fault(at, format!("has no `{key}`"));
            }
        }
        let patterns = tools.map(|at| {
            if matches!(&at.node.value, Value::List(items) if items.is_empty()) {
                reader.fault(&at, "names no tool; a route needs one, or a pattern");
            }
            patterns(&at, reader)
        });
        let server = upstream.and_then(|at| self.server(&at, reader));
        Some(Route { tools: patterns?, server: server? })
    }

    /// A server that is configured.
    fn server(&self, at: &At<'_>, reader: &mut Reader<'_>) -> Option<ServerName> {
        let name = reader.text(at)?;
        let entries = || self.others.servers.entries.keys().chain(self.own.entries.keys());
        if self.others.complete && !entries().any(|known| *known == name) {
            let near = near(&name, entries().map(String::as_str));
            let meant = near.first().map(|near| format!("; did you mean `{near}`?"));
            reader.fault(
                at,
                format!(
                    "names server `{name}`, which is not configured{}",
                    meant.unwrap_or_default()
                ),
            );
            return None;
        }
        if self.others.servers.disabled.contains(&name) || self.own.disabled.contains(&name) {
            reader.warn(at, &format!("names server `{name}`, which is switched off"));
        }
        Some(ServerName::from(name.as_str()))
    }

    /// The only server there is, if this file names it. Whoever named this file did not mean another
    /// that happens to lie in the working directory.
    fn only_one(&self) -> Option<ServerName> {
        let alone = self.others.stray || self.others.servers.specs.is_empty();
        match self.own.specs.as_slice() {
            [only] if alone => Some(only.name.clone()),
            _ => None,
        }
    }
}
