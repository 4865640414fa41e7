//! An application's layers on a new base: for the day when its Java has a hole, and nobody wants to build a thousand applications.

use super::{
    access::connect,
    image as step, rules,
    run::{Done, Run},
};
use crate::{
    domain::{
        digest::Digest,
        problem::{Code, Problem, Result},
        reference::{ImageReference, tag_slug},
        step::Step,
        units::format_bytes,
    },
    image::{self, Image, Rebase, Rebased},
    registry::Push,
    report,
};

/// How often the same build can be rebased before something is wrong.
const MOST: u32 = 1000;

pub(super) async fn run(run: &Run) -> Result<()> {
    run.step(Step::Image, async {
        rules::permit(run, "rebase").await?;
        let reference = image_of(run).await?;
        let scratch = step::scratch(run)?;
        let settings = &run.plan.settings;
        let rebase = Rebase {
            image: reference.clone(),
            onto: settings.rebase.onto.as_deref().map(str::parse).transpose()?,
            base_registry: settings.image.base_registry.clone(),
            root: run.plan.facts.dir.clone(),
            created: run.plan.host.source_date_epoch,
            scratch: scratch.path().to_path_buf(),
        };
        let mut rebased = image::rebase(&rebase, &run.registry).await?;
        match rebased.image.take() {
            Some(image) => push(run, &reference, &rebased, image).await,
            None => Ok(nothing(run, &reference, &rebased)),
        }
    })
    .await
}

/// `rebase.image`, else what the other commands take for a ready image, else what runs on the cluster.
async fn image_of(run: &Run) -> Result<ImageReference> {
    let set = &run.plan.settings.rebase.image;
    let text = set.as_ref().or(run.plan.settings.image.reference.as_ref()).or(run.plan.host.earlier_image.as_ref());
    match text {
        Some(text) => text.parse(),
        None if run.plan.has_cluster() => {
            let running = connect(&run.plan).await?.status(&run.plan.name).await?.image;
            run.events.note(format!("{} in {} runs {running}", run.plan.name, run.plan.namespace));
            running.parse()
        }
        None => Err(Problem::new(Code::SettingMissing, "there is no image to rebase")
            .hint("name it: shipway rebase IMAGE, or rebase.image; where a cluster is set, it is what runs there")),
    }
}

/// The image stands on that base already; a later job can publish it all the same.
fn nothing(run: &Run, reference: &ImageReference, rebased: &Rebased) -> Done<()> {
    let record = report::Image {
        reference: ImageReference { digest: None, ..reference.clone() }.to_string(),
        digest: Some(rebased.from.clone()),
        base: Some(rebased.old.to_string()),
        ..report::Image::default()
    };
    run.recorder.record(|draft| draft.image(record));
    Done::skipped((), format!("nothing to do: {} stands on {} already", reference, rebased.new))
}

async fn push(run: &Run, reference: &ImageReference, rebased: &Rebased, image: Image) -> Result<Done<()>> {
    let digest = step::image_digest(&image)?;
    let target = choose_tag(run, reference, rebased, &digest).await?;
    let bases: Vec<ImageReference> = rebased.new.registry().cloned().into_iter().collect();
    let look = run.registry.look(&target, &[reference.with_digest(&rebased.from)], &bases).await?;
    let push = Push {
        target: target.clone(),
        extra_tags: run.plan.settings.image.extra_tags.clone(),
        blobs: image.blobs,
        manifests: image.manifests,
        instead: None,
        look: Some(look),
    };
    let pushed = run.registry.push(&push, &run.events).await?;
    let record = report::Image {
        reference: target.to_string(),
        digest: Some(digest.clone()),
        size: image.size,
        requests: pushed.requests,
        layers: Vec::new(),
        base: Some(rebased.new.to_string()),
        layout: None,
    };
    run.recorder.record(|draft| draft.image(record));
    let sent = format_bytes(pushed.bytes_sent);
    Ok(Done::new((), format!("{target}@{digest} on {}, {sent} sent in {} requests", rebased.new, pushed.requests)))
}

/// The tag that is set, else the image's own with `-r1`, `-r2`, … behind it: one that is free, or holds this very image already. No tag that
/// holds another image is ever moved, so what runs keeps its own.
async fn choose_tag(run: &Run, reference: &ImageReference, rebased: &Rebased, digest: &Digest) -> Result<ImageReference> {
    if !run.plan.tag_is_default {
        let tag = run.plan.target.tag.clone().unwrap_or_default();
        return Ok(reference.with_tag(&tag));
    }
    let own = reference.tag.clone().or_else(|| rebased.version.as_deref().map(tag_slug));
    let own = own.unwrap_or_else(|| rebased.from.short().to_string());
    let stem = stem(&own);
    for number in 1..=MOST {
        let target = reference.with_tag(&format!("{}-r{number}", stem.get(..120).unwrap_or(stem)));
        match run.registry.head(&target).await? {
            Some(there) if there != *digest => {}
            _ => return Ok(target),
        }
    }
    Err(Problem::new(Code::RegistryRefused, format!("{reference} was rebased {MOST} times: no tag {stem}-r<number> is free"))
        .hint("set image.tag (--tag)"))
}

/// A tag without the number of an earlier rebase.
fn stem(tag: &str) -> &str {
    match tag.rsplit_once("-r") {
        Some((stem, number)) if !stem.is_empty() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => stem,
        _ => tag,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_an_earlier_rebase_is_dropped() {
        for (tag, expected) in [("1.2", "1.2"), ("1.2-r3", "1.2"), ("1-rc1", "1-rc1"), ("-r1", "-r1"), ("a-r", "a-r"), ("a-r1-r2", "a-r1")]
        {
            assert_eq!(stem(tag), expected);
        }
    }
}
