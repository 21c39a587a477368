//! A provider's usage export: CSV with a header, or JSON. Columns are known by the names that providers give them; rows are added up
//! by model. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Kind;

/// Tokens by model and kind.
pub type Usage = BTreeMap<(String, Kind), u64>;

/// What a column is; `of.name`: in an object of the row. Anthropic tells input without its cache, which is added to it; what it wrote
/// there stands in one sum or by how long it stays (its usage report, and its console's CSV).
const COLUMNS: &[(&str, &[Kind])] = &[
    ("input_tokens", &[Kind::Input]),
    ("prompt_tokens", &[Kind::Input]),
    ("n_context_tokens_total", &[Kind::Input]),
    ("uncached_input_tokens", &[Kind::Input]),
    ("cache_read_input_tokens", &[Kind::Input, Kind::Cached]),
    ("cache_creation_input_tokens", &[Kind::Input, Kind::CacheWrite]),
    (
        "cache_creation.ephemeral_5m_input_tokens",
        &[Kind::Input, Kind::CacheWrite],
    ),
    (
        "cache_creation.ephemeral_1h_input_tokens",
        &[Kind::Input, Kind::CacheWrite],
    ),
    ("usage_input_tokens_no_cache", &[Kind::Input]),
    ("usage_input_tokens_cache_read", &[Kind::Input, Kind::Cached]),
    ("usage_input_tokens_cache_write_5m", &[Kind::Input, Kind::CacheWrite]),
    ("usage_input_tokens_cache_write_1h", &[Kind::Input, Kind::CacheWrite]),
    ("usage_output_tokens", &[Kind::Output]),
    ("output_tokens", &[Kind::Output]),
    ("completion_tokens", &[Kind::Output]),
    ("n_generated_tokens_total", &[Kind::Output]),
    ("input_cached_tokens", &[Kind::Cached]),
    ("cached_tokens", &[Kind::Cached]),
    ("reasoning_tokens", &[Kind::Reasoning]),
];
const MODELS: &[&str] = &["model", "model_id", "model_version", "snapshot_id"];

/// Why an export cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Nothing is known by its name.
    #[error("the export has no column for the model ({}) or none for tokens (such as {})", MODELS.join(", "), "input_tokens, output_tokens")]
    Columns,
    /// A cell is no count.
    #[error("line {line}: {column} is {text:?}, which is no count of tokens")]
    Count {
        /// From 1, the header included.
        line: usize,
        /// Its name.
        column: String,
        /// What stands there.
        text: String,
    },
    /// It is neither.
    #[error("the export is neither JSON nor CSV with a header")]
    Neither,
}

/// Reads an export.
pub fn read(text: &str) -> Result<Usage, Unreadable> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with(['{', '[']) {
        let value: Value = serde_json::from_str(text).map_err(|_| Unreadable::Neither)?;
        let mut usage = Usage::new();
        of_json(&value, &mut usage);
        return if usage.is_empty() {
            Err(Unreadable::Columns)
        } else {
            Ok(usage)
        };
    }
    of_csv(text)
}

/// Any object that names a model and tells tokens, however deep.
fn of_json(value: &Value, usage: &mut Usage) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| of_json(one, usage)),
        Value::Object(fields) => {
            let model = MODELS.iter().find_map(|name| fields.get(*name)?.as_str());
            let mut is_row = false;
            // An answer's own usage has both: the sum, and its parts.
            let has_sum = fields.contains_key("cache_creation_input_tokens");
            let cell = |name: &str| match name.split_once('.') {
                Some((of, name)) => fields.get(of).filter(|_| !has_sum)?.get(name),
                None => fields.get(name),
            };
            for (name, kinds) in COLUMNS {
                if let (Some(model), Some(count)) = (model, cell(name).and_then(Value::as_u64)) {
                    is_row = true;
                    add(usage, model, kinds, count);
                }
            }
            if !is_row {
                fields.values().for_each(|one| of_json(one, usage));
            }
        }
        _ => {}
    }
}

fn add(usage: &mut Usage, model: &str, kinds: &[Kind], count: u64) {
    for kind in kinds {
        *usage.entry((model.to_owned(), *kind)).or_default() += count;
    }
}

fn of_csv(text: &str) -> Result<Usage, Unreadable> {
    let mut lines = rows(text).into_iter().zip(1..);
    let (header, _) = lines.next().ok_or(Unreadable::Neither)?;
    let header: Vec<String> = header
        .iter()
        .map(|name| name.trim().to_lowercase().replace(' ', "_"))
        .collect();
    let model = header
        .iter()
        .position(|name| MODELS.contains(&name.as_str()))
        .ok_or(Unreadable::Columns)?;
    let known = |name: &String| {
        COLUMNS
            .iter()
            .find(|(column, _)| column == name)
            .map(|(_, kinds)| *kinds)
    };
    let columns: Vec<Option<&[Kind]>> = header.iter().map(known).collect();
    if columns.iter().all(Option::is_none) {
        return Err(Unreadable::Columns);
    }
    let mut usage = Usage::new();
    for (row, line) in lines {
        let Some(model) = row.get(model).filter(|model| !model.is_empty()) else {
            continue;
        };
        for ((cell, kinds), column) in row.iter().zip(&columns).zip(&header) {
            let Some(kinds) = kinds else { continue };
            let digits: String = cell.chars().filter(|char| !matches!(char, ',' | ' ')).collect();
            let count = if digits.is_empty() { Ok(0) } else { digits.parse() };
            let count = count.map_err(|_| Unreadable::Count {
                line,
                column: column.clone(),
                text: cell.clone(),
            })?;
            add(&mut usage, model, kinds, count);
        }
    }
    Ok(usage)
}

/// Cells in quotes may hold commas, line ends and doubled quotes.
fn rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut is_quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !is_quoted => {}
            '\n' if !is_quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            char => cell.push(char),
        }
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(usage: &Usage) -> Vec<(&str, Kind, u64)> {
        usage
            .iter()
            .map(|((model, kind), count)| (model.as_str(), *kind, *count))
            .collect()
    }

    #[test]
    fn rows_are_added_up_by_model_whatever_the_columns_are_called() {
        let csv = "\u{feff}Date,Model,Input Tokens,output_tokens\r\n1,\"gpt-5, mini\",\"1,000\",5\r\n2,\"gpt-5, mini\",1,\r\n,,9,9\n";
        assert_eq!(
            counts(&read(csv).unwrap()),
            [("gpt-5, mini", Kind::Input, 1001), ("gpt-5, mini", Kind::Output, 5)]
        );
        let json = r#"{"data":[{"starting_at":"2026-11-01T00:00:00Z","results":[
            {"model":"claude","uncached_input_tokens":10,"cache_read_input_tokens":5,"output_tokens":3,
             "cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":2},"server_tool_use":{"web_search_requests":9}},
            {"model":"claude","uncached_input_tokens":1,"output_tokens":4,
             "cache_creation_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":7,"ephemeral_1h_input_tokens":0}}]}]}"#;
        let wanted = [
            ("claude", Kind::Input, 26),
            ("claude", Kind::Output, 7),
            ("claude", Kind::Cached, 5),
            ("claude", Kind::CacheWrite, 10),
        ];
        assert_eq!(counts(&read(json).unwrap()), wanted);
        let console = "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,\
            usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count\n\
            2026-11-01,claude,11,3,7,5,7,9\n";
        assert_eq!(counts(&read(console).unwrap()), wanted);
    }

    #[test]
    fn what_is_no_export_says_why() {
        assert_eq!(read("a,b\n1,2\n"), Err(Unreadable::Columns));
        assert_eq!(read("{}"), Err(Unreadable::Columns));
        assert_eq!(read("[1"), Err(Unreadable::Neither));
        let bad = read("model,input_tokens\nm,many\n").unwrap_err().to_string();
        assert!(
            bad.contains("line 2") && bad.contains("input_tokens") && bad.contains("many"),
            "{bad}"
        );
    }
}
