//! What providers' headers tell of their own limits is in the ledger, the newest of each; and no key is in anything that is kept.

use std::collections::BTreeMap;
use std::path::Path;

use crate::world::{KEY, World};

/// What the scripted providers tell with every answer: of which provider, what is counted, how much there is and how much is left.
const TOLD: [(&str, &str, u64, u64); 6] = [
    ("first", "requests", 10_000, 9_999),
    ("first", "tokens", 2_000_000, 1_999_980),
    ("second", "requests", 4_000, 3_999),
    ("second", "tokens", 2_400_000, 2_399_000),
    ("second", "input_tokens", 2_000_000, 1_999_000),
    ("second", "output_tokens", 400_000, 400_000),
];

/// Whether the service tells just that, of the one credential, and no file of sidecar and service has its key.
pub(crate) async fn hold(world: &World) -> bool {
    let limits = world.asked("/v1/rate-limits?namespace=team").await.unwrap_or_default();
    let mut told = BTreeMap::new();
    for limit in limits.as_array().into_iter().flatten() {
        let text = |name: &str| limit[name].as_str().unwrap_or_default().to_owned();
        let counts = [&limit["limit"], &limit["remaining"]].map(|count| count.as_u64().unwrap_or_default());
        let twice = told.insert((text("provider"), text("credential"), text("what")), counts);
        assert!(twice.is_none(), "one line for each: {limits}");
    }
    let wanted = TOLD.map(|(provider, what, limit, left)| {
        let names = (provider.to_owned(), "main".to_owned(), what.to_owned());
        (names, [limit, left])
    });
    let are_told = told == BTreeMap::from(wanted);
    let holders = with_key(world.folder());
    let verdict = if are_told {
        "as the providers told them"
    } else {
        "DIFFER"
    };
    println!("    {} rate limits, {verdict}: {told:?}", told.len());
    println!("    {} files with the provider's key {holders:?}", holders.len());
    are_told && holders.is_empty()
}

/// The files below a folder that have the key.
fn with_key(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(with_key(&path));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}
