//! What a reference must be, to be a file of a mount.

/// Whether the name of an object, or a key in it, can be one step of a path in a mount: references become file names, must not lead
/// elsewhere, and what begins with two dots is the kubelet's own. Kubernetes' rule for the keys of Secrets and ConfigMaps
/// (`IsConfigMapKey` in `k8s.io/apimachinery/pkg/util/validation`).
pub fn is_file_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text != "." && !text.starts_with("..") && text.len() <= 253 && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_mount_can_have_is_no_file_name() {
        for name in ["key", ".key", "a..b", "-", "_", ".a.", &"a".repeat(253)] {
            assert!(is_file_name(name), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "..data",
            "...",
            "a/b",
            "../a",
            "a b",
            "\u{e4}",
            &"a".repeat(254),
        ] {
            assert!(!is_file_name(name), "{name}");
        }
    }
}
