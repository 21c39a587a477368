//! `changes`: which ProviderConfigs and ModelRoutes were applied, when and by whom, from the ledger service.

mod render;

use crate::args::{ChangesArgs, ClusterArgs};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::output::{Report, Screen};
use crate::progress::Progress;

/// Asks and renders.
pub(crate) async fn run(cluster: &ClusterArgs, args: &ChangesArgs, screen: Screen) -> Result<Report, Failure> {
    let object = args.object.as_deref().map(object).transpose()?;
    let cluster = Cluster::connect(cluster).await?;
    let progress = Progress::start(screen, "asking the ledger");
    let scope = cluster.scope_of_ledger(&args.place);
    let changes = Ledger::new(&cluster, &args.place)
        .changes(scope, object, args.number)
        .await?;
    drop(progress);
    Report::rows(
        args.out.output,
        &changes,
        |_| render::screen(&changes, scope, screen.paint),
        || render::csv(&changes),
    )
}

/// `KIND/NAME`.
fn object(text: &str) -> Result<(&'static str, &str), Failure> {
    let (kind, name) = text.split_once('/').unwrap_or_default();
    let kind = match kind.to_ascii_lowercase().as_str() {
        "providerconfig" | "providerconfigs" => "ProviderConfig",
        "modelroute" | "modelroutes" => "ModelRoute",
        _ => {
            return Err(Failure::Usage(format!(
                "{text} is no object of ours: providerconfig/NAME or modelroute/NAME"
            )));
        }
    };
    Ok((kind, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_as_kubectl_names_it() {
        assert_eq!(object("providerconfig/claude").ok(), Some(("ProviderConfig", "claude")));
        assert_eq!(object("ModelRoutes/chat").ok(), Some(("ModelRoute", "chat")));
        for none in ["claude", "pod/app", ""] {
            assert_eq!(object(none).expect_err(none).exit_code(), 2);
        }
    }
}
