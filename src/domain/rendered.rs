//! The tools of a server as they are sent: rendered at every level, and counted once.
//!
//! An answer's `tools` array is a sequence of items between brackets and commas. Tokenizers cut text
//! into pieces before they look anything up, and a run of punctuation is one piece that ends where a
//! letter or digit begins. Every item begins with `"` or `{"name":"` and then a name, so a cut
//! falls right before the name, and the tokens of an array are exactly the sum of its items' tokens
//! up to the next item's name. Hence nine numbers per tool and form replace the tokenizer: three
//! item shapes may follow (a line, an object, nothing).
//! Names that begin otherwise are counted with the finished array.
//!
//! A price may stand behind a line, and behind the description of an object. It changes with the
//! settings, so it is no part of what is counted. Tokenizers cut before a space that a word or mark
//! precedes, so the tokens of an item up to there are one more number, those of the price follow from
//! its digits, and those of what follows an object's description are counted by themselves.

mod cuts;

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use cuts::{counted_tail, is_mentionable, parts};

use super::{
    call::{ServerName, ToolName},
    catalog::{Catalogue, Tool},
    credits::Credits,
    render,
    tokens::Encoding,
};

/// How much of a tool is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The name in a line that it shares with others, where there is no room for a line of its own.
    Mention,
    /// The name: the tool exists.
    Names,
    /// The name and what it is for: the tool can be chosen.
    Summary,
    /// Parameters and types: the tool can be called.
    Signature,
    /// The whole description and schema.
    Full,
}

impl Level {
    /// The levels of items of their own, the shortest first.
    pub const ALL: [Self; 4] = [Self::Names, Self::Summary, Self::Signature, Self::Full];

    fn index(self) -> usize {
        match self {
            Self::Mention | Self::Names => 0,
            Self::Summary => 1,
            Self::Signature => 2,
            Self::Full => 3,
        }
    }

    fn shape(self) -> Shape {
        if self == Self::Full { Shape::Object } else { Shape::Line }
    }
}

/// What may follow an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Line,
    Object,
    End,
}

impl Shape {
    const ALL: [Self; 3] = [Self::Line, Self::Object, Self::End];

    /// What stands between an item and the name of the next.
    fn separator(self) -> &'static str {
        match self {
            Self::Line => ",\"",
            Self::Object => ",{\"",
            Self::End => "]",
        }
    }

    /// The tokens of a line's closing quote with the separator, the same in all encodings here.
    fn closing(self) -> usize {
        if self == Self::Object { 2 } else { 1 }
    }

    fn index(self) -> usize {
        match self {
            Self::Line => 0,
            Self::Object => 1,
            Self::End => 2,
        }
    }
}

/// Tokens of one item by level and by what follows.
pub type Costs = [[u32; 3]; 4];

/// An item of more bytes than this is not offered: no sensible budget takes it, and counting it
/// takes long.
const LARGEST_ITEM: usize = 256 * 1024;

/// The cost of an item that is not offered.
const NOT_OFFERED: u32 = u32::MAX;

/// One tool, rendered and counted.
#[derive(Debug)]
pub struct RenderedTool {
    tool: Arc<Tool>,
    /// The items as they stand in the array, from the tool's name to the end of the item; rendered
    /// when they are first needed.
    items: [OnceLock<String>; 4],
    costs: TokenCosts,
}

/// The counts of one tool, as they are kept on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCosts {
    /// In an answer about one server.
    pub plain: Costs,
    /// In an answer about several, where names begin with the server's.
    pub prefixed: Costs,
    /// Each level up to where a price may follow, in an answer about one server.
    pub unpriced: [u32; 4],
    /// The same in an answer about several.
    pub prefixed_unpriced: [u32; 4],
    /// An object from where a price may have ended, by what follows.
    pub behind_price: [u32; 3],
    /// In a line of names: as the first, and behind another.
    pub mention: [u32; 2],
    /// The same with the server's name before it.
    pub prefixed_mention: [u32; 2],
    /// The definition as its server sent it: name, description and schema as compact JSON.
    pub raw: u32,
}

/// All tools of one server, in the server's order.
#[derive(Debug)]
pub struct RenderedCatalog {
    server: ServerName,
    encoding: Encoding,
    catalogue: Arc<Catalogue>,
    entries: Vec<RenderedTool>,
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
        let entries = catalogue.tools().iter().map(|tool| {
            let costs = known(tool).unwrap_or_else(|| count(server, tool, encoding));
            RenderedTool { tool: tool.clone(), items: Default::default(), costs }
        });
        Self { server: server.clone(), encoding, entries: entries.collect(), catalogue }
    }

    /// The tools themselves.
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
    pub fn entries(&self) -> &[RenderedTool] {
        &self.entries
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

    /// The counts, to be kept.
    pub fn kept(&self) -> &TokenCosts {
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
        let shapes = Shape::ALL.into_iter().filter(|next| form.objects || *next != Shape::Object);
        let mut costs = shapes.map(|next| self.cost(level, price, next, form.prefixed));
        costs.try_fold(0, |most, cost| Some(most.max(cost?)))
    }

    /// An upper bound of the name's tokens in a line of names; None if it cannot stand in one.
    pub(super) fn mention_bound(&self, prefixed: bool) -> Option<usize> {
        let [first, next] = self.mention_costs(prefixed);
        (first != NOT_OFFERED).then_some(first.max(next) as usize)
    }

    fn mention_costs(&self, prefixed: bool) -> [u32; 2] {
        if prefixed { self.costs.prefixed_mention } else { self.costs.mention }
    }

    fn costs(&self, prefixed: bool) -> &Costs {
        if prefixed { &self.costs.prefixed } else { &self.costs.plain }
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
        self.cost(level, price, next.map_or(Shape::End, Level::shape), prefixed)
    }

    fn cost(
        &self,
        level: Level,
        price: Option<Credits>,
        next: Shape,
        prefixed: bool,
    ) -> Option<usize> {
        let cost = *self.costs(prefixed).get(level.index())?.get(next.index())?;
        if cost == NOT_OFFERED {
            return None;
        }
        let Some(price) = price else { return Some(cost as usize) };
        let kept = &self.costs;
        let unpriced = if prefixed { &kept.prefixed_unpriced } else { &kept.unpriced };
        let behind = match level {
            Level::Full => *kept.behind_price.get(next.index())? as usize,
            _ => next.closing(),
        };
        let unpriced = *unpriced.get(level.index())? as usize;
        Some(unpriced + render::price_tag_tokens(price) + behind)
    }

    fn item(&self, level: Level) -> &str {
        let item = self.items.get(level.index());
        item.map(|item| item.get_or_init(|| item_of(&self.tool, level)).as_str())
            .unwrap_or_default()
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
    /// The tool.
    pub entry: &'a RenderedTool,
    /// Its server.
    pub server: &'a ServerName,
    /// How much of it is shown.
    pub level: Level,
    /// The price to tell with it; None where it is the default.
    pub price: Option<Credits>,
}

/// The `tools` array as sent, and its tokens, or None if they must be counted. With `prefixed`,
/// names begin with the server's. Tools that are only mentioned share the last line.
pub fn assemble(placed: &[ShownTool<'_>], prefixed: bool) -> (String, Option<usize>) {
    let (mentioned, items): (Vec<&ShownTool<'_>>, Vec<&ShownTool<'_>>) =
        placed.iter().partition(|placed| placed.level == Level::Mention);
    let behind = (!mentioned.is_empty()).then_some(Level::Mention);
    let mut text = String::from("[");
    let mut tokens = 0;
    let mut additive = true;
    for (index, tool) in items.iter().enumerate() {
        text.push_str(if index > 0 { "," } else { "" });
        text.push_str(opening(tool.level));
        let begin = text.len();
        push_server(&mut text, tool.server, prefixed);
        push_item(&mut text, tool);
        additive &= begins_plainly(text.get(begin..).unwrap_or_default(), tool.level);
        let next = items.get(index + 1).map(|next| next.level).or(behind);
        tokens += tool.entry.tokens(tool.level, tool.price, next, prefixed).unwrap_or_default();
    }
    if !mentioned.is_empty() {
        text.push_str(if items.is_empty() { "\"" } else { ",\"" });
        tokens += push_mentioned(&mut text, &mentioned, prefixed);
    }
    text.push(']');
    // An answer without tools is said to cost nothing.
    let first = items.first().map(|first| first.level).or(behind);
    (text, additive.then_some(tokens + first.map_or(0, frame)))
}

fn push_server(text: &mut String, server: &ServerName, prefixed: bool) {
    if prefixed {
        text.push_str(&escaped(server.as_str()));
        text.push('/');
    }
}

fn push_item(text: &mut String, tool: &ShownTool<'_>) {
    let item = tool.entry.item(tool.level);
    let Some(price) = tool.price else { return text.push_str(item) };
    let (head, tail) = described(item, tool.level);
    text.push_str(unclosed(head, tool.level));
    text.push_str(&render::price_tag(price));
    text.push_str(closing_of(tool.level));
    text.push_str(tail);
}

/// An item up to the end of its line or description, and what follows that: the schema of an object.
fn described(item: &str, level: Level) -> (&str, &str) {
    // Within a description every quote has a backslash before it.
    let end = item.find("\",\"inputSchema\":").filter(|_| level == Level::Full);
    end.map_or((item, ""), |end| item.split_at(end + closing_of(level).len()))
}

/// What ends a line, and a description.
fn closing_of(level: Level) -> &'static str {
    if level == Level::Full { "\",\"" } else { "\"" }
}

/// An item's end without what closes it; the tokens of what follows a space would depend on that
/// space.
fn unclosed(item: &str, level: Level) -> &str {
    item.strip_suffix(closing_of(level)).unwrap_or(item).trim_end()
}

/// A line of names; answers its tokens, its end and the bracket behind it included.
fn push_mentioned(text: &mut String, mentioned: &[&ShownTool<'_>], prefixed: bool) -> usize {
    let mut tokens = 1;
    for (index, tool) in mentioned.iter().enumerate() {
        let [first, next] = tool.entry.mention_costs(prefixed);
        if index > 0 {
            text.push(' ');
        }
        tokens += if index > 0 { next } else { first } as usize;
        push_server(text, tool.server, prefixed);
        text.push_str(tool.entry.name().as_str());
    }
    text.push('"');
    tokens
}

/// The tokens of `["` and of `[{"`, the same in all encodings here.
fn frame(first: Level) -> usize {
    if first.shape() == Shape::Object { LARGEST_FRAME } else { 1 }
}

/// The most tokens before the first name.
pub(super) const LARGEST_FRAME: usize = 2;

/// What stands before the name; for an object, `name":"` belongs to the item.
fn opening(level: Level) -> &'static str {
    match level.shape() {
        Shape::Object => "{\"name\":\"",
        _ => "\"",
    }
}

/// Whether a cut falls right before this item, so that its tokens can be added.
fn begins_plainly(item: &str, level: Level) -> bool {
    // An object's countable part begins with the `n` of `name`.
    level == Level::Full || item.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// A tool at one level, from its name to the end of the item.
fn item_of(tool: &Tool, level: Level) -> String {
    let name = tool.name().as_str();
    let line = |text: &str| render::revealed(&format!("{}\"", escaped(text))).into_owned();
    match level {
        Level::Mention | Level::Names => line(name),
        Level::Summary => line(&render::summary(name, tool.description())),
        Level::Signature => {
            let schema = tool.input_schema();
            line(&render::signature(name, tool.effect(), tool.description(), &schema))
        }
        Level::Full => {
            let full = render::full(name, tool.description(), &tool.input_schema()).to_string();
            let full = render::revealed(&full);
            full.strip_prefix(opening(Level::Full)).unwrap_or_default().to_owned()
        }
    }
}

fn count(server: &ServerName, tool: &Tool, encoding: Encoding) -> TokenCosts {
    let number = |text: &str| u32::try_from(encoding.count(text)).unwrap_or(NOT_OFFERED - 1);
    let prefix = format!("{}/", escaped(server.as_str()));
    let mut plain = [[NOT_OFFERED; 3]; 4];
    let mut prefixed = plain;
    let (mut unpriced, mut prefixed_unpriced) = ([NOT_OFFERED; 4], [NOT_OFFERED; 4]);
    let mut behind_price = [NOT_OFFERED; 3];
    for level in Level::ALL {
        let item = item_of(tool, level);
        if item.len() > LARGEST_ITEM && level > Level::Names {
            continue;
        }
        // The cut before an object falls before `name`, which belongs to its opening.
        let before = if level == Level::Full { "name\":\"" } else { "" };
        let (head, tail) = described(&item, level);
        let tail = (!tail.is_empty()).then(|| counted_tail(tail, &number));
        let (start, middle, end) = parts(head);
        let rest = (!end.is_empty()).then(|| number(middle));
        for (prefix, costs, unpriced) in
            [("", &mut plain, &mut unpriced), (&*prefix, &mut prefixed, &mut prefixed_unpriced)]
        {
            let start = format!("{before}{prefix}{start}");
            let rest = rest.map(|middle| middle.saturating_add(number(&start)));
            let (counted, end) = rest.map_or((0, &*start), |rest| (rest, end));
            let (Some(costs), Some(unpriced)) =
                (costs.get_mut(level.index()), unpriced.get_mut(level.index()))
            else {
                continue;
            };
            *unpriced = counted.saturating_add(number(unclosed(end, level)));
            *costs = match tail {
                // A cut falls before `inputSchema`.
                Some(tail) => {
                    let head = counted.saturating_add(number(end));
                    tail.map(|tail| head.saturating_add(tail))
                }
                None => Shape::ALL.map(|shape| {
                    counted.saturating_add(number(&format!("{end}{}", shape.separator())))
                }),
            };
        }
        if let Some(tail) = tail {
            let closing = number(closing_of(level));
            behind_price = tail.map(|tail| tail.saturating_add(closing));
        }
    }
    let raw = tool.full().to_string();
    let raw = match raw.len() {
        // Not worth the time; near enough for a report.
        size if size > 4 * LARGEST_ITEM => u32::try_from(size / 4).unwrap_or(NOT_OFFERED - 1),
        _ => number(&raw),
    };
    let name = tool.name().as_str();
    let mention = |name: &str| match is_mentionable(name) {
        true => [number(name), number(&format!(" {name}"))],
        false => [NOT_OFFERED; 2],
    };
    TokenCosts {
        plain,
        prefixed,
        unpriced,
        prefixed_unpriced,
        behind_price,
        mention: mention(name),
        prefixed_mention: mention(&format!("{server}/{name}")),
        raw,
    }
}

/// Text as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
