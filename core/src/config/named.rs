//! Lists whose items have names, in errors, metrics and the ledger: limits, budgets.

use std::sync::Arc;

/// What is wrong: the field's path from the spec, what, and what to do.
pub(super) type Wrong = (String, String, String);

/// Reads each item of the field `list`, one of which is called `one`. `read` notes what is wrong by field (empty: the item itself),
/// what, and what to do.
///
/// # Errors
/// Everything that is wrong with them.
pub(super) fn all_of<S, T>(
    list: &str,
    one: &str,
    specs: &[S],
    name: impl for<'a> Fn(&'a S) -> &'a str,
    read: impl Fn(&S, &mut dyn FnMut(&str, &str, &str)) -> Option<T>,
) -> Result<Vec<Arc<T>>, Vec<Wrong>> {
    let (mut items, mut wrong) = (Vec::with_capacity(specs.len()), Vec::new());
    for (index, spec) in specs.iter().enumerate() {
        let mut note = |field: &str, problem: &str, remedy: &str| {
            let dot = if field.is_empty() { "" } else { "." };
            wrong.push((
                format!("{list}[{index}]{dot}{field}"),
                problem.to_owned(),
                remedy.to_owned(),
            ));
        };
        let its_name = name(spec);
        if specs.iter().take(index).any(|other| name(other) == its_name) {
            note(
                "name",
                &format!("{its_name:?} is there twice"),
                &format!("give each {one} a name of its own"),
            );
        }
        let may_be = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if its_name.is_empty() || its_name.len() > 63 || !its_name.bytes().all(may_be) {
            note(
                "name",
                "is no name",
                "use lower-case letters, digits and -, at most 63 of them",
            );
        }
        items.extend(read(spec, &mut note).map(Arc::new));
    }
    if wrong.is_empty() { Ok(items) } else { Err(wrong) }
}
