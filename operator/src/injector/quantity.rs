//! Kubernetes quantities, as far as resources and sizes need them.

/// The suffixes and what one of them is.
const SUFFIXES: [(&str, f64); 10] = [
    ("", 1.0),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
];

/// What a positive quantity amounts to: decimal digits and one of the known suffixes.
pub fn amount(value: &str) -> Option<f64> {
    let digits = value
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(value.len());
    let (number, suffix) = value.split_at(digits);
    let (_, one) = SUFFIXES.iter().find(|(known, _)| *known == suffix)?;
    let number: f64 = number.parse().ok()?;
    Some(number * one).filter(|amount| amount.is_finite() && *amount > 0.0)
}

/// Whether it is a positive quantity.
pub fn is_quantity(value: &str) -> bool {
    amount(value).is_some()
}

/// Whole bytes, or with Ki, Mi or Gi.
pub fn whole_bytes(value: &str) -> Option<u64> {
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, suffix) = value.split_at(digits);
    let one: u64 = match suffix {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(one).filter(|bytes| *bytes > 0)
}
