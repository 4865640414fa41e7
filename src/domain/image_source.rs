//! Where an image is to be found: in a registry, or in an OCI layout on disk.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{
    digest::Digest,
    problem::{Code, Problem, Result},
    reference::{ImageReference, is_tag},
};

/// What a name begins with that means a folder, as skopeo, buildah and podman write it.
pub const LAYOUT_SCHEME: &str = "oci:";

/// An image in an OCI image layout: `oci:PATH[:TAG][@DIGEST]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LayoutReference {
    /// As written; a relative one counts from the checkout.
    pub path: PathBuf,
    /// `org.opencontainers.image.ref.name` of the index; None where the layout holds one image only.
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

/// An image by name, or by folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ImageSource {
    Registry(ImageReference),
    Layout(LayoutReference),
}

impl LayoutReference {
    /// The folder, seen from `root`.
    pub fn dir(&self, root: &Path) -> PathBuf {
        root.join(&self.path)
    }
}

impl ImageSource {
    pub fn registry(&self) -> Option<&ImageReference> {
        match self {
            ImageSource::Registry(reference) => Some(reference),
            ImageSource::Layout(_) => None,
        }
    }

    pub fn digest(&self) -> Option<&Digest> {
        match self {
            ImageSource::Registry(reference) => reference.digest.as_ref(),
            ImageSource::Layout(layout) => layout.digest.as_ref(),
        }
    }

    /// The same name with the digest that was found behind it.
    pub fn found(&self, digest: &Digest) -> ImageSource {
        let digest = Some(digest.clone());
        match self.clone() {
            ImageSource::Registry(reference) => ImageSource::Registry(ImageReference { digest, ..reference }),
            ImageSource::Layout(layout) => ImageSource::Layout(LayoutReference { digest, ..layout }),
        }
    }
}

impl From<ImageReference> for ImageSource {
    fn from(reference: ImageReference) -> Self {
        ImageSource::Registry(reference)
    }
}

impl FromStr for ImageSource {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self> {
        match text.strip_prefix(LAYOUT_SCHEME) {
            Some(rest) => rest.parse().map(ImageSource::Layout),
            None => text.parse().map(ImageSource::Registry),
        }
    }
}

impl FromStr for LayoutReference {
    type Err = Problem;

    /// Reads what stands behind `oci:`. A colon in the path itself is taken for one when a slash follows.
    fn from_str(text: &str) -> Result<Self> {
        let (rest, digest) = match text.split_once("@sha256:") {
            Some((rest, hex)) => (rest, Some(format!("sha256:{hex}").parse::<Digest>()?)),
            None => (text, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_string())),
            _ => (rest, None),
        };
        let invalid = |why: &str| {
            Problem::new(Code::ImageNameInvalid, format!("\"{LAYOUT_SCHEME}{text}\" names no OCI layout: {why}"))
                .hint("write it like oci:path/to/folder, or oci:path/to/folder:tag")
        };
        if path.is_empty() || path.contains(|c: char| c.is_control()) {
            return Err(invalid("it has no path"));
        }
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid("what follows the last colon is no tag"));
        }
        Ok(LayoutReference { path: PathBuf::from(path), tag, digest })
    }
}

impl fmt::Display for LayoutReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{LAYOUT_SCHEME}{}", self.path.display())?;
        self.tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))?;
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageSource::Registry(reference) => reference.fmt(f),
            ImageSource::Layout(layout) => layout.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_is_read_is_written_again(text in "(oci:)?[a-zA-Z0-9.:/@_-]{0,40}") {
            if let Ok(source) = text.parse::<ImageSource>() {
                let again = source.to_string().parse::<ImageSource>();
                proptest::prop_assert_eq!(again.ok(), Some(source));
            }
        }
    }

    #[test]
    fn folders_and_names() {
        let digest = format!("sha256:{}", "1".repeat(64));
        for (text, path, tag) in [
            ("oci:layout", "layout", None),
            ("oci:./a/b:1.2", "./a/b", Some("1.2")),
            ("oci:/a:b/c", "/a:b/c", None),
            (&format!("oci:x:1@{digest}"), "x", Some("1")),
        ] {
            let ImageSource::Layout(layout) = text.parse().unwrap() else { panic!("{text}") };
            assert_eq!((layout.path.to_str().unwrap(), layout.tag.as_deref()), (path, tag));
            assert_eq!(layout.to_string(), text);
        }
        assert!(matches!("alpine:3".parse(), Ok(ImageSource::Registry(_))));
        for text in ["oci:", "oci::1", "oci:a:-x", "oci:a@sha256:1"] {
            assert!(text.parse::<ImageSource>().is_err(), "{text} was taken");
        }
    }
}
