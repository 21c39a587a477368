//! Amounts of money, exact: whole picodollars, of which a dollar has 10^12. A price of up to six decimals per million tokens
//! is a whole number of them per token.

use std::fmt;

use crate::json::line;

/// Picodollars in a dollar.
const DOLLAR: i64 = 1_000_000_000_000;
/// Decimals of a price per million tokens that are exact.
const DECIMALS: usize = 6;
/// The highest price, in dollars per million tokens: a dollar a token, far above what any model costs.
const HIGHEST: i64 = 1_000_000;

/// An amount in picodollars (10^-12 US dollars). Sums and products stop at the largest amount there is, some 9.2 million
/// dollars, and [`Picodollars::is_saturated`] says so then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Picodollars(i64);

impl Picodollars {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(i64::MAX);

    /// So many picodollars.
    pub const fn new(picodollars: i64) -> Self {
        Self(picodollars)
    }

    /// As a number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// So many times this.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX)))
    }

    /// Whether it is the largest amount there is, so that the true one may be larger.
    pub const fn is_saturated(self) -> bool {
        self.0 == i64::MAX
    }

    /// What one token costs at a price in US dollars per million tokens, as decimal text: `3`, `0.15`.
    ///
    /// # Errors
    /// Why the text is no price, and what to do.
    pub fn per_token(text: &str) -> Result<Self, PriceError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return Err(PriceError::NotDecimal);
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > DECIMALS {
            return Err(PriceError::TooFine);
        }
        let whole: i64 = whole.parse().map_err(|_| PriceError::TooHigh)?;
        let millionths: i64 = format!("{fraction:0<DECIMALS$}").parse().unwrap_or(0);
        // A dollar per million tokens is a million picodollars per token.
        let price = whole
            .checked_mul(HIGHEST)
            .and_then(|price| price.checked_add(millionths));
        price
            .filter(|price| *price <= DOLLAR)
            .map(Self)
            .ok_or(PriceError::TooHigh)
    }
}

/// Why a text is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// It is no decimal number.
    #[error("is no decimal number")]
    NotDecimal,
    /// It has more decimals than can be kept.
    #[error("has more than six decimals")]
    TooFine,
    /// It is beyond all reason.
    #[error("is more than 1000000 dollars per million tokens")]
    TooHigh,
}

impl PriceError {
    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NotDecimal => "write US dollars per million tokens, such as \"3.00\"",
            Self::TooFine => "round it: what is kept is a millionth of a dollar per million tokens",
            Self::TooHigh => "write US dollars per million tokens, not per token or in another unit",
        }
    }
}

impl Picodollars {
    /// Writes it in US dollars, as decimal text without trailing zeros: `0.00125`, `3`. By hand, as it stands in a line of each
    /// request.
    pub fn write(self, out: &mut Vec<u8>) {
        if self.0 < 0 {
            out.push(b'-');
        }
        let amount = self.0.unsigned_abs();
        let (whole, mut rest) = (amount / DOLLAR.unsigned_abs(), amount % DOLLAR.unsigned_abs());
        line::number(out, whole);
        if rest == 0 {
            return;
        }
        out.push(b'.');
        let mut digits = [[0; 2]; 6]; // a picodollar is the twelfth
        for pair in digits.iter_mut().rev() {
            *pair = line::two_digits(rest);
            rest /= 100;
        }
        let digits = digits.as_flattened();
        let length = digits.iter().rposition(|digit| *digit != b'0');
        out.extend_from_slice(digits.get(..=length.unwrap_or(0)).unwrap_or_default());
    }
}

/// In US dollars: see [`Picodollars::write`].
impl fmt::Display for Picodollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_of_six_decimals_is_exact() {
        for (text, picodollars) in [
            ("3", 3_000_000),
            ("3.00", 3_000_000),
            ("0.15", 150_000),
            ("0.000001", 1),
            ("0.0000010000", 1),
            ("007.5", 7_500_000),
            ("1000000", DOLLAR),
            ("0", 0),
        ] {
            assert_eq!(
                Picodollars::per_token(text),
                Ok(Picodollars::new(picodollars)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_price_is_refused_and_never_rounded() {
        for (text, error) in [
            ("", PriceError::NotDecimal),
            ("cheap", PriceError::NotDecimal),
            ("1,5", PriceError::NotDecimal),
            ("-1", PriceError::NotDecimal),
            ("1e3", PriceError::NotDecimal),
            (".5", PriceError::NotDecimal),
            ("5.", PriceError::NotDecimal),
            ("0.0000001", PriceError::TooFine),
            ("1000000.000001", PriceError::TooHigh),
            ("99999999999999999999", PriceError::TooHigh),
        ] {
            assert_eq!(Picodollars::per_token(text), Err(error), "{text}");
        }
    }

    #[test]
    fn amounts_add_up_exactly_where_floats_do_not() {
        let dime = Picodollars::new(DOLLAR / 10);
        let sum = (0..3).fold(Picodollars::ZERO, |sum, _| sum.plus(dime));
        assert_eq!(sum.to_string(), "0.3");
        assert_eq!(dime.times(10).to_string(), "1");
        for (picodollars, text) in [
            (1, "0.000000000001"),
            (1_250_000_000, "0.00125"),
            (0, "0"),
            (-DOLLAR, "-1"),
        ] {
            assert_eq!(Picodollars::new(picodollars).to_string(), text);
        }
    }

    #[test]
    fn an_amount_that_is_too_large_says_so() {
        let most = Picodollars::new(DOLLAR).times(u64::MAX);
        assert!(most.is_saturated() && most.plus(Picodollars::new(1)).is_saturated());
        assert!(!Picodollars::new(DOLLAR).times(9_000_000).is_saturated());
    }
}
