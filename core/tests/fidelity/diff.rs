//! Where two JSON values differ, as short as it can be said.

use serde_json::Value;

/// The places at which `new` has something that `old` has not, with what stands there.
pub(super) fn added(old: &Value, new: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    walk(Some(old), new, String::new(), &mut found);
    found
}

fn walk(old: Option<&Value>, new: &Value, path: String, found: &mut Vec<(String, Value)>) {
    match (old, new) {
        (Some(old), new) if old == new => {}
        (Some(Value::Object(old)), Value::Object(new)) => {
            for (name, value) in new {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                walk(old.get(name), value, path, found);
            }
        }
        // Where settings are gathered: each for itself.
        (None, Value::Object(new)) if ["generationConfig", "output_config", "metadata"].contains(&path.as_str()) => {
            for (name, value) in new {
                found.push((format!("{path}.{name}"), value.clone()));
            }
        }
        (Some(Value::Array(old)), Value::Array(new)) => {
            for (index, value) in new.iter().enumerate() {
                walk(old.get(index), value, format!("{path}[{index}]"), found);
            }
        }
        _ => found.push((path, new.clone())),
    }
}

/// For a cell: each place once, with its value where that is short.
pub(super) fn tell(found: &[(String, Value)]) -> String {
    let mut places: Vec<String> = Vec::new();
    for (path, value) in found {
        let text = value.to_string();
        let place = if text.len() <= 44 && !text.contains('|') {
            format!("`{path}: {text}`")
        } else {
            format!("`{path}`")
        };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places.join(", ")
}
