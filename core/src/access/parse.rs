//! The grammar of CEL, as far as rules have it: a tree of what a text says, not yet of what it means.
//!
//! Recursion is bounded by [`MAX_DEPTH`], and the tree by [`MAX_NODES`].

use super::Mistake;
use super::token::{Token, What, tokens};

/// Brackets, negations and conditionals within each other.
pub const MAX_DEPTH: usize = 24;
/// Parts of one expression as it is written, and of what is made of it.
pub const MAX_NODES: usize = 400;

/// A part of an expression, and where it begins in the text, bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expr {
    pub at: usize,
    pub what: Kind,
}

/// What a part is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Name(String),
    /// `target.field`
    Field(Box<Expr>, String),
    /// `target[index]`
    Index(Box<Expr>, Box<Expr>),
    /// `function(arguments)` or `target.function(arguments)`
    Call {
        function: String,
        target: Option<Box<Expr>>,
        arguments: Vec<Expr>,
    },
    List(Vec<Expr>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    /// `condition ? then : otherwise`
    If(Box<(Expr, Expr, Expr)>),
}

/// Reads a whole expression.
///
/// # Errors
/// Where the text is no CEL, or is beyond a bound.
pub(super) fn parse(text: &str) -> Result<Expr, Mistake> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        next: 0,
        nodes: 0,
        depth: 0,
    };
    let expr = parser.conditional()?;
    match parser.peek() {
        What::End => Ok(expr),
        found => Err(parser.wrong(
            &format!("{} is not expected here", spelled(found)),
            "remove it, or join with && or ||",
        )),
    }
}

fn spelled(what: &What) -> String {
    match what {
        What::Name(name) => format!("{name:?}"),
        What::Int(number) => number.to_string(),
        What::Double(number) => number.to_string(),
        What::Text(_) => "a text".to_owned(),
        What::Sign(sign) => format!("{sign:?}"),
        What::End => "the end".to_owned(),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    next: usize,
    nodes: usize,
    depth: usize,
}

const COMPARE: [&str; 6] = ["==", "!=", "<=", ">=", "<", ">"];

/// Words that CEL keeps for itself; as names of fields they are free.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

impl Parser<'_> {
    fn token(&self) -> Option<&Token> {
        // The last one is the end, and is never passed.
        self.tokens.get(self.next).or_else(|| self.tokens.last())
    }

    fn peek(&self) -> &What {
        self.token().map_or(&What::End, |token| &token.what)
    }

    fn at(&self) -> usize {
        self.token().map_or(0, |token| token.at)
    }

    fn wrong(&self, problem: &str, remedy: &str) -> Mistake {
        Mistake::new(self.at(), problem, remedy)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is_next = matches!(self.peek(), What::Sign(next) if *next == sign);
        self.next += usize::from(is_next);
        is_next
    }

    /// The next of these operators, taken.
    fn takes_one(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        let What::Sign(next) = *self.peek() else { return None };
        let found = signs.iter().copied().find(|sign| *sign == next)?;
        self.next += 1;
        Some(found)
    }

    fn need(&mut self, sign: &str) -> Result<(), Mistake> {
        if self.takes(sign) {
            return Ok(());
        }
        let found = spelled(self.peek());
        Err(self.wrong(
            &format!("there is {found} where {sign:?} is expected"),
            &format!("put {sign} there"),
        ))
    }

    fn made(&mut self, at: usize, what: Kind) -> Result<Expr, Mistake> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let problem = format!("has more than {MAX_NODES} parts");
            return Err(Mistake::new(
                at,
                &problem,
                "make several rules of it: all of them must hold",
            ));
        }
        Ok(Expr { at, what })
    }

    /// One level deeper while `read` goes on.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Mistake>) -> Result<T, Mistake> {
        if self.depth == MAX_DEPTH {
            let problem = format!("is nested more than {MAX_DEPTH} deep");
            return Err(self.wrong(&problem, "make several rules of it: all of them must hold"));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn conditional(&mut self) -> Result<Expr, Mistake> {
        let at = self.at();
        let condition = self.or()?;
        if !self.takes("?") {
            return Ok(condition);
        }
        let then = self.deeper(Self::or)?;
        self.need(":")?;
        let otherwise = self.deeper(Self::conditional)?;
        self.made(at, Kind::If(Box::new((condition, then, otherwise))))
    }

    fn or(&mut self) -> Result<Expr, Mistake> {
        self.joined("||", Kind::Or, |parser| parser.joined("&&", Kind::And, Self::relation))
    }

    fn joined(
        &mut self,
        sign: &'static str,
        make: fn(Vec<Expr>) -> Kind,
        mut part: impl FnMut(&mut Self) -> Result<Expr, Mistake>,
    ) -> Result<Expr, Mistake> {
        let at = self.at();
        let first = part(self)?;
        let mut parts = vec![first];
        while self.takes(sign) {
            parts.push(part(self)?);
        }
        match parts.len() {
            1 => Ok(parts.remove(0)),
            _ => self.made(at, make(parts)),
        }
    }

    fn relation(&mut self) -> Result<Expr, Mistake> {
        let at = self.at();
        let mut left = self.sum()?;
        loop {
            let sign = match self.peek() {
                What::Name(name) if name == "in" => {
                    self.next += 1;
                    "in"
                }
                _ => match self.takes_one(&COMPARE) {
                    Some(sign) => sign,
                    None => return Ok(left),
                },
            };
            let right = self.sum()?;
            left = self.made(at, Kind::Binary(sign, Box::new(left), Box::new(right)))?;
        }
    }

    fn sum(&mut self) -> Result<Expr, Mistake> {
        self.chain(&["+", "-"], |parser| parser.chain(&["*", "/", "%"], Self::unary))
    }

    fn chain(
        &mut self,
        signs: &[&'static str],
        mut part: impl FnMut(&mut Self) -> Result<Expr, Mistake>,
    ) -> Result<Expr, Mistake> {
        let at = self.at();
        let mut left = part(self)?;
        while let Some(sign) = self.takes_one(signs) {
            let right = part(self)?;
            left = self.made(at, Kind::Binary(sign, Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, Mistake> {
        let at = self.at();
        match self.takes_one(&["!", "-"]) {
            Some("!") => {
                let inner = self.deeper(Self::unary)?;
                self.made(at, Kind::Not(Box::new(inner)))
            }
            Some(_) => {
                let inner = self.deeper(Self::unary)?;
                self.made(at, Kind::Negative(Box::new(inner)))
            }
            None => self.member(),
        }
    }

    fn member(&mut self) -> Result<Expr, Mistake> {
        let mut expr = self.primary()?;
        loop {
            let at = self.at();
            if self.takes(".") {
                let What::Name(name) = self.peek().clone() else {
                    return Err(self.wrong("there is no name behind the dot", "name a field or a function"));
                };
                self.next += 1;
                expr = if self.takes("(") {
                    let arguments = self.list(")")?;
                    let (function, target) = (name, Some(Box::new(expr)));
                    self.made(
                        at + 1,
                        Kind::Call {
                            function,
                            target,
                            arguments,
                        },
                    )?
                } else {
                    let begin = expr.at;
                    self.made(begin, Kind::Field(Box::new(expr), name))?
                };
            } else if self.takes("[") {
                let index = self.deeper(Self::conditional)?;
                self.need("]")?;
                let begin = expr.at;
                expr = self.made(begin, Kind::Index(Box::new(expr), Box::new(index)))?;
            } else {
                return Ok(expr);
            }
        }
    }

    /// Expressions up to this bracket, which is taken.
    fn list(&mut self, close: &str) -> Result<Vec<Expr>, Mistake> {
        let mut list = Vec::new();
        while !self.takes(close) {
            if !list.is_empty() {
                self.need(",")?;
                // CEL allows a comma behind the last one.
                if self.takes(close) {
                    break;
                }
            }
            list.push(self.deeper(Self::conditional)?);
        }
        Ok(list)
    }

    fn primary(&mut self) -> Result<Expr, Mistake> {
        let at = self.at();
        let what = self.peek().clone();
        self.next += usize::from(what != What::End);
        match what {
            What::Int(number) => self.made(at, Kind::Int(number)),
            What::Double(number) => self.made(at, Kind::Double(number)),
            What::Text(text) => self.made(at, Kind::Text(text)),
            What::Name(name) => match name.as_str() {
                "true" => self.made(at, Kind::Bool(true)),
                "false" => self.made(at, Kind::Bool(false)),
                "null" => Err(Mistake::new(
                    at,
                    "there is no null in rules",
                    "ask has(...) whether something is given",
                )),
                "in" => Err(Mistake::new(
                    at,
                    "\"in\" has nothing before it",
                    "write what is to be in the list",
                )),
                name if RESERVED.contains(&name) => {
                    let problem = format!("{name:?} is a word that CEL keeps for itself");
                    Err(Mistake::new(at, &problem, "use another name"))
                }
                _ if self.takes("(") => {
                    let arguments = self.list(")")?;
                    let (function, target) = (name, None);
                    self.made(
                        at,
                        Kind::Call {
                            function,
                            target,
                            arguments,
                        },
                    )
                }
                _ => self.made(at, Kind::Name(name)),
            },
            What::Sign("(") => {
                let inner = self.deeper(Self::conditional)?;
                self.need(")")?;
                Ok(inner)
            }
            What::Sign("[") => {
                let list = self.list("]")?;
                self.made(at, Kind::List(list))
            }
            What::Sign("{") => Err(Mistake::new(at, "there are no maps in rules", "compare each value")),
            What::End => Err(Mistake::new(
                at,
                "ends where a value is expected",
                "write the rest of it",
            )),
            found @ What::Sign(_) => {
                let problem = format!("there is {} where a value is expected", spelled(&found));
                Err(Mistake::new(
                    at,
                    &problem,
                    "write a variable, a literal or a function there",
                ))
            }
        }
    }
}
