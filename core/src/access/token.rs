//! The words of CEL: a text cut into names, literals and signs.

use super::Mistake;

/// One word, and where it begins in the text, bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub what: What,
    pub at: usize,
}

/// What a word is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// A name, `true`, `false`, `null` and `in` among them.
    Name(String),
    /// A whole number.
    Int(i64),
    /// A number with a fraction or an exponent.
    Double(f64),
    /// A text.
    Text(String),
    /// An operator, a bracket, a comma.
    Sign(&'static str),
    /// The end of the text.
    End,
}

/// Longer signs first: `<=` is not `<` and `=`.
const SIGNS: [&str; 24] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}",
];

/// Cuts a text into words; the last one is [`What::End`].
///
/// # Errors
/// What is no word of CEL, or one that rules do not have.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Mistake> {
    let mut words = Words { text, at: 0 };
    let mut found = Vec::new();
    loop {
        words.pass_space();
        let at = words.at;
        let what = words.next()?;
        let is_end = what == What::End;
        found.push(Token { what, at });
        if is_end {
            return Ok(found);
        }
    }
}

struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn pass_space(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn next(&mut self) -> Result<What, Mistake> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(What::End);
        };
        let second = rest.chars().nth(1);
        let is_quote = |char: Option<char>| matches!(char, Some('"' | '\''));
        match first {
            '"' | '\'' => return self.quoted(false),
            'r' | 'R' if is_quote(second) => {
                self.at += 1;
                return self.quoted(true);
            }
            'b' | 'B' if is_quote(second) => {
                return Err(self.wrong("there are no bytes in rules", "write a text, without the b in front"));
            }
            '0'..='9' => return self.number(),
            '.' if second.is_some_and(|next| next.is_ascii_digit()) => return self.number(),
            'a'..='z' | 'A'..='Z' | '_' => {
                let end = rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '_');
                let name = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                self.at += name.len();
                return Ok(What::Name(name.to_owned()));
            }
            _ => {}
        }
        if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            self.at += sign.len();
            return Ok(What::Sign(sign));
        }
        let remedy = match first {
            '=' => "write == to compare",
            '&' => "write && for and",
            '|' => "write || for or",
            '\u{201c}' | '\u{201d}' | '\u{2018}' | '\u{2019}' | '`' => "write texts in straight quotes, \" or '",
            _ => "remove it",
        };
        Err(self.wrong(&format!("{first:?} is no sign of CEL"), remedy))
    }

    fn wrong(&self, problem: &str, remedy: &str) -> Mistake {
        Mistake::new(self.at, problem, remedy)
    }

    fn number(&mut self) -> Result<What, Mistake> {
        let rest = self.rest();
        if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            let digits = hex.len() - hex.trim_start_matches(|char: char| char.is_ascii_hexdigit()).len();
            let number = i64::from_str_radix(hex.get(..digits).unwrap_or_default(), 16);
            let number = number.map_err(|_| self.wrong("is no number, or too large a one", "write it in decimal"))?;
            self.at += 2 + digits;
            return self.ended(What::Int(number));
        }
        let bytes = rest.as_bytes();
        let digits = |from: usize| {
            let rest = bytes.get(from..).unwrap_or_default();
            from + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
        };
        let mut end = digits(0);
        let mut is_double = false;
        if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
            is_double = true;
            end = digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(end + 1 + sign);
            if exponent > end + 1 + sign {
                is_double = true;
                end = exponent;
            }
        }
        let text = rest.get(..end).unwrap_or_default();
        let what = if is_double {
            text.parse()
                .ok()
                .filter(|number: &f64| number.is_finite())
                .map(What::Double)
        } else {
            text.parse().ok().map(What::Int)
        };
        let what = what.ok_or_else(|| self.wrong(&format!("the number {text} is too large"), "write a smaller one"))?;
        self.at += end;
        self.ended(what)
    }

    /// Nothing may stick to a number.
    fn ended(&self, number: What) -> Result<What, Mistake> {
        match self.rest().chars().next() {
            Some('u' | 'U') => Err(self.wrong("there are no unsigned numbers in rules", "leave out the u")),
            Some(next) if next.is_ascii_alphanumeric() || next == '_' => {
                Err(self.wrong("a letter sticks to a number", "put a space or an operator between them"))
            }
            _ => Ok(number),
        }
    }

    fn quoted(&mut self, raw: bool) -> Result<What, Mistake> {
        let begin = self.at;
        let rest = self.rest();
        let quote = rest.chars().next().unwrap_or('"');
        if rest.starts_with("\"\"\"") || rest.starts_with("'''") {
            return Err(self.wrong(
                "there are no texts of several lines in rules",
                "write it in single quotes",
            ));
        }
        let mut text = String::new();
        self.at += 1;
        loop {
            let Some(next) = self.rest().chars().next() else {
                return Err(Mistake::new(
                    begin,
                    "this text has no end",
                    &format!("close it with {quote}"),
                ));
            };
            match next {
                _ if next == quote => {
                    self.at += 1;
                    return Ok(What::Text(text));
                }
                '\n' | '\r' => {
                    return Err(Mistake::new(
                        begin,
                        "this text has no end in its line",
                        &format!("close it with {quote}, and write a line break as \\n"),
                    ));
                }
                '\\' if !raw => text.push(self.escape()?),
                _ => {
                    text.push(next);
                    self.at += next.len_utf8();
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Mistake> {
        let code = self.rest().as_bytes().get(1).copied().unwrap_or_default();
        let (skip, digits, radix) = match code {
            b'x' | b'X' => (2, 2, 16),
            b'u' => (2, 4, 16),
            b'U' => (2, 8, 16),
            b'0'..=b'3' => (1, 3, 8),
            _ => {
                let plain = match code {
                    b'\\' | b'"' | b'\'' | b'`' | b'?' => char::from(code),
                    b'a' => '\u{7}',
                    b'b' => '\u{8}',
                    b'f' => '\u{c}',
                    b'n' => '\n',
                    b'r' => '\r',
                    b't' => '\t',
                    b'v' => '\u{b}',
                    _ => return Err(self.wrong("is no escape that CEL has", "write a backslash as \\\\")),
                };
                self.at += 2;
                return Ok(plain);
            }
        };
        let told = self.rest().get(skip..skip + digits);
        let number = told
            .filter(|told| told.chars().all(|char| char.is_digit(radix)))
            .and_then(|told| u32::from_str_radix(told, radix).ok());
        let char = number.and_then(char::from_u32);
        let char = char.ok_or_else(|| self.wrong("is no escape of a character", "write the character itself"))?;
        self.at += skip + digits;
        Ok(char)
    }
}
