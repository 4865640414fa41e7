//! What one pod asks of quotas and limits, with the defaults that the namespace fills in.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, LimitRange, LimitRangeItem, PodSpec},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::domain::units::parse_quantity;

/// Amounts by resource (`cpu`, `memory`, …) in base units.
pub type Amounts = BTreeMap<String, f64>;

/// Requests and limits of one container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerDemand {
    pub name: String,
    pub requests: Amounts,
    pub limits: Amounts,
}

/// Requests and limits of one pod, and of each of its containers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Demand {
    pub requests: Amounts,
    pub limits: Amounts,
    pub containers: Vec<ContainerDemand>,
}

/// What a pod of this spec asks for. Init containers run one after the other, so the greatest of them counts; sidecars among them add up.
pub fn demand(pod: &PodSpec, ranges: &[LimitRange]) -> Demand {
    let of = |containers: &[Container]| containers.iter().map(|container| of_container(container, ranges)).collect::<Vec<_>>();
    let init = pod.init_containers.as_deref().unwrap_or_default();
    let (sidecars, init): (Vec<Container>, Vec<Container>) =
        init.iter().cloned().partition(|container| container.restart_policy.as_deref() == Some("Always"));
    let (mut all, init) = (of(&sidecars), of(&init));
    all.extend(of(&pod.containers));
    let total = |part: fn(&ContainerDemand) -> &Amounts| {
        let mut sum = Amounts::new();
        all.iter().for_each(|container| add(&mut sum, part(container), |a, b| a + b));
        init.iter().for_each(|container| add(&mut sum, part(container), f64::max));
        sum
    };
    let (requests, limits) = (total(|container| &container.requests), total(|container| &container.limits));
    all.extend(init);
    Demand { requests, limits, containers: all }
}

/// What is not given: the limit for a request, then what a LimitRange of the namespace says.
fn of_container(container: &Container, ranges: &[LimitRange]) -> ContainerDemand {
    let given = container.resources.as_ref();
    let mut limits = amounts(given.and_then(|resources| resources.limits.as_ref()));
    let mut requests = amounts(given.and_then(|resources| resources.requests.as_ref()));
    fill(&mut requests, &limits);
    for item in items(ranges, "Container") {
        fill(&mut requests, &amounts(item.default_request.as_ref()));
        fill(&mut limits, &amounts(item.default.as_ref()));
    }
    ContainerDemand { name: container.name.clone(), requests, limits }
}

/// The items of this type (`Container`, `Pod`) in all LimitRanges.
pub(super) fn items<'a>(ranges: &'a [LimitRange], kind: &'a str) -> impl Iterator<Item = &'a LimitRangeItem> {
    ranges.iter().filter_map(|range| range.spec.as_ref()).flat_map(|spec| &spec.limits).filter(move |item| item.type_ == kind)
}

pub(super) fn amounts(quantities: Option<&BTreeMap<String, Quantity>>) -> Amounts {
    quantities.into_iter().flatten().filter_map(|(name, quantity)| Some((name.clone(), parse_quantity(&quantity.0)?))).collect()
}

fn fill(amounts: &mut Amounts, defaults: &Amounts) {
    for (name, amount) in defaults {
        amounts.entry(name.clone()).or_insert(*amount);
    }
}

fn add(sum: &mut Amounts, more: &Amounts, how: fn(f64, f64) -> f64) {
    for (name, amount) in more {
        let held = sum.entry(name.clone()).or_insert(0.0);
        *held = how(*held, *amount);
    }
}

/// An amount as people write it: `250m`, `2`, `768Mi`.
pub(super) fn show(resource: &str, amount: f64) -> String {
    let bytes = ["memory", "storage"].iter().any(|word| resource.contains(word));
    match amount {
        amount if bytes => format!("{}Mi", (amount / f64::from(1 << 20)).ceil()),
        amount if amount.fract() != 0.0 => format!("{:.0}m", amount * 1000.0),
        amount => format!("{amount}"),
    }
}
