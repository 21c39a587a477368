//! Why a command could not do what it was asked for, in words that say what to do, and the exit code of it.

use kube::Error;

/// Something is wrong that the command looked for, or what was asked for is not there.
pub(crate) const WRONG: u8 = 1;
/// The command line is wrong; clap's own code.
const USAGE: u8 = 2;
/// It could not look: the cluster does not answer, or does not let this user.
const NO_LOOK: u8 = 3;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was asked for is wrong or not there.
    #[error("{0}")]
    Wrong(String),
    /// The command line, or a file that it names, makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The cluster cannot be reached.
    #[error("cannot reach the cluster: {0}")]
    Unreachable(String),
    /// The cluster does not let this user.
    #[error("not permitted to {action}: {said}\n  ask for a role with: {rule}")]
    Forbidden {
        /// What was tried, such as `list pods in namespace shop`.
        action: String,
        /// The apiserver's words.
        said: String,
        /// The rule that is missing, as RBAC writes it.
        rule: String,
    },
}

impl Failure {
    /// The exit code that `--help` promises.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Wrong(_) => WRONG,
            Self::Usage(_) => USAGE,
            Self::Unreachable(_) | Self::Forbidden { .. } => NO_LOOK,
        }
    }

    /// Whether this user may not; other things may still be looked at.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden { .. })
    }
}

/// What a request to the apiserver was for, so that a refusal can name what is missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intent<'a> {
    /// As RBAC names it: `list`, `get`, `create`.
    pub(crate) verb: &'a str,
    /// The API group; empty for the core.
    pub(crate) group: &'a str,
    /// With the subresource: `pods`, `pods/proxy`.
    pub(crate) resource: &'a str,
    /// The one object that is meant, where the right may be for it alone.
    pub(crate) name: Option<&'a str>,
    /// None: the whole cluster.
    pub(crate) namespace: Option<&'a str>,
}

impl Intent<'_> {
    /// Such as `list pods in namespace shop`.
    pub(crate) fn action(&self) -> String {
        let place = self.namespace.map_or_else(
            || " in the whole cluster".to_owned(),
            |namespace| format!(" in namespace {namespace}"),
        );
        let name = self.name.map(|name| format!(" of {name}")).unwrap_or_default();
        format!("{} {}{name}{place}", self.verb, self.resource)
    }

    fn rule(&self) -> String {
        let name = self
            .name
            .map(|name| format!(" resourceNames: [{name:?}],"))
            .unwrap_or_default();
        format!(
            "{{apiGroups: [{:?}], resources: [{}],{name} verbs: [{}]}}",
            self.group, self.resource, self.verb
        )
    }

    /// An error status of the apiserver, as a failure.
    pub(crate) fn refused(&self, code: u16, said: &str) -> Failure {
        let action = self.action();
        match code {
            401 => Failure::Unreachable(format!("it does not know this user ({said}): log in again")),
            403 => Failure::Forbidden {
                action,
                said: said.to_owned(),
                rule: self.rule(),
            },
            404 if said.contains("could not find the requested resource") => Failure::Wrong(format!(
                "the cluster knows no {}.{}: is Bowsprit installed? (helm install, see README.md)",
                self.resource, self.group
            )),
            _ => Failure::Wrong(format!("cannot {action}: {said}")),
        }
    }

    /// An error of the client, as a failure.
    pub(crate) fn failed(&self, error: &Error) -> Failure {
        match error {
            Error::Api(status) => self.refused(status.code, &status.message),
            Error::UpgradeConnection(kube::client::UpgradeConnectionError::ProtocolSwitch(status)) => {
                self.refused(status.as_u16(), &format!("the apiserver answered {status}"))
            }
            Error::SerdeError(error) => {
                Failure::Wrong(format!("cannot {}: the answer is not read: {error}", self.action()))
            }
            other => Failure::Unreachable(whole(other)),
        }
    }
}

/// An error with what is behind it, which is where a client says what happened.
pub(crate) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: Intent<'_> = Intent {
        verb: "list",
        group: "",
        resource: "pods",
        name: None,
        namespace: Some("shop"),
    };

    #[test]
    fn a_refusal_names_the_rule_that_is_missing() {
        let failure = PODS.refused(403, "pods is forbidden: User \"ann\" cannot list resource \"pods\"");
        assert_eq!(failure.exit_code(), 3);
        insta::assert_snapshot!(failure, @r#"
        not permitted to list pods in namespace shop: pods is forbidden: User "ann" cannot list resource "pods"
          ask for a role with: {apiGroups: [""], resources: [pods], verbs: [list]}
        "#);
    }

    #[test]
    fn a_cluster_without_the_crds_is_told_from_an_object_that_is_not_there() {
        let configs = Intent {
            group: "bowsprit.dev",
            resource: "providerconfigs",
            ..PODS
        };
        let failure = configs.refused(404, "the server could not find the requested resource");
        assert!(failure.to_string().contains("is Bowsprit installed?"), "{failure}");
        assert_eq!(failure.exit_code(), 1);
    }
}
