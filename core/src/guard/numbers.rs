//! Numbers of cards, accounts and phones.

use super::ahead::{Ahead, Found, Verdict};
use super::checksum::{LONGEST_IBAN, iban_length, luhn, mod97};

/// The most digits of a card number (ISO/IEC 7812-1).
const CARD: usize = 19;
/// The most digits of a phone number (E.164).
const PHONE: usize = 15;
/// The fewest that are taken for one.
const SHORTEST_PHONE: usize = 8;
/// Bytes between two digits of a phone number, such as `) ` and `-`.
const BETWEEN: usize = 2;

/// Bytes after which each of these is decided: what it has at most, and one more to see that it has ended.
pub(super) const CARD_HOLD: usize = 2 * CARD + 1;
pub(super) const IBAN_HOLD: usize = 2 * LONGEST_IBAN + 1;
pub(super) const PHONE_HOLD: usize = 1 + (1 + BETWEEN) * PHONE + 1;

fn is_digit(byte: Option<u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii_digit())
}

fn is_word(byte: Option<u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// A card number: 13 to 19 digits, alone or with single spaces or dashes among them, of a known scheme and with its check digit.
/// Of several that begin here the longest.
pub(super) fn card(ahead: &Ahead<'_>, at: usize) -> Verdict {
    let mut digits = [0; CARD];
    let (mut count, mut end, mut best) = (0, at, None);
    loop {
        let byte = ahead.at(end)?;
        if let Some(digit @ b'0'..=b'9') = byte {
            let Some(place) = digits.get_mut(count) else { break };
            *place = digit - b'0';
            count += 1;
            end += 1;
            continue;
        }
        if !is_word(byte) && is_card(digits.get(..count).unwrap_or_default()) {
            best = Some(Found::whole(end));
        }
        if !matches!(byte, Some(b' ' | b'-')) || !is_digit(ahead.at(end + 1)?) {
            break;
        }
        end += 1;
    }
    Ok(best)
}

fn is_card(digits: &[u8]) -> bool {
    let number = |first: usize| {
        let first = digits.iter().take(first);
        first.fold(0, |number, digit| number * 10 + u32::from(*digit))
    };
    let is_known = match digits.len() {
        13 => number(1) == 4,
        14 => matches!(number(2), 36 | 38 | 39) || matches!(number(3), 300..=305),
        15 => matches!(number(2), 34 | 37),
        16 => {
            matches!(number(2), 40..=49 | 51..=55 | 35 | 62 | 65 | 81)
                || matches!(number(4), 2200..=2204 | 2221..=2720 | 6011)
                || matches!(number(3), 644..=649)
        }
        17..=19 => matches!(number(2), 40..=49 | 50 | 56..=58 | 60 | 62 | 65 | 67 | 35),
        _ => false,
    };
    is_known && luhn(digits)
}

/// An IBAN: a country, check digits, and as many letters and digits as the country has, with or without single spaces.
pub(super) fn iban(ahead: &Ahead<'_>, at: usize) -> Verdict {
    let mut iban = [0; LONGEST_IBAN];
    let (mut count, mut end, mut length) = (0, at, LONGEST_IBAN);
    while count < length {
        let byte = ahead.at(end)?;
        let fits = match (count, byte) {
            (0 | 1, Some(byte)) => byte.is_ascii_alphabetic(),
            (2 | 3, Some(byte)) => byte.is_ascii_digit(),
            (_, Some(byte)) => byte.is_ascii_alphanumeric(),
            (_, None) => false,
        };
        match (fits, byte, iban.get_mut(count)) {
            (true, Some(byte), Some(place)) => {
                *place = byte;
                count += 1;
            }
            (false, Some(b' '), _) if count >= 4 && is_word(ahead.at(end + 1)?) => {}
            _ => return Ok(None),
        }
        end += 1;
        if let ([first, second, ..], 2) = (iban, count) {
            match iban_length([first, second]) {
                Some(known) => length = known,
                None => return Ok(None),
            }
        }
    }
    let is_one = !is_word(ahead.at(end)?) && mod97(iban.get(..length).unwrap_or_default());
    Ok(is_one.then(|| Found::whole(end)))
}

/// A phone number in its international form: `+`, then 8 to 15 digits with at most two of ` .-/()` between two of them.
pub(super) fn phone(ahead: &Ahead<'_>, at: usize) -> Verdict {
    if !matches!(ahead.at(at + 1)?, Some(b'1'..=b'9')) {
        return Ok(None);
    }
    let (mut count, mut end) = (0, at + 1);
    let mut best = None;
    'digits: while count <= PHONE {
        if is_digit(ahead.at(end)?) {
            count += 1;
            end += 1;
            continue;
        }
        if (SHORTEST_PHONE..=PHONE).contains(&count) {
            best = Some(Found::whole(end));
        }
        let mut between = 0;
        while !is_digit(ahead.at(end + between)?) {
            if between == BETWEEN || !matches!(ahead.at(end + between)?, Some(b' ' | b'.' | b'-' | b'/' | b'(' | b')'))
            {
                break 'digits;
            }
            between += 1;
        }
        end += between;
    }
    Ok(best)
}
