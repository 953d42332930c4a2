//! Rust files as their tokens: the modules, the paths, the functions and the types in them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// One file of the tree.
pub struct File {
    /// From the root of the repository, with `/`.
    pub path: String,
    pub lines: usize,
    /// Every path in it, `use` trees spelled out, attributes and macros included.
    pub names: Vec<Name>,
    pub functions: Vec<Function>,
    /// Structs, enums, traits and type aliases; associated types are left out.
    pub types: Vec<String>,
    /// Macros that it calls.
    pub macros: Vec<Name>,
}

/// A path as written, from the root of the crate where it begins inside the crate.
#[derive(Clone)]
pub struct Name {
    pub segments: Vec<String>,
    /// The module it is written in.
    pub module: Vec<String>,
    /// Whether only `cfg(test)` code has it.
    pub test: bool,
}

pub struct Function {
    pub name: String,
    /// From its signature to its closing brace.
    pub lines: usize,
    pub is_test: bool,
}

/// All files below a directory, with what their modules export.
pub struct Source {
    pub files: Vec<File>,
    modules: BTreeSet<Vec<String>>,
    /// Where a name that a module imports comes from.
    imports: BTreeMap<(Vec<String>, String), Vec<String>>,
}

impl Source {
    /// Reads every Rust file below `dir`, whose crate root is `root` (`lib` or `main`).
    pub fn read(dir: &str, root: &str) -> Self {
        let mut texts = files(dir, &[".rs"]);
        texts.sort();
        let module_of = |path: &str| module_of(path.strip_prefix(dir).unwrap(), root);
        let modules = texts.iter().map(|(path, _)| module_of(path)).collect();
        let mut source = Self { files: Vec::new(), modules, imports: BTreeMap::new() };
        let mut only_tests = BTreeSet::new();
        for (path, text) in texts {
            let tokens: TokenStream = text.parse().unwrap_or_else(|e| panic!("{path}: {e}"));
            let file = File {
                lines: text.lines().count(),
                names: Vec::new(),
                functions: Vec::new(),
                types: Vec::new(),
                macros: Vec::new(),
                path,
            };
            let module = module_of(&file.path);
            let mut reader = Reader { file, source: &mut source, only_tests: &mut only_tests };
            reader.read(tokens, &module, false, false);
            let file = reader.file;
            source.files.push(file);
        }
        for file in &mut source.files {
            let tests = |name: &Name| {
                (1..=name.module.len()).any(|n| only_tests.contains(&name.module[..n]))
            };
            for name in file.names.iter_mut().chain(&mut file.macros) {
                name.test |= tests(name);
            }
            for name in &mut file.names {
                let from = name.segments.first().map(|first| (name.module.clone(), first.clone()));
                if let Some(from) = from.and_then(|from| source.imports.get(&from)) {
                    name.segments.splice(..1, from.iter().cloned());
                }
            }
        }
        source
    }

    /// The module that defines what a path names; `None` outside the crate.
    ///
    /// Follows imports and re-exports, so that a re-export does not hide what is used.
    pub fn owner(&self, path: &[String]) -> Option<Vec<String>> {
        let mut path = path.to_vec();
        for _ in 0..20 {
            if path.first().map(String::as_str) != Some("crate") {
                return None;
            }
            let known = (1..=path.len()).rev().find(|n| self.modules.contains(&path[..*n]))?;
            let (module, rest) = path.split_at(known);
            let from =
                rest.first().and_then(|name| self.imports.get(&(module.to_vec(), name.clone())));
            match from {
                Some(from)
                    if from.first().map(String::as_str) == Some("crate") && *from != path =>
                {
                    path = from.iter().chain(&rest[1..]).cloned().collect();
                }
                _ => return Some(module.to_vec()),
            }
        }
        None
    }
}

/// Texts below a directory of the repository, by their paths.
pub fn files(dir: &str, endings: &[&str]) -> Vec<(String, String)> {
    const INSTALLED: [&str; 4] = ["node_modules", ".venv", "target", "__pycache__"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let full = root.join(&path);
        if full.is_dir() {
            for entry in fs::read_dir(&full).unwrap().flatten() {
                let name = entry.file_name().into_string().unwrap();
                if !INSTALLED.contains(&name.as_str()) {
                    open.push(format!("{path}/{name}"));
                }
            }
        } else if (endings.is_empty() || endings.iter().any(|ending| path.ends_with(ending)))
            && let Ok(text) = fs::read_to_string(&full)
        {
            found.push((path, text));
        }
    }
    found
}

fn module_of(path: &str, root: &str) -> Vec<String> {
    let path = path.trim_start_matches('/').trim_end_matches(".rs");
    let mut module = vec!["crate".to_owned()];
    module.extend(path.split('/').map(str::to_owned));
    match module.last().map(String::as_str) {
        Some("mod") => drop(module.pop()),
        Some(last) if last == root && module.len() == 2 => drop(module.pop()),
        _ => {}
    }
    module
}

struct Reader<'a> {
    file: File,
    source: &'a mut Source,
    only_tests: &'a mut BTreeSet<Vec<String>>,
}

impl Reader<'_> {
    /// Reads a run of tokens of `module`; `inside` a trait or an `impl`, types are associated ones.
    fn read(&mut self, tokens: TokenStream, module: &[String], test: bool, inside: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let (mut at, mut gated, mut is_test, mut block) = (0, false, false, false);
        while let Some(token) = tokens.get(at) {
            let next = tokens.get(at + 1);
            match token {
                TokenTree::Punct(hash) if hash.as_char() == '#' => {
                    if let Some(TokenTree::Group(attribute)) = next {
                        let text = attribute.stream().to_string();
                        gated |= text.starts_with("cfg") && text.contains("test");
                        is_test |= text.ends_with("test");
                    }
                    at += 1;
                }
                TokenTree::Punct(end) if end.as_char() == ';' => {
                    (gated, block) = (false, false);
                    at += 1;
                }
                TokenTree::Group(group) => {
                    let body = group.delimiter() == Delimiter::Brace;
                    self.read(group.stream(), module, test || gated, body && block);
                    if body {
                        (gated, block) = (false, false);
                    }
                    at += 1;
                }
                TokenTree::Ident(word) => {
                    let word = word.to_string();
                    match (word.as_str(), next) {
                        ("use", _) => {
                            at = self.read_use(&tokens, at + 1, module, test || gated);
                        }
                        ("mod", Some(TokenTree::Ident(name))) => {
                            let inner = [module, &[name.to_string()]].concat();
                            match tokens.get(at + 2) {
                                Some(TokenTree::Group(body)) => {
                                    self.source.modules.insert(inner.clone());
                                    self.read(body.stream(), &inner, test || gated, false);
                                }
                                _ if gated => drop(self.only_tests.insert(inner)),
                                _ => {}
                            }
                            gated = false;
                            at += 3;
                        }
                        ("fn", Some(TokenTree::Ident(name))) => {
                            if let Some(body) = body(&tokens[at..]) {
                                let begin = token.span().start().line;
                                let lines = body.span_close().end().line - begin + 1;
                                let name = name.to_string();
                                self.file.functions.push(Function { name, lines, is_test });
                            }
                            is_test = false;
                            at += 2;
                        }
                        (
                            "struct" | "enum" | "trait" | "type" | "union",
                            Some(TokenTree::Ident(name)),
                        ) => {
                            if !(inside || test || gated) {
                                self.file.types.push(name.to_string());
                            }
                            block |= word == "trait";
                            at += 2;
                        }
                        ("impl", _) => {
                            block = true;
                            at += 1;
                        }
                        _ => at = self.read_path(&tokens, at, module, test || gated),
                    }
                }
                _ => at += 1,
            }
        }
    }

    /// Reads a path that is not in a `use`; a single word counts only as a macro.
    fn read_path(
        &mut self,
        tokens: &[TokenTree],
        at: usize,
        module: &[String],
        test: bool,
    ) -> usize {
        let (segments, mut end) = path(tokens, at);
        let called = matches!(tokens.get(end), Some(TokenTree::Punct(p)) if p.as_char() == '!')
            && !matches!(tokens.get(end + 1), Some(TokenTree::Punct(p)) if p.as_char() == '=');
        let written = segments.clone();
        let name =
            Name { segments: self.absolute(segments, module), module: module.to_vec(), test };
        if called {
            end += 1;
            self.file.macros.push(Name { segments: written, ..name });
        } else if written.len() > 1 || matches!(written[0].as_str(), "crate") {
            self.file.names.push(name);
        }
        end
    }

    /// Reads the tree of a `use` up to its semicolon.
    fn read_use(
        &mut self,
        tokens: &[TokenTree],
        at: usize,
        module: &[String],
        test: bool,
    ) -> usize {
        let is_end = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ';');
        let len = tokens[at..].iter().position(is_end).unwrap_or(tokens.len() - at);
        let mut leaves = Vec::new();
        tree(&tokens[at..at + len], &[], &mut leaves);
        for (segments, alias) in leaves {
            let segments = self.absolute(segments, module);
            if let Some(name) = alias.or(segments.last().cloned()) {
                self.source.imports.insert((module.to_vec(), name), segments.clone());
            }
            self.file.names.push(Name { segments, module: module.to_vec(), test });
        }
        at + len
    }

    /// A path from the root of the crate, or as written where it leads out of it.
    fn absolute(&self, mut segments: Vec<String>, module: &[String]) -> Vec<String> {
        let mut base = module.to_vec();
        let mut relative = false;
        while matches!(segments.first().map(String::as_str), Some("self" | "super")) {
            if segments.remove(0) == "super" {
                base.pop();
            }
            relative = true;
        }
        let child = segments.first().map(|first| [&base, &[first.clone()][..]].concat());
        let relative = relative || child.is_some_and(|child| self.source.modules.contains(&child));
        match segments.first().map(String::as_str) {
            Some("tollgate") if self.file.path == "src/main.rs" => {
                segments[0] = "crate".to_owned();
                segments
            }
            Some("crate") => segments,
            _ if relative => [base, segments].concat(),
            _ => segments,
        }
    }
}

/// The body of the function that begins here.
fn body(tokens: &[TokenTree]) -> Option<&Group> {
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return Some(group),
            TokenTree::Punct(p) if p.as_char() == ';' => return None,
            _ => {}
        }
    }
    None
}

/// The words of a path from here, and where it ends.
fn path(tokens: &[TokenTree], mut at: usize) -> (Vec<String>, usize) {
    let mut segments = Vec::new();
    while let Some(TokenTree::Ident(word)) = tokens.get(at) {
        segments.push(word.to_string().trim_start_matches("r#").to_owned());
        at += 1;
        if !colons(tokens, at) || !matches!(tokens.get(at + 2), Some(TokenTree::Ident(_))) {
            break;
        }
        at += 2;
    }
    (segments, at)
}

fn colons(tokens: &[TokenTree], at: usize) -> bool {
    let colon =
        |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
    colon(at) && colon(at + 1)
}

/// The leaves of a `use` tree, each with the name that it is given.
fn tree(tokens: &[TokenTree], prefix: &[String], leaves: &mut Vec<(Vec<String>, Option<String>)>) {
    let comma = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ',');
    for branch in tokens.split(comma).filter(|branch| !branch.is_empty()) {
        let start = if colons(branch, 0) { 2 } else { 0 };
        let (mut segments, mut end) = path(branch, start);
        if segments.last().is_some_and(|last| last == "self")
            && !(prefix.is_empty() && segments.len() == 1)
        {
            segments.pop();
        }
        let whole = [prefix, &segments].concat();
        if colons(branch, end) {
            end += 2;
        }
        match branch.get(end) {
            Some(TokenTree::Group(group)) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                tree(&inner, &whole, leaves);
            }
            Some(TokenTree::Ident(word)) if word == "as" => {
                let alias = branch.get(end + 1).map(ToString::to_string);
                leaves.push((whole, alias));
            }
            Some(TokenTree::Punct(_)) => leaves.push((whole, Some("*".to_owned()))),
            _ => leaves.push((whole, None)),
        }
    }
}
