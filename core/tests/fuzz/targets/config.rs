//! People's files: a config, or every problem with its path.

use std::collections::BTreeMap;

use bowsprit_core::config::{self, Scope};

pub(crate) fn load(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let cluster = Scope::Cluster {
        pod_labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
    };
    for scope in [Scope::Standalone, cluster] {
        match config::load(&text, &scope) {
            Ok(config) => {
                assert!(
                    config.notices.iter().all(|problem| !problem.path.is_empty()),
                    "a notice without its path"
                );
                for provider in &config.providers {
                    assert!(
                        config.provider(&provider.name).is_some(),
                        "a provider that cannot be found"
                    );
                }
                // The same again: a reload of the same file changes nothing.
                let again = config::load(&text, &scope).expect("what loads once loads twice");
                assert_eq!(again.revision, config.revision);
            }
            Err(problems) => {
                assert!(!problems.0.is_empty(), "refused without a problem");
                for problem in &problems.0 {
                    assert!(
                        !problem.path.is_empty() && !problem.problem.is_empty(),
                        "a problem without path or text: {problem:?}"
                    );
                }
            }
        }
    }
}
