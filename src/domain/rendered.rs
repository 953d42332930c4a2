//! The tools of a server as they are sent: rendered at every level, and counted once.
//!
//! An answer's `tools` array is a sequence of items between brackets and commas. Tokenizers cut text
//! into pieces before they look anything up. A run of punctuation is one piece that ends where a
//! letter or digit begins, and a word ends where a mark or a space begins. So a name that begins and
//! ends with a letter or digit is counted apart from what is before and behind it, and the tokens of
//! an array are exactly the sum of its parts: each name, and what follows the name up to the next
//! one. The tokenizer's tables (46 MB) stay on disk while counts are known.
//!
//! Other names are counted with the finished array.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    call::{ServerName, ToolName},
    catalog::{Catalogue, Tool},
    credits::Credits,
    detail::Level,
    render,
    tokens::Encoding,
};

/// What may follow an item: its separator, up to the next name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Line,
    Object,
    End,
}

impl Next {
    const ALL: [Self; 3] = [Self::Line, Self::Object, Self::End];

    fn of(level: Option<Level>) -> Self {
        match level {
            None => Self::End,
            Some(Level::Full) => Self::Object,
            Some(_) => Self::Line,
        }
    }

    fn separator(self) -> &'static str {
        match self {
            Self::Line => ",\"",
            Self::Object => ",{\"",
            Self::End => "]",
        }
    }
}

/// Tokens of what follows a name up to the next name: without a price and with one (whose tag is not
/// counted), by what follows.
type ItemCosts = [[u32; Next::ALL.len()]; 2];

/// An item of more bytes than this is not offered: no sensible budget takes it, and counting it
/// takes long.
const LARGEST_ITEM: usize = 256 * 1024;

/// The most tokens before the first name: `[{"`.
pub(super) const LARGEST_FRAME: usize = 2;

/// How many tokens more than its parts a name may cost that is not counted apart.
const ODD_NAME: u32 = 2;

/// The counts of one tool, as the cache has them on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCosts {
    /// The name, alone and with the server's before it.
    name: [u32; 2],
    /// The same behind another name and a space; None where it cannot stand in a line of names.
    next_name: [Option<u32>; 2],
    /// What follows the name, by [`Level::ALL`]; None where the level is not offered.
    items: [Option<ItemCosts>; Level::ALL.len()],
    /// The definition as its server sent it: name, description and schema as compact JSON.
    pub raw: u32,
}

/// One tool, rendered and counted.
#[derive(Debug)]
pub struct RenderedTool {
    tool: Arc<Tool>,
    /// The items from behind the tool's name to their end; rendered when they are first needed.
    items: [OnceLock<String>; Level::ALL.len()],
    costs: TokenCosts,
}

/// All tools of one server, in the server's order.
#[derive(Debug)]
pub struct RenderedCatalog {
    server: ServerName,
    encoding: Encoding,
    catalogue: Arc<Catalogue>,
    tools: Vec<RenderedTool>,
}

impl RenderedCatalog {
    /// Counts the tools whose counts are not `known`. The tokenizer's tables are loaded only if there
    /// are such.
    pub fn new(
        server: &ServerName,
        catalogue: Arc<Catalogue>,
        encoding: Encoding,
        known: impl Fn(&Tool) -> Option<TokenCosts>,
    ) -> Self {
        let tools = catalogue.tools().iter().map(|tool| {
            let costs = known(tool).unwrap_or_else(|| TokenCosts::of(server, tool, encoding));
            RenderedTool { tool: tool.clone(), items: Default::default(), costs }
        });
        Self { server: server.clone(), encoding, tools: tools.collect(), catalogue }
    }

    /// The definitions.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// The server whose tools these are.
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    /// The encoding in which they were counted.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The tools, rendered.
    pub fn tools(&self) -> &[RenderedTool] {
        &self.tools
    }
}

impl RenderedTool {
    /// The tool's name.
    pub fn name(&self) -> &ToolName {
        self.tool.name()
    }

    /// The tool itself.
    pub fn tool(&self) -> &Tool {
        &self.tool
    }

    /// The counts.
    pub fn costs(&self) -> &TokenCosts {
        &self.costs
    }

    /// An upper bound of the item's tokens in an answer of that form; None if the level is not
    /// offered.
    pub(super) fn bound(
        &self,
        level: Level,
        price: Option<Credits>,
        form: AnswerForm,
    ) -> Option<usize> {
        let followers = Next::ALL.into_iter().filter(|next| form.objects || *next != Next::Object);
        let mut costs = followers.map(|next| self.cost(level, price, next, form.prefixed));
        costs.try_fold(0, |most, cost| Some(most.max(cost?)))
    }

    /// An upper bound of the name's tokens in a line of names; None if it cannot stand in one.
    pub(super) fn mention_bound(&self, prefixed: bool) -> Option<usize> {
        self.next_name_tokens(prefixed).map(|tokens| tokens.max(self.name_tokens(prefixed)))
    }

    fn name_tokens(&self, prefixed: bool) -> usize {
        let [plain, with_server] = self.costs.name;
        if prefixed { with_server as usize } else { plain as usize }
    }

    fn next_name_tokens(&self, prefixed: bool) -> Option<usize> {
        let [plain, with_server] = self.costs.next_name;
        if prefixed { with_server } else { plain }.map(|tokens| tokens as usize)
    }

    /// The item's tokens when an item of that level, or the end, follows; None if the level is not
    /// offered.
    pub(super) fn tokens(
        &self,
        level: Level,
        price: Option<Credits>,
        next: Option<Level>,
        prefixed: bool,
    ) -> Option<usize> {
        self.cost(level, price, Next::of(next), prefixed)
    }

    fn cost(
        &self,
        level: Level,
        price: Option<Credits>,
        next: Next,
        prefixed: bool,
    ) -> Option<usize> {
        let [unpriced, priced] = self.costs.items.get(level.index())?.as_ref()?;
        let (costs, tag) = match price {
            None => (unpriced, 0),
            Some(price) => (priced, render::price_tag_tokens(price)),
        };
        let behind = *costs.get(next as usize)? as usize;
        Some(self.name_tokens(prefixed) + behind + tag)
    }

    fn item(&self, level: Level) -> &str {
        let item = self.items.get(level.index());
        item.map_or("", |item| item.get_or_init(|| item_of(&self.tool, level)))
    }
}

/// What the items of an answer look like.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerForm {
    /// Names begin with the server's.
    pub(super) prefixed: bool,
    /// Some items may be objects.
    pub(super) objects: bool,
}

/// One tool in an answer.
#[derive(Clone, Copy, Debug)]
pub struct ShownTool<'a> {
    pub tool: &'a RenderedTool,
    pub server: &'a ServerName,
    /// How much of it is shown.
    pub level: Level,
    /// The price to tell with it; None where it is the default.
    pub price: Option<Credits>,
}

/// The `tools` array as sent, and its tokens, or None if they must be counted. With `prefixed`,
/// names begin with the server's. Tools that are only mentioned share the last line.
pub fn assemble(shown: &[ShownTool<'_>], prefixed: bool) -> (String, Option<usize>) {
    let (mentioned, items): (Vec<&ShownTool<'_>>, Vec<&ShownTool<'_>>) =
        shown.iter().partition(|shown| shown.level == Level::Mention);
    let mention = mentioned.first().map(|shown| shown.level);
    let mut array = Array { text: String::from("["), tokens: 0, is_exact: true, prefixed };
    for (index, shown) in items.iter().enumerate() {
        array.text.push_str(if index > 0 { "," } else { "" });
        array.push_item(shown, items.get(index + 1).map(|next| next.level).or(mention));
    }
    if !mentioned.is_empty() {
        array.text.push_str(if items.is_empty() { "\"" } else { ",\"" });
        array.push_mentioned(&mentioned);
    }
    array.text.push(']');
    // The tokens of `["` and of `[{"`; an answer without tools is said to cost nothing.
    array.tokens += match items.first().map(|first| first.level).or(mention) {
        None => 0,
        Some(Level::Full) => LARGEST_FRAME,
        Some(_) => 1,
    };
    (array.text, array.is_exact.then_some(array.tokens))
}

struct Array {
    text: String,
    tokens: usize,
    is_exact: bool,
    prefixed: bool,
}

impl Array {
    fn push_item(&mut self, shown: &ShownTool<'_>, next: Option<Level>) {
        let &ShownTool { tool, level, price, .. } = shown;
        self.text.push_str(opening(level));
        self.push_name(shown);
        let item = tool.item(level);
        match price {
            None => self.text.push_str(item),
            Some(price) => {
                let (head, tail) = split_for_price(item, level);
                self.text.extend([head, &render::price_tag(price), closing(level), tail]);
            }
        }
        self.tokens += tool.tokens(level, price, next, self.prefixed).unwrap_or_default();
    }

    /// A line of names up to its end; counts the bracket behind it as well.
    fn push_mentioned(&mut self, mentioned: &[&ShownTool<'_>]) {
        for (index, shown) in mentioned.iter().enumerate() {
            self.text.push_str(if index > 0 { " " } else { "" });
            self.push_name(shown);
            self.tokens += match index {
                0 => shown.tool.name_tokens(self.prefixed),
                _ => shown.tool.next_name_tokens(self.prefixed).unwrap_or_default(),
            };
        }
        self.text.push('"');
        self.tokens += 1;
    }

    fn push_name(&mut self, shown: &ShownTool<'_>) {
        let begin = self.text.len();
        if self.prefixed {
            self.text.push_str(&escaped(shown.server.as_str()));
            self.text.push('/');
        }
        self.text.push_str(&escaped(shown.tool.name().as_str()));
        self.is_exact &= self.text.get(begin..).is_some_and(is_counted_apart);
    }
}

/// What stands before the name.
fn opening(level: Level) -> &'static str {
    if level == Level::Full { "{\"name\":\"" } else { "\"" }
}

/// What ends a line, and a description.
fn closing(level: Level) -> &'static str {
    if level == Level::Full { "\",\"" } else { "\"" }
}

/// An item up to where its price stands, and from where that ends.
fn split_for_price(item: &str, level: Level) -> (&str, &str) {
    // Within a description every quote has a backslash before it.
    let end = item.find("\",\"inputSchema\":").filter(|_| level == Level::Full);
    let (head, tail) = match end {
        Some(end) => item.split_at(end + closing(level).len()),
        None => (item, ""),
    };
    // The tokens of what follows a space would depend on that space.
    (head.strip_suffix(closing(level)).unwrap_or(head).trim_end(), tail)
}

/// Whether tokenizers cut before and behind a name, wherever it stands.
fn is_counted_apart(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric();
    name.starts_with(is_plain) && name.ends_with(is_plain)
}

/// Whether a name can stand in a line of names.
fn is_mentionable(name: &str) -> bool {
    is_counted_apart(name)
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./:".contains(&byte))
}

/// A tool at one level, from behind its name to the end of the item.
fn item_of(tool: &Tool, level: Level) -> String {
    let name = tool.name().as_str();
    let item = match level {
        Level::Mention | Level::Names => Value::from(name).to_string(),
        Level::Summary => Value::from(render::summary(name, tool.description())).to_string(),
        Level::Signature => {
            let schema = tool.input_schema();
            let line = render::signature(name, tool.effect(), tool.description(), &schema);
            Value::from(line).to_string()
        }
        Level::Full => render::full(name, tool.description(), &tool.input_schema()).to_string(),
    };
    let behind = item.get(opening(level).len() + escaped(name).len()..).unwrap_or_default();
    render::revealed(behind).into_owned()
}

impl TokenCosts {
    fn of(server: &ServerName, tool: &Tool, encoding: Encoding) -> Self {
        let count = |text: &str| u32::try_from(encoding.count(text)).unwrap_or(u32::MAX);
        let names = [String::new(), format!("{server}/")]
            .map(|prefix| escaped(&format!("{prefix}{}", tool.name())));
        let odd = |name: &str| if is_counted_apart(name) { 0 } else { ODD_NAME };
        let raw = tool.full().to_string();
        Self {
            name: names.each_ref().map(|name| count(name).saturating_add(odd(name))),
            next_name: names
                .each_ref()
                .map(|name| is_mentionable(name).then(|| count(&format!(" {name}")))),
            items: Level::ALL.map(|level| {
                let item = item_of(tool, level);
                let is_offered = item.len() <= LARGEST_ITEM || level == Level::Names;
                is_offered.then(|| item_costs(&item, level, &count))
            }),
            raw: match raw.len() {
                // Not worth the time; near enough for a report.
                size if size > 4 * LARGEST_ITEM => u32::try_from(size / 4).unwrap_or(u32::MAX),
                _ => count(&raw),
            },
        }
    }
}

fn item_costs(item: &str, level: Level, count: &impl Fn(&str) -> u32) -> ItemCosts {
    // Each text is counted once up to a certain cut, and from there with all that may follow.
    let with_followers = |text: &str| {
        let (counted, end) = text.split_at(last_cut(text));
        let counted = count(counted);
        Next::ALL.map(|next| counted.saturating_add(count(&format!("{end}{}", next.separator()))))
    };
    let before_name = if level == Level::Full { count("name\":\"") } else { 0 };
    let (head, tail) = split_for_price(item, level);
    // Tokenizers cut before the space of a price tag, and behind its last word.
    let (before_tag, after_tag) =
        (count(head), with_followers(&format!("{}{tail}", closing(level))));
    [with_followers(item), after_tag.map(|after| before_tag.saturating_add(after))]
        .map(|costs| costs.map(|cost| cost.saturating_add(before_name)))
}

/// The last place where every tokenizer here cuts: between a letter or digit and a mark other than
/// an apostrophe; 0 if there is none.
fn last_cut(text: &str) -> usize {
    let is_cut = |pair: &[u8]| matches!(pair, [a, b] if a.is_ascii_alphanumeric() && b.is_ascii_punctuation() && *b != b'\'');
    text.as_bytes().windows(2).rposition(is_cut).map_or(0, |at| at + 1)
}

/// Text as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
