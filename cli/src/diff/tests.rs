use std::collections::BTreeMap;

use bowsprit_core::config::{Object, objects};

use super::render::screen;
use super::{Live, by_namespace, difference, scope};
use crate::fleet::Sidecar;
use crate::output::Paint;

const LIVE: &str = "
apiVersion: bowsprit.dev/v1alpha1
kind: ProviderConfig
metadata: {name: claude}
spec:
  provider: Anthropic
  priority: 10
  credentials: [{name: main, secretKeyRef: {name: keys, key: claude}}]
  models: [{name: claude-sonnet-4-5}]
";

fn read(text: &str) -> Vec<Object> {
    objects(text, &scope()).unwrap()
}

fn live(mounted: &[&str]) -> Live {
    Live {
        objects: read(LIVE),
        sidecars: vec![Sidecar {
            namespace: "shop".into(),
            pod: "app-1".into(),
            labels: BTreeMap::new(),
            app_port: 4000,
            admin_port: 4001,
            ready: true,
            not_running: None,
            mounted: mounted.iter().map(ToString::to_string).collect(),
        }],
    }
}

#[test]
fn a_default_that_is_written_out_is_no_difference() {
    let written = LIVE.replace(
        "priority: 10",
        "priority: 10\n  enabled: true\n  retry: {maxAttempts: 2}",
    );
    let found = difference("shop", &read(&written), &live(&["keys/claude"]));
    assert_eq!(found.objects[0].changes, []);
    insta::assert_snapshot!(screen(&found, Paint(false)), @"ProviderConfig claude: as it is live in namespace shop");
}

#[test]
fn what_would_change_is_shown_with_whom_it_reaches_and_what_is_wrong_with_it() {
    let changed = LIVE
        .replace("priority: 10", "priority: 5\n  fallbackProviders: [gone]")
        .replace("key: claude", "key: other")
        + "
---
apiVersion: bowsprit.dev/v1alpha1
kind: ModelRoute
metadata: {name: fast}
spec: {match: {models: [fast]}, targets: [{provider: claude, model: claude-sonnet-4-5}]}
";
    let found = difference("shop", &read(&changed), &live(&["keys/claude"]));
    insta::assert_snapshot!(screen(&found, Paint(false)));
}

#[test]
fn each_document_is_compared_where_it_says_that_it_belongs() {
    let of = |namespace: &str| LIVE.replace("name: claude}", &format!("name: claude, namespace: {namespace}}}"));
    let places = by_namespace(
        read(&(of("shop") + "---" + &of("bank") + "---" + LIVE)),
        None,
        "default",
    )
    .unwrap();
    assert_eq!(places.keys().collect::<Vec<_>>(), ["bank", "default", "shop"]);
    assert!(places.values().all(|objects| objects.len() == 1));
    let refused = by_namespace(read(&of("shop")), Some("bank"), "bank").unwrap_err();
    assert!(
        refused.to_string().contains("\"shop\" and -n says \"bank\""),
        "{refused}"
    );
}
