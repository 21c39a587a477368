//! `report`: what a period was like, for whoever has to show it to others: availability, usage, and who was turned away.

mod access;
mod html;
mod page;
mod period;
mod sla;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::BTreeMap;

use bowsprit_crds::ModelRoute;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde::Serialize;

use crate::args::{By, ClusterArgs, Format, ReportArgs, ReportFormat};
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::ledger::{Ledger, window};
use crate::output::{Report, Screen, units};
use crate::progress::Progress;
use crate::stats;
use page::Page;
use period::About;

/// Asks and renders.
pub(crate) async fn run(cluster: &ClusterArgs, args: &ReportArgs, screen: Screen) -> Result<Report, Failure> {
    let cluster = Cluster::connect(cluster).await?;
    let progress = Progress::start(screen, "asking the ledger");
    let now = units::now();
    let asked = period::asked(&args.period, now)?;
    let (told, previous) = (window::told(asked.window, now), asked.previous.told(now));
    let ledger = Ledger::new(&cluster, &args.place);
    let namespace = if args.access {
        cluster.scope_of_ledger(&args.place)
    } else {
        stats::scope(&cluster, args.by, args.place.all_namespaces)
    };
    let about = About {
        namespace,
        by: args.by,
        window: told,
    };
    let form = args.out.output;
    if args.access {
        let found = ledger.refusals(namespace, told).await?;
        drop(progress);
        return shown(
            form,
            &found,
            |wide| access::page(&found, about, wide),
            || access::csv(&found),
            screen,
        );
    }
    if args.usage {
        let found = ledger.usage(namespace, stats::of(args.by), told, previous).await?;
        drop(progress);
        return shown(
            form,
            &found,
            |wide| usage::page(&found, about, wide),
            || usage::csv(&found, args.by),
            screen,
        );
    }
    let found = ledger.sla(namespace, stats::of(args.by), told).await?;
    let objectives = objectives(&cluster, namespace, args.by).await?;
    let found = sla::Judged::new(found, objectives.as_ref());
    drop(progress);
    shown(
        form,
        &found,
        |wide| sla::page(&found, about, wide),
        || sla::csv(&found, args.by),
        screen,
    )
}

/// In the form that is asked for.
fn shown(
    form: ReportFormat,
    value: &impl Serialize,
    page: impl FnOnce(bool) -> Page,
    csv: impl FnOnce() -> String,
    screen: Screen,
) -> Result<Report, Failure> {
    let as_data = |form| Report::new(form, value, true, String::new);
    let text = match form {
        ReportFormat::Table => page(false).text(screen.paint),
        ReportFormat::Wide => page(true).text(screen.paint),
        ReportFormat::Markdown => page(true).markdown(),
        ReportFormat::Html => page(true).html("Bowsprit report"),
        ReportFormat::Csv => csv(),
        ReportFormat::Json => return as_data(Format::Json),
        ReportFormat::Yaml => return as_data(Format::Yaml),
    };
    Ok(Report { text, well: true })
}

/// `spec.slo.availability` of the namespace's ModelRoutes, by name; `None`: this user may not see them, or routes of several namespaces
/// may have one name.
async fn objectives(
    cluster: &Cluster,
    namespace: Option<&str>,
    by: By,
) -> Result<Option<BTreeMap<String, String>>, Failure> {
    let Some(namespace) = namespace.filter(|_| by == By::Route) else {
        return Ok(None);
    };
    let routes = match cluster.list::<ModelRoute>(Some(namespace), ListParams::default()).await {
        Err(failure) if failure.is_forbidden() => return Ok(None),
        routes => routes?,
    };
    let objective = |route: ModelRoute| Some((route.name_any(), route.spec.slo?.availability?));
    Ok(Some(routes.into_iter().filter_map(objective).collect()))
}
