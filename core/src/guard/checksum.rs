//! Checksums, which tell a card or an account from any other number.

/// Whether digits (values 0 to 9) satisfy the Luhn formula (ISO/IEC 7812-1): of ten random numbers nine do not.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(*digit) << (place % 2);
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Whether an IBAN's characters (letters and digits, no spaces) satisfy ISO 7064 MOD 97-10: of a hundred 99 do not.
pub(super) fn mod97(iban: &[u8]) -> bool {
    let (head, body) = iban.split_at(iban.len().min(4));
    let rest = body.iter().chain(head).fold(0, |rest: u32, byte| {
        let value = char::from(*byte).to_digit(36).unwrap_or_default();
        (rest * if value > 9 { 100 } else { 10 } + value) % 97
    });
    rest == 1
}

/// How long an IBAN of this country is, by the IBAN registry (SWIFT, release 99); none: there are none.
pub(super) fn iban_length(country: [u8; 2]) -> Option<usize> {
    let country = country.map(|letter| letter.to_ascii_uppercase());
    IBANS
        .iter()
        .find(|(name, _)| **name == country)
        .map(|(_, length)| *length)
}

/// The longest of them.
pub(super) const LONGEST_IBAN: usize = 33;

#[rustfmt::skip]
const IBANS: &[(&[u8; 2], usize)] = &[
    (b"DE", 22), (b"FR", 27), (b"GB", 22), (b"IT", 27), (b"ES", 24), (b"NL", 18), (b"BE", 16), (b"AT", 20), (b"CH", 21), (b"PL", 28),
    (b"AD", 24), (b"AE", 23), (b"AL", 28), (b"AZ", 28), (b"BA", 20), (b"BG", 22), (b"BH", 22), (b"BI", 27), (b"BR", 29), (b"BY", 28),
    (b"CR", 22), (b"CY", 28), (b"CZ", 24), (b"DJ", 27), (b"DK", 18), (b"DO", 28), (b"EE", 20), (b"EG", 29), (b"FI", 18), (b"FK", 18),
    (b"FO", 18), (b"GE", 22), (b"GI", 23), (b"GL", 18), (b"GR", 27), (b"GT", 28), (b"HN", 28), (b"HR", 21), (b"HU", 28), (b"IE", 22),
    (b"IL", 23), (b"IQ", 23), (b"IS", 26), (b"JO", 30), (b"KW", 30), (b"KZ", 20), (b"LB", 28), (b"LC", 32), (b"LI", 21), (b"LT", 20),
    (b"LU", 20), (b"LV", 21), (b"LY", 25), (b"MC", 27), (b"MD", 24), (b"ME", 22), (b"MK", 19), (b"MN", 20), (b"MR", 27), (b"MT", 31),
    (b"MU", 30), (b"NI", 28), (b"NO", 15), (b"OM", 23), (b"PK", 24), (b"PS", 29), (b"PT", 25), (b"QA", 29), (b"RO", 24), (b"RS", 22),
    (b"RU", 33), (b"SA", 24), (b"SC", 31), (b"SD", 18), (b"SE", 24), (b"SI", 19), (b"SK", 24), (b"SM", 27), (b"SO", 23), (b"ST", 25),
    (b"SV", 28), (b"TL", 23), (b"TN", 24), (b"TR", 26), (b"UA", 29), (b"VA", 22), (b"VG", 24), (b"XK", 20), (b"YE", 30),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_digit_or_two_that_changed_places_are_seen() {
        let card = [4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
        assert!(luhn(&card));
        for place in 0..card.len() {
            let mut wrong = card;
            wrong[place] = (wrong[place] + 1) % 10;
            assert!(!luhn(&wrong), "{place}");
        }
        assert!(mod97(b"DE89370400440532013000") && mod97(b"gb82west12345698765432"));
        assert!(!mod97(b"DE89370400440532013001") && !mod97(b"DE89370400440532010300"));
    }

    #[test]
    fn no_country_is_longer_than_what_is_said_to_be_the_longest_and_none_is_there_twice() {
        assert_eq!(IBANS.iter().map(|(_, length)| *length).max(), Some(LONGEST_IBAN));
        let names: std::collections::BTreeSet<_> = IBANS.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), IBANS.len());
        assert_eq!(iban_length(*b"de"), Some(22));
        assert_eq!(iban_length(*b"US"), None);
    }
}
