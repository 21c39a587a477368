//! What in a pod cannot work beside a sidecar: the pod is refused, since it would fail later and less clearly.

use bowsprit_crds::names;
use k8s_openapi::api::core::v1::{NodeSelectorTerm, Pod, PodSpec};

use super::overrides::path;
use super::quantity::amount;
use super::{Overrides, Refusal, Settings, app_containers, has_sidecar, is_copied, is_injected, sidecar};

/// The first thing that cannot work.
pub(super) fn refuse(pod: &Pod, spec: &PodSpec, settings: &Settings, overrides: &Overrides) -> Result<(), Refusal> {
    let opt_out = format!("or set the label {}: \"false\" on the pod", names::LABEL_INJECT);
    if has_sidecar(spec) && !is_injected(pod) && !is_copied(spec) {
        let name = names::SIDECAR_CONTAINER;
        return Err(Refusal::new(
            "spec",
            format!("a container named {name:?} is already there and was not injected"),
            format!("rename it, {opt_out}"),
        ));
    }
    if spec.host_network == Some(true) {
        return Err(Refusal::new(
            "spec.hostNetwork",
            "the sidecar's loopback port would be shared by every pod of the node",
            format!("leave hostNetwork out, {opt_out}"),
        ));
    }
    if let Some(path) = windows(spec) {
        return Err(Refusal::new(
            path,
            "the sidecar runs on linux only",
            format!("use a linux pod, {opt_out}"),
        ));
    }
    refuse_taken_ports(spec, overrides, &opt_out)?;
    if !has_sidecar(spec) {
        let volumes = spec.volumes.iter().flatten().enumerate();
        if let Some((index, volume)) = volumes
            .into_iter()
            .find(|(_, volume)| sidecar::VOLUMES.contains(&volume.name.as_str()))
        {
            return Err(Refusal::new(
                format!("spec.volumes[{index}].name"),
                format!("{:?} is a volume of the sidecar's", volume.name),
                format!("rename it, {opt_out}"),
            ));
        }
    }
    refuse_budget(settings, overrides)
}

/// The node label by which a pod without `os` chooses its system.
const OS_LABEL: &str = "kubernetes.io/os";

/// Where the pod says that it runs on Windows: most say it by their node alone.
fn windows(spec: &PodSpec) -> Option<&'static str> {
    let named = |os: &str| os == "windows";
    if spec.os.as_ref().is_some_and(|os| named(&os.name)) {
        return Some("spec.os.name");
    }
    let selector = spec.node_selector.as_ref();
    if selector
        .and_then(|labels| labels.get(OS_LABEL))
        .is_some_and(|os| named(os))
    {
        return Some("spec.nodeSelector");
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    // Any term will do for the scheduler, so each of them must say it.
    let only_windows = |term: &NodeSelectorTerm| {
        let mut wanted = term.match_expressions.iter().flatten();
        wanted.any(|it| it.key == OS_LABEL && it.operator == "In" && it.values.iter().flatten().all(|os| named(os)))
    };
    let terms = &required.node_selector_terms;
    (!terms.is_empty() && terms.iter().all(only_windows)).then_some("spec.affinity.nodeAffinity")
}

fn refuse_taken_ports(spec: &PodSpec, overrides: &Overrides, opt_out: &str) -> Result<(), Refusal> {
    let taken = [
        (overrides.app_port, "sidecar-app-port"),
        (overrides.admin_port, "sidecar-admin-port"),
    ];
    for (list, index, container) in app_containers(spec) {
        for (at, port) in container.ports.iter().flatten().enumerate() {
            let same = |(taken, _): &&(u16, &str)| i32::from(*taken) == port.container_port;
            let Some((number, setting)) = taken.iter().find(same) else {
                continue;
            };
            return Err(Refusal::new(
                format!("spec.{list}[{index}].ports[{at}].containerPort"),
                format!("{number} is the sidecar's port"),
                format!(
                    "let container {:?} listen on another port, give the sidecar one with the annotation bowsprit.dev/{setting}, \
                     {opt_out}",
                    container.name
                ),
            ));
        }
    }
    Ok(())
}

/// A budget that the container's limit does not cover ends in the kernel's killing it, and not in a 503.
fn refuse_budget(settings: &Settings, overrides: &Overrides) -> Result<(), Refusal> {
    let own = &overrides.resources.memory_limit;
    let limit = if own.is_empty() {
        &settings.resources.memory_limit
    } else {
        own
    };
    let (Some(budget), Some(bytes)) = (overrides.memory_budget, amount(limit)) else {
        return Ok(());
    };
    #[allow(clippy::cast_precision_loss, reason = "bytes below 2^53 are exact")]
    if (budget as f64) < bytes {
        return Ok(());
    }
    Err(Refusal::new(
        path("bowsprit.dev/sidecar-memory-budget"),
        format!("it is not below the sidecar's memory limit of {limit}"),
        "lower it (half of the limit leaves room for the rest), or raise bowsprit.dev/sidecar-memory-limit",
    ))
}
