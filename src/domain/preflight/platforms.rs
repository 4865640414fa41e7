//! Processors of the nodes against those that the image is built for.

use std::collections::BTreeSet;

use crate::domain::problem::{Code, Problem};

/// A problem when no node can run the image; `image` and `nodes` as `linux/amd64`, either may be unknown (empty). The second part names
/// platforms of nodes that the image lacks beside others that it has: those pods have to be kept from them.
pub fn other_platforms(image: &[String], nodes: &BTreeSet<String>, reference: &str) -> (Option<Problem>, Vec<String>) {
    // linux/arm64/v8 runs on what says linux/arm64
    let base = |platform: &str| platform.splitn(3, '/').take(2).collect::<Vec<_>>().join("/");
    let built: BTreeSet<String> = image.iter().map(|platform| base(platform)).collect();
    let lacking: Vec<String> = nodes.iter().filter(|node| !built.contains(*node)).cloned().collect();
    if built.is_empty() || lacking.is_empty() {
        return (None, Vec::new());
    }
    if lacking.len() < nodes.len() {
        return (None, lacking);
    }
    let (built, there) = (built.into_iter().collect::<Vec<_>>().join(", "), lacking.join(", "));
    let message = format!("no node can run {reference}: it is built for {built}, and the nodes are {there}");
    (
        Some(Problem::new(Code::PlatformMissing, message).hint(format!("set image.platforms to {there}, and a base image that has it"))),
        Vec::new(),
    )
}
