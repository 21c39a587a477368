//! The meaning of an expression: each name found, each type known, and what has none refused with what to do about it.

use regex_lite::RegexBuilder;

use super::Mistake;
use super::facts::{Fact, MapFact, TextFact, VARIABLES, Variable};
use super::nearest::nearest;
use super::parse::{Expr, Kind, MAX_NODES};
use super::program::{Bool, Calculate, Compare, Double, Int, Text};

/// The longest pattern of `matches`, bytes.
pub const PATTERN: usize = 200;
/// What a compiled pattern may take in memory, bytes.
const PATTERN_SIZE: usize = 64 << 10;
/// Groups within each other in a pattern.
const PATTERN_DEPTH: u32 = 20;

/// What rules can call.
pub const FUNCTIONS: [(&str, &str); 8] = [
    ("startsWith", "`text.startsWith(text)`"),
    ("endsWith", "`text.endsWith(text)`"),
    ("contains", "`text.contains(text)`"),
    (
        "matches",
        "`text.matches(pattern)`: a regular expression (RE2) that is found somewhere in the text",
    ),
    (
        "size",
        "`size(text)` or `text.size()`: characters; of `caller.labels` the entries",
    ),
    (
        "has",
        "`has(request.maxTokens)`, `has(caller.labels.team)`: whether it is given",
    ),
    (
        "exists",
        "`[…].exists(x, condition)`: whether the condition is true for one of a list that is written there",
    ),
    ("all", "`[…].all(x, condition)`: whether it is true for each"),
];

/// What an expression looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Looks {
    /// At what is in the body beyond what every request is asked for.
    pub at_body: bool,
    /// At whom the request would be sent to.
    pub at_candidate: bool,
}

/// A part with its type.
enum Typed {
    Bool(Bool),
    Int(Int),
    Double(Double),
    Text(Text),
    Map(MapFact),
    /// A list that is written there.
    List,
}

impl Typed {
    fn name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Double(_) => "a double",
            Self::Text(_) => "a string",
            Self::Map(_) => "a map",
            Self::List => "a list",
        }
    }
}

/// Compiles an expression that is to be true or false.
///
/// # Errors
/// The first thing in it that has no meaning.
pub(super) fn check(expr: &Expr) -> Result<(Bool, Looks), Mistake> {
    let mut checker = Checker {
        names: Vec::new(),
        looks: Looks::default(),
        nodes: 0,
    };
    match checker.typed(expr)? {
        Typed::Bool(program) => Ok((program, checker.looks)),
        other => {
            let problem = format!("is {}, and a rule must be true or false", other.name());
            Err(Mistake::new(expr.at, &problem, "compare it with something"))
        }
    }
}

struct Checker<'a> {
    /// Names that a list gives to its items, with what they stand for now.
    names: Vec<(&'a str, &'a Expr)>,
    looks: Looks,
    /// Parts of the program.
    nodes: usize,
}

/// Names joined by dots: `request.features.tools`.
fn path_of(expr: &Expr) -> Option<String> {
    match &expr.what {
        Kind::Name(name) => Some(name.clone()),
        Kind::Field(target, name) => path_of(target).map(|path| format!("{path}.{name}")),
        _ => None,
    }
}

fn is_literal(expr: &Expr) -> bool {
    match &expr.what {
        Kind::Bool(_) | Kind::Int(_) | Kind::Double(_) | Kind::Text(_) => true,
        Kind::Negative(inner) => matches!(inner.what, Kind::Int(_) | Kind::Double(_)),
        _ => false,
    }
}

impl<'a> Checker<'a> {
    fn typed(&mut self, expr: &'a Expr) -> Result<Typed, Mistake> {
        // A list's condition is compiled for each of its items.
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let problem = format!("comes to more than {MAX_NODES} parts, with its lists written out");
            return Err(Mistake::new(
                expr.at,
                &problem,
                "shorten its lists, or make several rules of it",
            ));
        }
        Ok(match &expr.what {
            Kind::Bool(value) => Typed::Bool(Bool::Is(*value)),
            Kind::Int(value) => Typed::Int(Int::Is(*value)),
            Kind::Double(value) => Typed::Double(Double::Is(*value)),
            Kind::Text(text) => Typed::Text(Text::Is(text.as_str().into())),
            Kind::Name(name) => match self.item(name) {
                Some(item) => self.typed(item)?,
                None => self.variable(expr, name)?,
            },
            Kind::Field(target, field) => self.field(expr, target, field)?,
            Kind::Index(target, key) => self.index(target, key)?,
            Kind::Call {
                function,
                target,
                arguments,
            } => self.call(expr.at, function, target.as_deref(), arguments)?,
            Kind::List(_) => Typed::List,
            Kind::Not(inner) => Typed::Bool(Bool::Not(Box::new(self.bool(inner, "!")?))),
            Kind::Negative(inner) => match self.typed(inner)? {
                Typed::Int(Int::Is(value)) => Typed::Int(Int::Is(value.wrapping_neg())),
                Typed::Double(Double::Is(value)) => Typed::Double(Double::Is(-value)),
                Typed::Int(int) => Typed::Int(Int::Negative(Box::new(int))),
                Typed::Double(double) => Typed::Double(Double::Negative(Box::new(double))),
                other => return Err(wrong_type(inner, "- takes a number", &other)),
            },
            Kind::And(parts) => Typed::Bool(Bool::All(self.bools(parts, "&&")?)),
            Kind::Or(parts) => Typed::Bool(Bool::Any(self.bools(parts, "||")?)),
            Kind::Binary("in", left, right) => Typed::Bool(self.is_in(left, right)?),
            Kind::Binary(sign, left, right) => self.binary(expr.at, sign, left, right)?,
            Kind::If(parts) => self.conditional(expr.at, parts)?,
        })
    }

    fn item(&self, name: &str) -> Option<&'a Expr> {
        let found = self.names.iter().rev().find(|(known, _)| *known == name);
        found.map(|(_, item)| *item)
    }

    fn bool(&mut self, expr: &'a Expr, of: &str) -> Result<Bool, Mistake> {
        match self.typed(expr)? {
            Typed::Bool(program) => Ok(program),
            other => Err(wrong_type(expr, &format!("{of} takes a bool"), &other)),
        }
    }

    fn bools(&mut self, parts: &'a [Expr], of: &str) -> Result<Box<[Bool]>, Mistake> {
        parts.iter().map(|part| self.bool(part, of)).collect()
    }

    fn text(&mut self, expr: &'a Expr, of: &str) -> Result<Text, Mistake> {
        match self.typed(expr)? {
            Typed::Text(text) => Ok(text),
            other => Err(wrong_type(expr, &format!("{of} takes a string"), &other)),
        }
    }

    fn variable(&mut self, expr: &Expr, path: &str) -> Result<Typed, Mistake> {
        let Some(variable) = VARIABLES.iter().find(|variable| variable.path == path) else {
            return Err(unknown(expr.at, path));
        };
        self.looks.at_body |= variable.fact.reads_body();
        self.looks.at_candidate |= variable.fact.is_of_candidate();
        Ok(match variable.fact {
            Fact::Bool(fact) => Typed::Bool(Bool::Fact(fact)),
            Fact::Int(fact) => Typed::Int(Int::Fact(fact)),
            Fact::Double(fact) => Typed::Double(Double::Fact(fact)),
            Fact::Text(fact) => Typed::Text(Text::Fact(fact)),
            Fact::Map(fact) => Typed::Map(fact),
        })
    }

    fn field(&mut self, expr: &'a Expr, target: &'a Expr, field: &str) -> Result<Typed, Mistake> {
        let Some(path) = path_of(expr) else {
            return match self.typed(target)? {
                Typed::Map(map) => value_at(map, expr.at, field),
                other => Err(no_fields(expr, &other)),
            };
        };
        let root = path.split('.').next().unwrap_or_default();
        if self.item(root).is_some() {
            let item = self.typed(target)?;
            return Err(no_fields(expr, &item));
        }
        let around = path.rsplit_once('.').map_or("", |(around, _)| around);
        match VARIABLES.iter().find(|variable| variable.path == around) {
            Some(Variable {
                fact: Fact::Map(map), ..
            }) => value_at(*map, expr.at, field),
            Some(_) => {
                let whole = self.variable(expr, around)?;
                Err(no_fields(expr, &whole))
            }
            // A value of a map, or a field of one.
            None if VARIABLES
                .iter()
                .any(|known| around.starts_with(&format!("{}.", known.path))) =>
            {
                let whole = self.typed(target)?;
                Err(no_fields(expr, &whole))
            }
            None => self.variable(expr, &path),
        }
    }

    fn index(&mut self, target: &'a Expr, key: &'a Expr) -> Result<Typed, Mistake> {
        match self.typed(target)? {
            Typed::Map(map) => Ok(Typed::Text(Text::At(map, Box::new(self.key(map, key)?)))),
            other => {
                let problem = format!(
                    "is {}, and only caller.labels and caller.headers have keys",
                    other.name()
                );
                Err(Mistake::new(
                    target.at,
                    &problem,
                    "leave out what is in square brackets",
                ))
            }
        }
    }

    fn key(&mut self, map: MapFact, key: &'a Expr) -> Result<Text, Mistake> {
        let text = self.text(key, "a key")?;
        match (&text, map) {
            (Text::Is(name), _) => may_name(map, key.at, name)?,
            // So that what a rule can see of a request is written in it.
            (_, MapFact::Headers) => {
                let remedy = "write its name as a text, such as caller.headers[\"x-team\"]";
                return Err(Mistake::new(key.at, "a header must be named literally", remedy));
            }
            _ => {}
        }
        Ok(text)
    }

    fn is_in(&mut self, left: &'a Expr, right: &'a Expr) -> Result<Bool, Mistake> {
        let Kind::List(items) = &right.what else {
            return match self.typed(right)? {
                Typed::Map(map) => Ok(Bool::HasKey(map, self.key(map, left)?)),
                other => Err(wrong_type(right, "in takes a list or a map at its right", &other)),
            };
        };
        let needle = self.typed(left)?;
        let mut texts = Vec::new();
        let (mut ints, mut doubles) = (Vec::new(), Vec::new());
        for item in items {
            match (&needle, self.typed(item)?) {
                // A map may be without the key, which would make the whole list fail.
                (Typed::Text(_), Typed::Text(Text::At(..))) => {
                    let remedy = "compare it with == in a condition of its own";
                    return Err(Mistake::new(
                        item.at,
                        "may not be given, so it can be in no list",
                        remedy,
                    ));
                }
                (Typed::Text(of), Typed::Text(text)) => {
                    among(of, &text, item.at)?;
                    texts.push(text);
                }
                (Typed::Int(_), Typed::Int(Int::Is(value))) => ints.push(value),
                (Typed::Double(_), Typed::Double(Double::Is(value))) => doubles.push(value),
                (Typed::Text(_) | Typed::Int(_) | Typed::Double(_), other) => {
                    let problem = format!("is {} in a list that is searched for {}", other.name(), needle.name());
                    let remedy = "write a literal of that type";
                    return Err(Mistake::new(item.at, &problem, remedy));
                }
                (other, _) => return Err(wrong_type(left, "in takes a string or a number at its left", other)),
            }
        }
        Ok(match needle {
            Typed::Text(text) => Bool::TextIn(text, texts.into()),
            Typed::Int(int) => Bool::IntIn(int, ints.into()),
            Typed::Double(double) => Bool::DoubleIn(double, doubles.into()),
            other => return Err(wrong_type(left, "in takes a string or a number at its left", &other)),
        })
    }

    fn binary(&mut self, at: usize, sign: &str, left: &'a Expr, right: &'a Expr) -> Result<Typed, Mistake> {
        let (first, second) = (self.typed(left)?, self.typed(right)?);
        let mismatch = |first: &Typed, second: &Typed| {
            let problem = format!(
                "{sign} has {} at its left and {} at its right",
                first.name(),
                second.name()
            );
            let remedy = match (first, second) {
                (Typed::Int(_), Typed::Double(_)) | (Typed::Double(_), Typed::Int(_)) => {
                    "write the number with a fraction, such as 1.0, where the other is a double"
                }
                _ => "compare what is of one type",
            };
            Mistake::new(at, &problem, remedy)
        };
        if let Some(how) = calculation(sign) {
            let sum = match (first, second) {
                (Typed::Int(first), Typed::Int(second)) => Typed::Int(Int::Sum(how, Box::new((first, second)))),
                (Typed::Double(first), Typed::Double(second)) if how != Calculate::Remainder => {
                    Typed::Double(Double::Sum(how, Box::new((first, second))))
                }
                (Typed::Text(_), Typed::Text(_)) if how == Calculate::Add => {
                    let remedy = "use startsWith, endsWith or contains for its parts";
                    return Err(Mistake::new(at, "rules cannot join texts", remedy));
                }
                (first, second) => return Err(mismatch(&first, &second)),
            };
            return Ok(sum);
        }
        let how = comparison(sign);
        let is_order = !matches!(how, Compare::Equal | Compare::Unequal);
        Ok(Typed::Bool(match (first, second) {
            (Typed::Bool(first), Typed::Bool(second)) if !is_order => {
                let same = Bool::Same(Box::new((first, second)));
                if how == Compare::Equal {
                    same
                } else {
                    Bool::Not(Box::new(same))
                }
            }
            (Typed::Int(first), Typed::Int(second)) => Bool::Ints(how, first, second),
            (Typed::Double(first), Typed::Double(second)) => Bool::Doubles(how, first, second),
            (Typed::Int(first), Typed::Double(second)) if is_order => {
                Bool::Doubles(how, Double::Of(Box::new(first)), second)
            }
            (Typed::Double(first), Typed::Int(second)) if is_order => {
                Bool::Doubles(how, first, Double::Of(Box::new(second)))
            }
            (Typed::Text(first), Typed::Text(second)) => {
                among(&first, &second, right.at)?;
                among(&second, &first, left.at)?;
                Bool::Texts(how, first, second)
            }
            (first, second) => return Err(mismatch(&first, &second)),
        }))
    }

    fn conditional(&mut self, at: usize, parts: &'a (Expr, Expr, Expr)) -> Result<Typed, Mistake> {
        let condition = self.bool(&parts.0, "the condition before ?")?;
        Ok(match (self.typed(&parts.1)?, self.typed(&parts.2)?) {
            (Typed::Bool(then), Typed::Bool(otherwise)) => {
                Typed::Bool(Bool::If(Box::new((condition, then, otherwise))))
            }
            (Typed::Int(then), Typed::Int(otherwise)) => Typed::Int(Int::If(Box::new((condition, then, otherwise)))),
            (Typed::Double(then), Typed::Double(otherwise)) => {
                Typed::Double(Double::If(Box::new((condition, then, otherwise))))
            }
            (then, otherwise) => {
                let problem = format!("? gives {} or {}", then.name(), otherwise.name());
                return Err(Mistake::new(at, &problem, "give two bools, or two numbers of one type"));
            }
        })
    }

    fn call(
        &mut self,
        at: usize,
        function: &str,
        target: Option<&'a Expr>,
        arguments: &'a [Expr],
    ) -> Result<Typed, Mistake> {
        let bad = |usage: &str| {
            let problem = format!("{function} is not called so");
            Err(Mistake::new(at, &problem, &format!("write {usage}")))
        };
        match (function, target, arguments) {
            ("startsWith" | "endsWith" | "contains", Some(text), [part]) => {
                let (text, part) = (self.text(text, function)?, self.text(part, function)?);
                Ok(Typed::Bool(match function {
                    "startsWith" => Bool::StartsWith(text, part),
                    "endsWith" => Bool::EndsWith(text, part),
                    _ => Bool::Contains(text, part),
                }))
            }
            ("matches", Some(text), [pattern]) | ("matches", None, [text, pattern]) => self.matches(text, pattern),
            ("size", Some(of), []) | ("size", None, [of]) => match self.typed(of)? {
                Typed::Text(text) => Ok(Typed::Int(Int::Length(text))),
                Typed::Map(MapFact::Labels) => Ok(Typed::Int(Int::Entries(MapFact::Labels))),
                other => Err(wrong_type(of, "size takes a string or caller.labels", &other)),
            },
            ("has", None, [of]) => self.has(of),
            ("exists" | "all", Some(list), [name, condition]) => self.each(function, list, name, condition),
            _ => {
                if let Some((_, usage)) = FUNCTIONS.iter().find(|(known, _)| *known == function) {
                    return bad(usage);
                }
                let near = nearest(function, FUNCTIONS.iter().map(|(name, _)| *name));
                let remedy = near.map_or_else(
                    || format!("there are {}", FUNCTIONS.map(|(name, _)| name).join(", ")),
                    |near| format!("did you mean {near}?"),
                );
                Err(Mistake::new(
                    at,
                    &format!("rules have no function {function:?}"),
                    &remedy,
                ))
            }
        }
    }

    fn matches(&mut self, text: &'a Expr, pattern: &'a Expr) -> Result<Typed, Mistake> {
        let text = self.text(text, "matches")?;
        let Text::Is(source) = self.text(pattern, "matches")? else {
            let remedy = "write it as a text";
            return Err(Mistake::new(pattern.at, "a pattern must be written literally", remedy));
        };
        if source.len() > PATTERN {
            let problem = format!("this pattern is longer than {PATTERN} bytes");
            return Err(Mistake::new(pattern.at, &problem, "use a list with in, or startsWith"));
        }
        let mut builder = RegexBuilder::new(&source);
        let regex = builder.size_limit(PATTERN_SIZE).nest_limit(PATTERN_DEPTH).build();
        let regex = regex.map_err(|error| {
            let problem = format!("is no pattern that can be matched: {error}");
            Mistake::new(
                pattern.at,
                &problem,
                "correct it; in a text a backslash is written \\\\, in r'...' once",
            )
        })?;
        Ok(Typed::Bool(Bool::Matches(text, Box::new(regex))))
    }

    fn has(&mut self, of: &'a Expr) -> Result<Typed, Mistake> {
        let always = |at: usize, what: &str| {
            let remedy = "compare its value instead";
            Err(Mistake::new(at, &format!("{what} is always there"), remedy))
        };
        if let Some(path) = path_of(of)
            && let Some(variable) = VARIABLES.iter().find(|variable| variable.path == path)
        {
            if !variable.optional {
                return always(of.at, variable.path);
            }
            self.looks.at_body |= variable.fact.reads_body();
            return Ok(Typed::Bool(Bool::Has(variable.fact)));
        }
        match self.typed(of)? {
            Typed::Text(Text::At(map, key)) => Ok(Typed::Bool(Bool::HasKey(map, *key))),
            _ => always(of.at, "this"),
        }
    }

    /// A list's condition, once for each of its items: nothing repeats when a request is decided.
    fn each(&mut self, function: &str, list: &'a Expr, name: &'a Expr, condition: &'a Expr) -> Result<Typed, Mistake> {
        let Kind::List(items) = &list.what else {
            let problem = format!("{function} takes a list that is written there, such as [\"a\", \"b\"]");
            return Err(Mistake::new(list.at, &problem, "write the values that are meant"));
        };
        let Kind::Name(name) = &name.what else {
            let problem = format!("{function} takes a name for the items first");
            return Err(Mistake::new(
                name.at,
                &problem,
                &format!("write […].{function}(x, condition)"),
            ));
        };
        if let Some(item) = items.iter().find(|item| !is_literal(item)) {
            return Err(Mistake::new(
                item.at,
                "only literals can be in this list",
                "write a text or a number",
            ));
        }
        let mut parts = Vec::with_capacity(items.len());
        for item in items {
            self.names.push((name, item));
            let part = self.bool(condition, function);
            self.names.pop();
            parts.push(part?);
        }
        let parts = parts.into_boxed_slice();
        Ok(Typed::Bool(if function == "all" {
            Bool::All(parts)
        } else {
            Bool::Any(parts)
        }))
    }
}

fn comparison(sign: &str) -> Compare {
    match sign {
        "==" => Compare::Equal,
        "!=" => Compare::Unequal,
        "<" => Compare::Less,
        "<=" => Compare::AtMost,
        ">" => Compare::More,
        _ => Compare::AtLeast,
    }
}

fn calculation(sign: &str) -> Option<Calculate> {
    Some(match sign {
        "+" => Calculate::Add,
        "-" => Calculate::Subtract,
        "*" => Calculate::Multiply,
        "/" => Calculate::Divide,
        "%" => Calculate::Remainder,
        _ => return None,
    })
}

/// The value of a map at a key that is written as a field.
fn value_at(map: MapFact, at: usize, key: &str) -> Result<Typed, Mistake> {
    may_name(map, at, key)?;
    Ok(Typed::Text(Text::At(map, Box::new(Text::Is(key.into())))))
}

fn wrong_type(expr: &Expr, needs: &str, found: &Typed) -> Mistake {
    let problem = format!("{needs}, and this is {}", found.name());
    Mistake::new(expr.at, &problem, "compare it with something, or remove it")
}

fn no_fields(expr: &Expr, found: &Typed) -> Mistake {
    let problem = format!("is {} and has no fields", found.name());
    Mistake::new(expr.at, &problem, "leave out the last dot and what follows")
}

fn unknown(at: usize, path: &str) -> Mistake {
    let group = format!("{path}.");
    let within: Vec<&str> = VARIABLES
        .iter()
        .filter_map(|variable| variable.path.starts_with(&group).then_some(variable.path))
        .collect();
    if !within.is_empty() {
        let problem = format!("{path} is a group of variables, and no value");
        return Mistake::new(at, &problem, &format!("name one of {}", within.join(", ")));
    }
    let paths = VARIABLES.iter().map(|variable| variable.path);
    let root = format!("{}.", path.split('.').next().unwrap_or_default());
    let of_root: Vec<&str> = VARIABLES
        .iter()
        .filter_map(|variable| variable.path.starts_with(&root).then_some(variable.path))
        .collect();
    let remedy = match (nearest(path, paths), of_root.as_slice()) {
        (Some(near), _) => format!("did you mean {near}?"),
        (None, []) => "variables begin with request, caller, route or candidate".to_owned(),
        (None, of_root) => format!("there are {}", of_root.join(", ")),
    };
    Mistake::new(at, &format!("there is no variable {path}"), &remedy)
}

/// Whether this literal is one of the values that the other may have.
fn among(of: &Text, literal: &Text, at: usize) -> Result<(), Mistake> {
    let (Text::Fact(fact), Text::Is(text)) = (of, literal) else {
        return Ok(());
    };
    let values = TextFact::values(*fact);
    if values.is_empty() || values.contains(&&**text) {
        return Ok(());
    }
    let remedy = match nearest(text, values.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("there are {}", values.join(", ")),
    };
    Err(Mistake::new(at, &format!("it never is {text:?}"), &remedy))
}

/// No rule sees a key.
fn may_name(map: MapFact, at: usize, name: &str) -> Result<(), Mistake> {
    if map != MapFact::Headers {
        return Ok(());
    }
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte));
    if !is_name {
        let problem = format!("{name:?} is no name of a header in lower case");
        return Err(Mistake::new(
            at,
            &problem,
            &format!("write {:?}", name.to_ascii_lowercase()),
        ));
    }
    let carries_key = [
        "auth",
        "key",
        "token",
        "secret",
        "cookie",
        "password",
        "credential",
        "signature",
    ];
    if carries_key.iter().any(|part| name.contains(part)) {
        let problem = format!("the header {name} may carry a key, which no rule may see");
        return Err(Mistake::new(
            at,
            &problem,
            "tell callers by their workload, service account or labels",
        ));
    }
    Ok(())
}
