//! Base URLs, globs and model names in paths: one meaning, and no way out of it.

use bowsprit_core::config::{BaseUrl, Route};
use bowsprit_core::model_name::bare;
use bowsprit_core::platform::{self, Endpoint, Framing};
use bowsprit_crds::ModelRouteSpec;
use bowsprit_crds::ProviderKind;
use serde_json::json;

pub(crate) fn read(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let lines: Vec<&str> = text.lines().take(12).collect();
    for line in &lines {
        base_url(line);
        path(line);
    }
    for pair in lines.windows(2) {
        glob(pair[0], pair[1]);
    }
}

fn base_url(text: &str) {
    match BaseUrl::parse(text) {
        Ok(url) => {
            assert!(!url.host().is_empty() && url.port() != 0, "{text:?}: no host or port");
            assert!(
                !url.path().ends_with('/') && !url.authority().contains('@'),
                "{text:?}: {url}"
            );
            let again =
                BaseUrl::parse(&url.to_string()).unwrap_or_else(|why| panic!("{text:?} becomes {url}, which {why}"));
            assert_eq!(again, url, "{text:?} reads otherwise a second time");
            assert!(url.same_origin(&again));
        }
        Err(why) => assert!(!why.is_empty(), "{text:?} is refused without a reason"),
    }
}

/// A model's name stays one segment of the path, and its own.
fn path(model: &str) {
    for stream in [false, true] {
        let framing = if stream { Framing::Events } else { Framing::Whole };
        let gemini = platform::of(ProviderKind::Gemini);
        let path = gemini
            .path(Endpoint::Generate(framing), gemini.dialect, model)
            .expect("a path");
        let (name, method) = path.rsplit_once(':').expect("a method");
        assert!(
            method.starts_with(if stream {
                "streamGenerateContent?"
            } else {
                "generateContent"
            }),
            "{path}"
        );
        let segments: Vec<_> = name.split('/').collect();
        assert_eq!(segments.len(), 4, "{model:?} makes {path}");
        assert!(
            !segments.contains(&"..") && !segments.contains(&"."),
            "{model:?} makes {path}"
        );
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"?#:\\".contains(&byte)),
            "{model:?} makes {path}"
        );
    }
}

fn glob(pattern: &str, name: &str) {
    // Longer ones only take the plain matcher below its time.
    if pattern.len() > 60 || name.len() > 60 || pattern.is_empty() {
        return;
    }
    let spec: ModelRouteSpec =
        serde_json::from_value(json!({"match": {"models": [pattern]}, "targets": [{"provider": "p", "weight": 1}]}))
            .expect("a spec");
    let Ok(route) = Route::from_spec("r", &spec) else {
        return;
    };
    let meant = |pattern: &str, name: &str| {
        let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
        plainly(&pattern, &name)
    };
    let (own, asked) = (bare(pattern), bare(name));
    assert_eq!(
        route.closeness(name).is_some(),
        meant(pattern, name) || meant(pattern, asked) || (!own.starts_with('*') && meant(own, asked)),
        "{pattern:?} and {name:?}"
    );
}

/// What a glob means, as plainly as it can be said.
fn plainly(pattern: &[char], name: &[char]) -> bool {
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for sign in pattern {
        let mut next = vec![false; name.len() + 1];
        if *sign == '*' {
            let first = reached.iter().position(|at| *at).unwrap_or(usize::MAX);
            next.iter_mut().skip(first).for_each(|at| *at = true);
        } else {
            (1..=name.len()).for_each(|end| next[end] = reached[end - 1] && name[end - 1] == *sign);
        }
        reached = next;
    }
    reached[name.len()]
}
