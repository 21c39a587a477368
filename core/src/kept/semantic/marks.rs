//! What two texts must have in common beside being alike, as vectors are blind to it: "5 mg" is close to "50 mg", "with nuts" to
//! "without nuts", Austria to Australia.
//!
//! Read are numbers and whatever holds a digit or a sign (amounts, dates, versions, paths, code), names (what begins with a capital
//! letter and does not merely begin a sentence), what is quoted, words that turn the meaning (negations, opposites, units, days,
//! what is to be done), each in its order; and the language. Of a text in a language whose words are not known here, every word is
//! read: it must be equal but for its signs and capitals. Words that have no mark ("cat", "dog") are left to the vectors.
//!
//! A mark too many costs an answer that might have been given again; one too few gives a wrong one.

use std::fmt::Write as _;

mod words;

use words::{BINDING, FILLING, LANGUAGES, NUMBERS, OPENERS, TURNING};

/// The marks of a text, as text: equal for two texts that may stand for each other.
pub fn marks(text: &str) -> String {
    let mut read = Reading::default();
    for line in text.lines() {
        read.line(line);
    }
    read.turns.extend(read.bound.map(str::to_owned));
    let language = read.language();
    let mut marks = String::new();
    let none = Vec::new();
    // Where every word counts, a capital letter tells nothing more.
    let (names, all) = if language.is_some() {
        (&read.names, &none)
    } else {
        (&none, &read.words)
    };
    // Writing to a String cannot fail.
    let _ = write!(marks, "{}", language.unwrap_or("?"));
    for list in [&read.signs, names, &read.turns, all] {
        marks.push('\n');
        for mark in list {
            let _ = write!(marks, "{mark}\t");
        }
    }
    marks
}

#[derive(Default)]
struct Reading {
    /// Numbers, and what holds digits or signs.
    signs: Vec<String>,
    names: Vec<String>,
    /// Words that turn the meaning.
    turns: Vec<String>,
    /// All words, in lower case.
    words: Vec<String>,
    /// What is between these is read letter by letter.
    within: Option<char>,
    /// Whether it is a block of code.
    is_code: bool,
    /// A word that binds to the next one that says something.
    bound: Option<&'static str>,
    /// Whether there is a letter of another alphabet than the Latin one.
    is_other: bool,
}

impl Reading {
    fn line(&mut self, line: &str) {
        if line.trim_start().starts_with("```") {
            self.is_code = !self.is_code;
        }
        if self.is_code {
            // How code is indented may be all that it says.
            self.signs.push(line.trim_end().to_owned());
            return;
        }
        for token in line.split_whitespace() {
            self.token(token);
        }
    }

    fn token(&mut self, token: &str) {
        let was_within = self.within;
        self.quotes(token);
        let bare = token.trim_matches(is_of_a_sentence);
        if was_within.is_some() || self.within.is_some() || token.contains(['"', '“', '«', '„', '`']) {
            self.signs
                .push(token.trim_matches(['.', ',', ';', ':', '!', '?']).to_owned());
            return;
        }
        if bare.is_empty() {
            return;
        }
        let bare = bare.replace('’', "'");
        let lower = bare.to_lowercase();
        let lower = lower.strip_suffix("'s").unwrap_or(&lower);
        self.is_other = self.is_other || lower.chars().any(|letter| letter.is_alphabetic() && !is_latin(letter));
        self.words.push(lower.to_owned());
        let is_of_word = |letter: char| letter.is_alphabetic() || matches!(letter, '-' | '\'');
        if !lower.chars().all(is_of_word) || !lower.contains(char::is_alphabetic) {
            self.signs.push(bare);
        } else if let Ok(at) = NUMBERS.binary_search_by_key(&lower, |(word, _)| word) {
            self.signs
                .extend(NUMBERS.get(at).map(|(_, number)| (*number).to_owned()));
        } else {
            self.word(&bare, lower);
        }
    }

    /// A word of letters alone.
    fn word(&mut self, as_written: &str, lower: &str) {
        let is_negated = lower.ends_with("n't") || lower == "cannot";
        let is_filling = FILLING.binary_search(&lower).is_ok();
        if let Some(binding) = self.bound.filter(|_| !is_filling) {
            // Enough of it to tell words apart, and too little for their endings to.
            let stem: String = lower.chars().take(4).collect();
            self.turns.push(format!("{binding} {stem}"));
            self.bound = None;
        }
        if is_negated {
            self.bound = Some("not");
        } else if let Ok(at) = BINDING.binary_search(&lower) {
            self.bound = BINDING.get(at).copied();
        } else if TURNING.binary_search(&lower).is_ok() {
            self.turns.push(lower.to_owned());
        }
        let mut letters = as_written.chars();
        let begins_large = letters.next().is_some_and(char::is_uppercase);
        let is_large_within = letters.any(char::is_uppercase);
        // An opener may stand anywhere: in a title, all words begin with a capital letter.
        let is_opener = OPENERS.binary_search(&lower).is_ok() || TURNING.binary_search(&lower).is_ok() || is_negated;
        if is_large_within || (begins_large && !is_opener && BINDING.binary_search(&lower).is_err()) {
            let name = as_written.strip_suffix("'s").unwrap_or(as_written);
            self.names.push(name.to_owned());
        }
    }

    /// Follows quotes: what they hold is meant to the letter.
    fn quotes(&mut self, token: &str) {
        let first = token.chars().find(|letter| !matches!(letter, '(' | '['));
        if self.within.is_none() && first == Some('\'') {
            self.within = Some('\'');
        }
        for letter in token.chars() {
            match (self.within, letter) {
                (None, '"' | '`') => self.within = Some(letter),
                (None, '“') => self.within = Some('”'),
                (None, '„') => self.within = Some('“'),
                (None, '«') => self.within = Some('»'),
                (Some(end), letter) if letter == end && end != '\'' => self.within = None,
                _ => {}
            }
        }
        let last = token.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']']).chars();
        if self.within == Some('\'') && token.chars().count() > 1 && last.last() == Some('\'') {
            self.within = None;
        }
    }

    /// The language, if it is known and no other fits as well.
    fn language(&self) -> Option<&'static str> {
        if self.is_other {
            return None;
        }
        let count = |list: &[&str]| {
            let is_its = |word: &&String| list.binary_search(&word.as_str()).is_ok();
            self.words.iter().filter(is_its).count()
        };
        let mut counts: Vec<_> = LANGUAGES.iter().map(|(name, list)| (count(list), *name)).collect();
        counts.sort_unstable();
        match counts.as_slice() {
            [.., (second, _), (first, name)] if first > second => Some(name),
            _ => None,
        }
    }
}

/// Signs that belong to a sentence and not to a word.
fn is_of_a_sentence(letter: char) -> bool {
    matches!(
        letter,
        '.' | ',' | ';' | ':' | '!' | '?' | '¿' | '¡' | '(' | ')' | '…' | '\''
    )
}

fn is_latin(letter: char) -> bool {
    matches!(letter, '\0'..='\u{24f}' | '\u{1e00}'..='\u{1eff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alike(one: &str, other: &str) -> bool {
        marks(one) == marks(other)
    }

    #[test]
    fn the_lists_are_sorted_for_their_search() {
        assert!(NUMBERS.is_sorted());
        for list in [BINDING, FILLING, OPENERS, TURNING] {
            assert!(
                list.windows(2).all(|pair| pair[0] < pair[1]),
                "{:?}",
                list.windows(2).find(|p| p[0] >= p[1])
            );
        }
        for (name, list) in LANGUAGES {
            assert!(
                list.windows(2).all(|pair| pair[0] < pair[1]),
                "{name} {:?}",
                list.windows(2).find(|p| p[0] >= p[1])
            );
        }
    }

    #[test]
    fn another_wording_has_the_same_marks() {
        for (one, other) in [
            (
                "What is the capital of France?",
                "Tell me the capital of France, please.",
            ),
            ("How do I boil two eggs?", "How can I boil 2 eggs?"),
            ("Why is the printer not ready?", "Tell me why is the printer not ready"),
            ("Who wrote Faust?", "Who was it that wrote Faust"),
            ("What is France's capital?", "what is the capital of France"),
        ] {
            assert!(
                alike(one, other),
                "{one:?} {other:?}: {} | {}",
                marks(one),
                marks(other)
            );
        }
    }

    #[test]
    fn what_vectors_are_blind_to_is_another_mark() {
        for (one, other) in [
            ("Take 5 mg of it a day", "Take 50 mg of it a day"),
            ("How many is two and three?", "How many is two and four?"),
            ("Is it safe with nuts?", "Is it safe without nuts?"),
            ("Why does it work?", "Why doesn't it work?"),
            ("Tea but not coffee is what I like", "Coffee but not tea is what I like"),
            ("What is the capital of Austria?", "What is the capital of Australia?"),
            ("Is Anna older than Ben?", "Is Ben older than Anna?"),
            ("Paris is how far away?", "London is how far away?"),
            ("How do I call getUser from here?", "How do I call getUsers from here?"),
            ("What does `a b` do in this?", "What does `b a` do in this?"),
            (
                "What does 'make all' do in the shell?",
                "What does 'make any' do in the shell?",
            ),
            ("Is it x < y here?", "Is it x > y here?"),
            ("How hot is it in celsius?", "How hot is it in kelvin?"),
            ("What is the time?", "Was ist die Zeit?"),
            ("Is the door open now?", "Is the door closed now?"),
            ("How do I enable the log?", "How do I disable the log?"),
            ("Summarize the text for me", "Translate the text for me"),
            ("Is it on Monday?", "Is it on Tuesday?"),
            ("what is in /etc/hosts here", "what is in /etc/passwd here"),
            ("```\nif a:\n  b\n```", "```\nif a:\nb\n```"),
        ] {
            assert!(!alike(one, other), "{one:?} {other:?}: {}", marks(one));
        }
    }

    #[test]
    fn in_a_language_that_is_not_known_every_word_counts() {
        assert!(alike("Как дела?", "как дела"));
        assert!(!alike("Это хорошо", "Это плохо"));
        assert!(!alike("东京的天气怎么样", "北京的天气怎么样"));
        assert!(!alike("fish soup", "fish stew"), "too few words to tell");
    }

    #[test]
    fn what_no_mark_is_read_from_is_left_to_the_vectors() {
        assert!(alike(
            "What does a cat eat in the wild?",
            "What does a dog eat in the wild?"
        ));
        assert_eq!(marks("").lines().next(), Some("?"));
    }
}
