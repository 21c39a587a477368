//! A text read value by value, in one pass and without a tree: whoever reads says of each value what is wanted of it, and the
//! rest is only checked for its grammar.

use std::borrow::Cow;

use super::Error;
use super::reader::{DEPTH, Reader};

/// A place in a text, before a value.
pub struct Pull<'a> {
    reader: Reader<'a>,
    depth: u32,
}

impl<'a> Pull<'a> {
    /// At the beginning of a document.
    ///
    /// # Errors
    /// The text is not UTF-8.
    pub fn new(text: &'a [u8]) -> Result<Self, Error> {
        Ok(Self {
            reader: Reader::new(text)?,
            depth: DEPTH,
        })
    }

    /// Nothing but white space may follow.
    ///
    /// # Errors
    /// Something follows.
    pub fn end(mut self) -> Result<(), Error> {
        self.reader.end()
    }

    /// Whether the value is an array.
    pub fn is_array(&mut self) -> bool {
        self.reader.look() == Some(b'[')
    }

    /// Whether the value is an object.
    pub fn is_object(&mut self) -> bool {
        self.reader.look() == Some(b'{')
    }

    /// Whether the value is a string.
    pub fn is_text(&mut self) -> bool {
        self.reader.look() == Some(b'"')
    }

    /// The same place, to be read from without going on from here.
    #[must_use]
    pub fn ahead(&self) -> Self {
        Self {
            reader: self.reader.clone(),
            depth: self.depth,
        }
    }

    /// Passes the value.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn skip(&mut self) -> Result<&'a str, Error> {
        self.reader.skip()
    }

    /// The text, where the value is one; another value is passed.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn text(&mut self) -> Result<Option<Cow<'a, str>>, Error> {
        if self.reader.look() == Some(b'"') {
            return Ok(Some(self.reader.string()?.text));
        }
        self.reader.skip().map(|_| None)
    }

    /// Reads each member of an object by its name, in order, repeated ones too; what `each` does not read is passed, and so is
    /// a value that is no object.
    ///
    /// # Errors
    /// It is no JSON, or nested too deeply.
    pub fn members(&mut self, each: &mut dyn FnMut(&str, &mut Self) -> Result<(), Error>) -> Result<(), Error> {
        if self.reader.look() != Some(b'{') {
            return self.reader.skip().map(drop);
        }
        self.inside(b'}', &mut |pull| {
            let name = pull.reader.name()?.text;
            pull.reader.colon()?;
            pull.one(&mut |pull| each(&name, pull))
        })
    }

    /// Reads each item of an array; what `each` does not read is passed, and so is a value that is no array.
    ///
    /// # Errors
    /// It is no JSON, or nested too deeply.
    pub fn items(&mut self, each: &mut dyn FnMut(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        if self.reader.look() != Some(b'[') {
            return self.reader.skip().map(drop);
        }
        self.inside(b']', &mut |pull| pull.one(each))
    }

    fn inside(&mut self, close: u8, each: &mut dyn FnMut(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        let around = self.depth;
        self.depth = self.reader.deeper(around)?;
        self.reader.take();
        if !self.reader.takes(close) {
            loop {
                each(self)?;
                if self.reader.takes(close) {
                    break;
                }
                self.reader.comma(close)?;
            }
        }
        self.depth = around;
        Ok(())
    }

    fn one(&mut self, each: &mut dyn FnMut(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        self.reader.look();
        let before = self.reader.place_in_text();
        each(self)?;
        if self.reader.place_in_text() == before {
            self.reader.skip()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<String, Error> {
        let mut told = String::new();
        let mut pull = Pull::new(text.as_bytes())?;
        pull.members(&mut |name, at| {
            told.push_str(name);
            match name {
                "list" => at.items(&mut |at| {
                    told.push_str(at.text()?.as_deref().unwrap_or("-"));
                    Ok(())
                }),
                "text" => {
                    told.push_str(at.text()?.as_deref().unwrap_or("-"));
                    Ok(())
                }
                _ => Ok(()),
            }
        })?;
        pull.end()?;
        Ok(told)
    }

    #[test]
    fn what_is_wanted_is_read_and_the_rest_is_passed() {
        assert_eq!(
            told(r#" { "a" : {"list":[1]} , "list":["x",2,"\u0079"], "text":null,"t\u0065xt":"z" } "#).unwrap(),
            "alistx-ytext-textz"
        );
        assert_eq!(told(r#"{"list":{}, "text":[1]}"#).unwrap(), "listtext-");
        assert_eq!(told("[1]").unwrap(), "");
    }

    #[test]
    fn what_is_no_json_is_refused_wherever_it_is() {
        for text in [
            r#"{"a":}"#,
            r#"{"list":[1,]}"#,
            r#"{"list":["a}"#,
            r#"{"a":1} x"#,
            "{",
            "",
            r#"{"a" 1}"#,
            r#"{"text":"\q"}"#,
        ] {
            assert!(told(text).is_err(), "{text}");
        }
    }
}
