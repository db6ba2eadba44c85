//! Where the root disk comes from.

use serde::{Deserialize, Serialize};

use super::names;
use super::reader::{Node, Object};
use crate::problem::Problem;

/// Exactly one source of the root disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ImageSource {
    /// An image in a registry; the disk itself is ephemeral.
    ContainerDisk {
        /// Image reference.
        image: String,
        /// `Always`, `IfNotPresent` or `Never`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pull_policy: Option<String>,
    },
    /// A volume that is cloned.
    Pvc {
        /// Namespace of the source.
        namespace: String,
        /// Name of the source.
        name: String,
    },
    /// An import.
    DataVolume(DataVolumeSource),
}

/// What a disk is filled with by the Containerized Data Importer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case", deny_unknown_fields)]
pub enum DataVolumeSource {
    /// Over HTTP or HTTPS.
    Http {
        /// Address of the image, without credentials.
        url: String,
        /// Secret with credentials, in the namespace of the machine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret_ref: Option<String>,
        /// `md5:`, `sha1:`, `sha256:` or `sha512:` and the sum in lower-case hexadecimal. Importers before CDI 1.65
        /// do not know the field.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checksum: Option<String>,
    },
    /// From a container registry. A digest in the reference is its checksum; the importer knows no other.
    Registry {
        /// `docker://` and an image reference, or `oci-archive:` and a path.
        url: String,
        /// Secret with credentials, in the namespace of the machine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret_ref: Option<String>,
    },
    /// From an object store. The importer compares no checksum.
    S3 {
        /// Address of the object, without credentials.
        url: String,
        /// Secret with credentials, in the namespace of the machine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret_ref: Option<String>,
    },
    /// A copy of another volume of the cluster.
    Pvc {
        /// Namespace of the source.
        namespace: String,
        /// Name of the source.
        name: String,
    },
    /// An empty disk.
    Blank {},
}

/// The forms of an image source, as it is stored.
const FORMS: [&str; 3] = ["container_disk", "pvc", "data_volume"];
/// Further spellings of the same.
const TOLERATED: [&str; 8] = [
    "image",
    "pull_policy",
    "pvc_name",
    "pvc_namespace",
    "http",
    "registry",
    "s3",
    "blank",
];
/// Keys of a data volume.
pub(super) const DATA_VOLUME_KEYS: [&str; 6] = ["source", "url", "secret_ref", "checksum", "namespace", "name"];
/// Keys that only a copy of another volume has.
const CLAIM_KEYS: [&str; 2] = ["namespace", "name"];
/// Keys that only an import has.
const IMPORT_KEYS: [&str; 3] = ["url", "secret_ref", "checksum"];

const MISSING: &str = "names no image source: add `image_source` with exactly one of container_disk, pvc, data_volume";
const SECOND: &str = "is a second image source: there is exactly one, so remove this one or the other";
const CLAIM_NAMESPACE: &str =
    "needs the namespace of the volume: write `namespace/name`, or add `pvc_namespace` beside it";

/// How an image source may be written.
#[derive(Clone, Copy)]
enum Form {
    /// `image_source` or `source`: an object with one of the other forms.
    Nested,
    ContainerDisk,
    Pvc,
    DataVolume,
    /// The reference alone.
    Image,
    /// The name alone, or `namespace/name`.
    PvcName,
    /// A data volume by the name of its source, as the importer itself has it.
    Import(Kind),
}

/// The sources of a data volume.
#[derive(Clone, Copy)]
enum Kind {
    Http,
    Registry,
    S3,
    Pvc,
    Blank,
}

const KINDS: [(&str, Kind); 5] = [
    ("http", Kind::Http),
    ("registry", Kind::Registry),
    ("s3", Kind::S3),
    ("pvc", Kind::Pvc),
    ("blank", Kind::Blank),
];

const AT_THE_TOP: [(&str, Form); 4] = [
    ("image_source", Form::Nested),
    ("source", Form::Nested),
    ("image", Form::Image),
    ("pvc_name", Form::PvcName),
];

const NESTED: [(&str, Form); 9] = [
    ("container_disk", Form::ContainerDisk),
    ("pvc", Form::Pvc),
    ("data_volume", Form::DataVolume),
    ("image", Form::Image),
    ("pvc_name", Form::PvcName),
    ("http", Form::Import(Kind::Http)),
    ("registry", Form::Import(Kind::Registry)),
    ("s3", Form::Import(Kind::S3)),
    ("blank", Form::Import(Kind::Blank)),
];

/// Reads the image source of a spec, in whatever spelling.
pub(super) fn read(spec: &Object<'_>) -> Result<ImageSource, Problem> {
    one_of(spec, &AT_THE_TOP)
}

fn one_of(object: &Object<'_>, forms: &[(&str, Form)]) -> Result<ImageSource, Problem> {
    let mut given = forms
        .iter()
        .filter_map(|(key, form)| object.optional(key).map(|node| (node, *form)));
    let Some((node, form)) = given.next() else {
        return Err(object.refused(MISSING));
    };
    if let Some((second, _)) = given.next() {
        return Err(second.refused(SECOND));
    }
    if !matches!(form, Form::PvcName) {
        object.without(&["pvc_namespace"], "belongs to `pvc_name`: remove it")?;
    }
    if !matches!(form, Form::Image) {
        object.without(
            &["pull_policy"],
            "belongs into `container_disk`, beside the image: move it there",
        )?;
    }
    match form {
        Form::Nested => one_of(&node.object_or(&FORMS, &TOLERATED)?, &NESTED),
        Form::ContainerDisk => container_disk(&node.object(&["image", "pull_policy"])?),
        Form::Pvc => {
            let (namespace, name) = claim(&node.object(&CLAIM_KEYS)?)?;
            Ok(ImageSource::Pvc { namespace, name })
        }
        Form::DataVolume => data_volume(&node.object(&DATA_VOLUME_KEYS)?).map(ImageSource::DataVolume),
        Form::Image => container_disk(object),
        Form::PvcName => claim_by_name(&node, object.optional("pvc_namespace")),
        Form::Import(kind) => import(kind, &node.object(&IMPORT_KEYS)?).map(ImageSource::DataVolume),
    }
}

fn container_disk(object: &Object<'_>) -> Result<ImageSource, Problem> {
    let policies = [
        ("Always", "Always"),
        ("IfNotPresent", "IfNotPresent"),
        ("Never", "Never"),
    ];
    let image = object.required("image")?;
    let pull_policy = match object.optional("pull_policy") {
        Some(node) => Some(node.choice(&policies)?.to_owned()),
        None => None,
    };
    Ok(ImageSource::ContainerDisk {
        image: image.name(
            names::MAX_IMAGE,
            names::is_image_reference,
            "an image reference such as quay.io/containerdisks/debian:12",
        )?,
        pull_policy,
    })
}

fn claim(object: &Object<'_>) -> Result<(String, String), Problem> {
    let namespace = namespace(&object.required("namespace")?)?;
    let name = names::object_name(&object.required("name")?)?;
    Ok((namespace, name))
}

fn namespace(node: &Node<'_>) -> Result<String, Problem> {
    node.name(names::MAX_LABEL, names::is_dns_label, "a namespace: a DNS label")
}

/// `namespace/name`, or a name with its namespace beside it. There is no namespace a name alone could mean: machines
/// of one template live in many.
fn claim_by_name(node: &Node<'_>, beside: Option<Node<'_>>) -> Result<ImageSource, Problem> {
    let text = node.line(names::MAX_LABEL + names::MAX_SUBDOMAIN + 1)?;
    let (namespace, name) = match (text.split_once('/'), beside) {
        (Some(_), Some(beside)) => return Err(beside.refused("is said twice: `pvc_name` has a namespace already")),
        (Some((namespace, name)), None) => (namespace.to_owned(), name.to_owned()),
        (None, Some(beside)) => (self::namespace(&beside)?, text.to_owned()),
        (None, None) => return Err(node.refused(CLAIM_NAMESPACE)),
    };
    if names::is_dns_label(&namespace) && names::is_dns_subdomain(&name) {
        Ok(ImageSource::Pvc { namespace, name })
    } else {
        Err(node.refused("must be the name of a volume, with its namespace before a slash"))
    }
}

/// Reads a data volume from an object with `DATA_VOLUME_KEYS`.
pub(super) fn data_volume(object: &Object<'_>) -> Result<DataVolumeSource, Problem> {
    import(object.required("source")?.choice(&KINDS)?, object)
}

fn import(kind: Kind, object: &Object<'_>) -> Result<DataVolumeSource, Problem> {
    match kind {
        Kind::Pvc => object.without(&IMPORT_KEYS, "does not belong to a copy of a volume: remove it")?,
        Kind::Http | Kind::Registry | Kind::S3 => {
            object.without(&CLAIM_KEYS, "belongs to source `pvc`: remove it, or change the source")?;
        }
        Kind::Blank => {
            object.without(&IMPORT_KEYS, "a blank disk comes from nowhere: remove it")?;
            object.without(&CLAIM_KEYS, "a blank disk comes from nowhere: remove it")?;
        }
    }
    match kind {
        Kind::Http => Ok(DataVolumeSource::Http {
            url: address(object, names::http_objection)?,
            secret_ref: secret(object)?,
            checksum: match object.optional("checksum") {
                Some(node) => Some(names::checksum(&node)?),
                None => None,
            },
        }),
        Kind::Registry => {
            object.without(
                &["checksum"],
                "only http sources have one: end the url with the digest of the image, @sha256:...",
            )?;
            Ok(DataVolumeSource::Registry {
                url: address(object, names::registry_objection)?,
                secret_ref: secret(object)?,
            })
        }
        Kind::S3 => {
            object.without(
                &["checksum"],
                "the importer compares checksums of http sources only: remove it, or import over http",
            )?;
            Ok(DataVolumeSource::S3 {
                url: address(object, names::s3_objection)?,
                secret_ref: secret(object)?,
            })
        }
        Kind::Pvc => {
            let (namespace, name) = claim(object)?;
            Ok(DataVolumeSource::Pvc { namespace, name })
        }
        Kind::Blank => Ok(DataVolumeSource::Blank {}),
    }
}

fn address(object: &Object<'_>, objection: fn(&str) -> Option<&'static str>) -> Result<String, Problem> {
    let node = object.required("url")?;
    let url = node.line(names::MAX_URL)?;
    match objection(url) {
        None => Ok(url.to_owned()),
        Some(hint) => Err(node.refused(hint)),
    }
}

fn secret(object: &Object<'_>) -> Result<Option<String>, Problem> {
    object
        .optional("secret_ref")
        .map(|node| names::object_name(&node))
        .transpose()
}
