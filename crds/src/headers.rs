//! The headers that are not a person's to set: the one list for `endpoint.headers`, for what the apiserver refuses and for
//! what of a caller's headers ends at the sidecar.

/// Keys, what belongs to one connection, and what decides how an answer's bytes come. A caller's own end at the sidecar,
/// and a ProviderConfig cannot set them.
pub const NEVER_PASSED: [&str; 17] = [
    // No coding is asked for, so that usage can be read and streams are not held back by a compressor.
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-api-key",
    "x-goog-api-key",
];

/// What the sidecar says itself of each request: a ProviderConfig's word would contradict it.
pub const SAID_BY_SIDECAR: [&str; 3] = ["content-encoding", "content-type", "x-request-id"];

/// Headers that carry keys at one server or another: a ProviderConfig is no place for a key, since whoever may read it may read
/// those. Refused where it is applied, and sent on where an older one has them: a sidecar does not stop for that.
pub const KEYS: [&str; 14] = [
    "api-key",
    "apikey",
    "cf-aig-authorization",
    "helicone-auth",
    "ocp-apim-subscription-key",
    "private-token",
    "x-access-token",
    "x-amz-security-token",
    "x-api-token",
    "x-auth-token",
    "x-functions-key",
    "x-goog-iam-authorization-token",
    "x-portkey-api-key",
    "x-token",
];

/// Whether a ProviderConfig may set a header of this name, in lower case.
pub fn may_be_set(name: &str) -> bool {
    !NEVER_PASSED.contains(&name) && !SAID_BY_SIDECAR.contains(&name) && !name.starts_with("x-bowsprit-")
}

/// The same as CEL, of the field `headers`.
#[cfg(feature = "schema")]
pub fn rules() -> serde_json::Value {
    let listed = |names: &mut dyn Iterator<Item = &&str>| {
        let names: Vec<String> = names.map(|name| format!("'{name}'")).collect();
        names.join(", ")
    };
    let names = listed(&mut NEVER_PASSED.iter().chain(&SAID_BY_SIDECAR));
    let keys = listed(&mut KEYS.iter());
    serde_json::json!([
        {
            "rule": "self.all(k, k.matches('^[A-Za-z0-9-]{1,100}$'))",
            "message": "names take letters, digits and -",
        },
        {
            "rule": format!("self.all(k, !(k.lowerAscii() in [{}]) && !k.lowerAscii().startsWith('x-bowsprit-'))", names),
            "message": "holds a header that cannot be set here: keys belong into credentials; the connection's own headers, content-type, accept-encoding, x-request-id and x-bowsprit-* are the sidecar's: remove it",
        },
        {
            "rule": format!("self.all(k, !(k.lowerAscii() in [{keys}]))"),
            "message": "holds a key in clear text, for everyone who may read this object: put it into a Secret and name that in credentials",
        },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_lower_case_and_there_once() {
        let mut all: Vec<&str> = NEVER_PASSED
            .iter()
            .chain(&SAID_BY_SIDECAR)
            .chain(&KEYS)
            .copied()
            .collect();
        assert!(all.iter().all(|name| *name == name.to_ascii_lowercase()));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(may_be_set("x-team") && !may_be_set("accept-encoding") && !may_be_set("x-bowsprit-provider"));
    }
}
